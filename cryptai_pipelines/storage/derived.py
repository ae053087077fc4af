"""Rows computed from bars, one per bar: `technical_indicators`, `market_structure`, `signals`. What they were computed from is
in `state`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from psycopg2 import sql

from cryptai_pipelines.market.bars import Columns, index_ms, ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.merge_rows import merge_series
from cryptai_pipelines.storage.tables import Table, derived_table, with_columns
from cryptai_pipelines.storage.times import column_ms, iso, to_datetime

_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,58}")
_SQL_TYPES = {"float8?": "double precision", "bool?": "boolean"}
_HOLDS = {"float8?": "numbers", "bool?": "flags"}


def upsert(
    cursor: Cursor,
    table: str,
    keys: Mapping[str, str],
    rows: pd.DataFrame | Columns,
    *,
    code_version: str,
    coverage_revision: int,
) -> Change:
    """Insert or replace the rows of one series; rows equal in every value and in `code_version` are left alone, keeping the
    `coverage_revision` they were made from.

    `table`: one of the three. `keys`: `symbol`, `timeframe` and, for signals, `strategy`. `rows`: a frame indexed by `ts`, or
    columns with `ts` (epoch ms); float64 with NaN for NULL, gates bool (or nullable boolean). Columns that are left out are
    stored as NULL, or as 0 and false where there is no NULL. `BadInput` for an unknown table or column, or a dtype that does
    not fit.
    """
    target = _known_columns(cursor, derived_table(table))
    _check_keys(target, keys)
    values = _frame_columns(rows) if isinstance(rows, pd.DataFrame) else dict(rows)
    unknown = [name for name in values if name not in target.types or name in keys]
    if unknown:
        raise BadInput(f"{table} has no column {unknown[0]!r} for rows; add it with ensure_columns")
    count = len(values["ts"])  # type: ignore[arg-type]
    nothing = {
        "float8?": np.full(count, np.nan),
        "bool?": np.ma.masked_all(count, dtype=bool),
        "bool": np.zeros(count, dtype=bool),
        "int2": np.zeros(count, dtype="int16"),
    }
    absent = [name for name in target.compared if name not in values and name != "code_version"]
    values |= {name: nothing[target.types[name]] for name in absent}
    return merge_series(cursor, target, keys, {**values, "code_version": code_version, "coverage_revision": coverage_revision})


def remove(cursor: Cursor, table: str, keys: Mapping[str, str], ts_ms: np.ndarray) -> int:
    """Delete the rows at these open times, as when their bar is gone; how many there were."""
    target = derived_table(table)
    _check_keys(target, keys)
    if not len(ts_ms):
        return 0
    statement = sql.SQL("DELETE FROM {} WHERE {} AND ts = ANY(%s)").format(sql.Identifier(table), _of_series(target))
    cursor.execute(statement, (*(keys[name] for name in target.series_key), [to_datetime(ts) for ts in ts_ms]))
    return cursor.rowcount


def remove_outside(cursor: Cursor, table: str, keys: Mapping[str, str], first_ms: int, last_ms: int) -> int:
    """Delete the rows before the open time `first_ms` and after `last_ms`; how many there were."""
    target = derived_table(table)
    _check_keys(target, keys)
    statement = sql.SQL("DELETE FROM {} WHERE {} AND (ts < %s OR ts > %s)").format(sql.Identifier(table), _of_series(target))
    cursor.execute(statement, (*(keys[name] for name in target.series_key), to_datetime(first_ms), to_datetime(last_ms)))
    return cursor.rowcount


def _of_series(table: Table) -> sql.Composable:
    return sql.SQL(" AND ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in table.series_key)


def read_opens(db: Database, table: str, keys: Mapping[str, str], start_ms: int, end_ms: int) -> np.ndarray:
    """Open times (int64 epoch ms, ascending) of the rows with `start_ms <= ts < end_ms`."""
    target = derived_table(table)
    _check_keys(target, keys)
    conditions = " AND ".join(f"{name} = ${position}" for position, name in enumerate(target.series_key, start=1))
    after = len(target.series_key) + 1
    found = db.read(
        f"SELECT ts FROM {target.name} WHERE {conditions} AND ts >= ${after}::timestamptz AND ts < ${after + 1}::timestamptz"
        " ORDER BY ts",
        (*(keys[name] for name in target.series_key), iso(start_ms), iso(end_ms)),
    )
    return column_ms(found["ts"])


def read(
    db: Database,
    table: str,
    keys: Mapping[str, str],
    start_ms: int | None = None,
    end_ms: int | None = None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The rows with `start_ms <= ts < end_ms` (all without bounds), indexed by `ts`: float64 with NaN for NULL; gates bool, or
    nullable boolean where one is NULL; `code_version` and `coverage_revision`. With `columns` only these."""
    import pyarrow as pa

    target = derived_table(table)
    _check_keys(target, keys)
    conditions = [f"{name} = ${position}" for position, name in enumerate(target.series_key, start=1)]
    parameters: list[str] = [keys[name] for name in target.series_key]
    for comparison, bound in ((">=", start_ms), ("<", end_ms)):
        if bound is not None:
            parameters.append(iso(bound))
            conditions.append(f"ts {comparison} ${len(parameters)}::timestamptz")
    wanted = "*" if columns is None else ", ".join(("ts", *map(_column_name, columns)))
    found = db.read(f"SELECT {wanted} FROM {target.name} WHERE {' AND '.join(conditions)} ORDER BY ts", parameters)
    index = ts_index(column_ms(found["ts"]))
    data: dict[str, object] = {}
    for name in (name for name in found.column_names if name != "ts" and name not in target.series_key):
        column = found[name]
        if pa.types.is_boolean(column.type) and column.null_count:
            data[name] = pd.array(column.to_pylist(), dtype="boolean")
        elif pa.types.is_string(column.type):
            data[name] = column.dictionary_encode().combine_chunks().to_pandas().array
        else:
            data[name] = column.to_numpy()
            if pa.types.is_boolean(column.type):
                data[name] = data[name].astype(bool)  # type: ignore[attr-defined]
    return pd.DataFrame(data, index=index)


