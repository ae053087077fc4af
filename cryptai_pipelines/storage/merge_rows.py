"""Rows into a table that may hold some of them already: one statement, in key order, that touches only what differs.

Rows newer than everything stored for their series cannot meet another row while the series is locked, so they are copied
straight in; the rest goes through a temporary table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from psycopg2 import sql

from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value, Values, copy_rows
from cryptai_pipelines.storage.database import Cursor
from cryptai_pipelines.storage.tables import Table
from cryptai_pipelines.storage.times import to_ms


def lock_key(*parts: str) -> int:
    """The advisory lock (a signed 64-bit number) that stands for `parts`."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def lock_series(cursor: Cursor, table: Table, keys: Mapping[str, str]) -> None:
    """Keep other writers off the series `keys` of `table` until this transaction ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key(table.name, *(keys[name] for name in table.series_key)),))


def newest_ms(cursor: Cursor, table: Table, keys: Mapping[str, str]) -> int | None:
    """The last stored open time of the series `keys` in `table`, epoch ms."""
    cursor.execute(
        sql.SQL("SELECT max(ts) FROM {} WHERE {}").format(sql.Identifier(table.name), series_condition(table)), dict(keys)
    )
    return to_ms(cursor.fetchone()[0])  # type: ignore[index]


def series_condition(table: Table) -> sql.Composable:
    """`symbol = %(symbol)s AND ...` over the key columns that name a series."""
    parts = [sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in table.series_key]
    return sql.SQL(" AND ").join(parts)


def merge_series(cursor: Cursor, table: Table, keys: Mapping[str, str], values: Values) -> Change:
    """Insert or update the rows `values` of one series; rows that are equal already are left alone.

    `values`: every further column, with `ts` an int64 array (any order; of several rows with one `ts` the last counts).
    Provenance columns are written with a row but do not make it differ.
    """
    values = last_per_ts(values)
    rows = len(values["ts"])  # type: ignore[arg-type]
    if rows == 0:
        return Change()
    lock_series(cursor, table, keys)
    newest = newest_ms(cursor, table, keys)
    fresh = rows if newest is None else rows - int(np.searchsorted(values["ts"], newest, side="right"))  # type: ignore[arg-type]
    change = Change()
    if fresh < rows:
        stage(cursor, table, {**keys, **row_slice(values, 0, rows - fresh)}, rows - fresh)
        change = merge_staged(cursor, table, tuple((*keys, *values)))
    if fresh:
        new = row_slice(values, rows - fresh, rows)
        copy_rows(cursor, table, {**keys, **new}, fresh)
        ts = new["ts"]
        change = change + Change(fresh, 0, int(ts[0]), int(ts[-1]))  # type: ignore[index]
    return change


def last_per_ts(values: Values) -> dict[str, Value]:
    """`values` in ascending order of `ts`, and of rows with one `ts` only the last."""
    ts = values["ts"]
    assert isinstance(ts, np.ndarray)
    if len(ts) < 2 or bool((ts[1:] > ts[:-1]).all()):
        return dict(values)
    order = np.argsort(ts, kind="stable")
    order = order[np.concatenate((ts[order][1:] != ts[order][:-1], [True]))]
    return {name: value[order] if isinstance(value, np.ndarray) else value for name, value in values.items()}


def row_slice(values: Values, start: int, end: int) -> dict[str, Value]:
    """Rows `[start, end)`; values that stand for all rows stay as they are."""
    return {name: value[start:end] if isinstance(value, np.ndarray) else value for name, value in values.items()}


def stage(cursor: Cursor, table: Table, values: Values, rows: int) -> str:
    """Copy the rows into the temporary table of `table`, made once per transaction, and return its name."""
    name = f"staged_{table.name}"
    cursor.execute("SELECT to_regclass(%s) IS NULL", (f"pg_temp.{name}",))
    if cursor.fetchone()[0]:  # type: ignore[index]
        make = "CREATE TEMPORARY TABLE {} (LIKE {}) ON COMMIT DROP"
        cursor.execute(sql.SQL(make).format(sql.Identifier(name), sql.Identifier(table.name)))
    else:
        cursor.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier("pg_temp", name)))
    copy_rows(cursor, table, values, rows, into=name)
    return name


def merge_staged(cursor: Cursor, table: Table, columns: tuple[str, ...], update: bool = True) -> Change:
    """The staged rows of `columns` into `table`, in key order. `update=False` keeps the stored row of a key that exists."""
    written = [name for name in columns if name not in table.key]
    compared = [name for name in table.compared if name in columns]
    action = sql.SQL("NOTHING")
    if update and compared:
        action = sql.SQL("UPDATE SET {assigned} WHERE ({mine}) IS DISTINCT FROM ({theirs})").format(
            assigned=_joined("{0} = excluded.{0}", written),
            mine=_joined("t.{0}", compared),
            theirs=_joined("excluded.{0}", compared),
        )
    statement = sql.SQL(
        "WITH merged AS (INSERT INTO {table} AS t ({columns}) SELECT {columns} FROM {staged} ORDER BY {key}"
        " ON CONFLICT ({key}) DO {action} RETURNING {moment} AS moment, xmax = 0 AS inserted)"
        " SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted), min(moment), max(moment) FROM merged"
    ).format(
        table=sql.Identifier(table.name),
        columns=_joined("{0}", columns),
        staged=sql.Identifier("pg_temp", f"staged_{table.name}"),
        key=_joined("{0}", table.key),
        action=action,
        moment=sql.SQL("t.ts" if "ts" in table.key else "NULL::timestamptz"),
    )
    cursor.execute(statement)
    new, restated, first, last = cursor.fetchone()  # type: ignore[misc]
    return Change(new, restated, to_ms(first), to_ms(last))


def _joined(pattern: str, names: tuple[str, ...] | list[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.SQL(pattern).format(sql.Identifier(name)) for name in names)