def ensure_columns(db: Database, table: str, numbers: Iterable[str], flags: Iterable[str] = ()) -> list[str]:
    """Add the columns that `table` lacks, as for indicators and strategies of the user's own: `numbers` of type `double
    precision`, `flags` of type `boolean`; the names that were added, both may be NULL.

    `BadInput` for a name that is not lower case letters, digits and underscores (at most 59), or one of another type.
    """
    target = derived_table(table)
    wanted = {_column_name(name): "float8?" for name in numbers} | {_column_name(name): "bool?" for name in flags}
    with db.transaction() as cursor:
        present = {**_added_columns(cursor, table), **target.types}
        for name in (name for name, kind in wanted.items() if present.get(name, kind).rstrip("?") != kind.rstrip("?")):
            raise BadInput(f"column {name!r} of {table} does not hold {_HOLDS[wanted[name]]}; choose another name")
        missing = [name for name in wanted if name not in present]
        if missing:
            additions = [
                sql.SQL("ADD COLUMN IF NOT EXISTS {} {}").format(sql.Identifier(name), sql.SQL(_SQL_TYPES[wanted[name]]))
                for name in missing
            ]
            cursor.execute(sql.SQL("ALTER TABLE {} {}").format(sql.Identifier(table), sql.SQL(", ").join(additions)))
    return missing


def _column_name(name: str) -> str:
    if not _COLUMN.fullmatch(name):
        raise BadInput(f"column {name!r} is not accepted: lower case letters, digits and _, at most 59, a letter first")
    return name


def _known_columns(cursor: Cursor, table: Table) -> Table:
    """`table` with the columns that were added to it."""
    added = _added_columns(cursor, table.name)
    return with_columns(table, {name: kind for name, kind in added.items() if name not in table.types})


def _added_columns(cursor: Cursor, table: str) -> dict[str, str]:
    """Columns of the types that `ensure_columns` adds, whether added or the table's own."""
    cursor.execute(
        "SELECT attname::text, CASE atttypid WHEN 'bool'::regtype THEN 'bool?' ELSE 'float8?' END FROM pg_attribute"
        " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        " AND atttypid IN ('float8'::regtype, 'bool'::regtype) ORDER BY attnum",
        (f"public.{table}",),
    )
    return dict(cursor.fetchall())


def _check_keys(table: Table, keys: Mapping[str, str]) -> None:
    if set(keys) != set(table.series_key):
        raise BadInput(f"{table.name} is keyed by {' '.join(table.series_key)}, not by {' '.join(keys) or 'nothing'}")


def _frame_columns(frame: pd.DataFrame) -> dict[str, Value]:
    if not isinstance(frame.index, pd.DatetimeIndex):
        raise BadInput("rows must be indexed by ts, a DatetimeIndex in UTC")
    return {"ts": index_ms(frame.index), **{str(name): _column(frame[name]) for name in frame.columns}}


def _column(column: pd.Series) -> np.ndarray:
    if str(column.dtype) == "boolean" or (column.dtype == object and column.map(_is_flag).all()):
        missing = column.isna().to_numpy(dtype=bool)
        return np.ma.array(column.fillna(False).to_numpy(dtype=bool), mask=missing)
    return column.to_numpy(dtype="int16") if column.dtype == "int8" else column.to_numpy()


def _is_flag(value: object) -> bool:
    return value is None or value is pd.NA or isinstance(value, bool | np.bool_)
