"""`raw_ohlcv`: every bar as it was received, and every restatement of it. Rows are added, never changed or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psycopg2 import sql

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import TS_RANGE_MS, Value, copy_rows
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.merge_rows import last_per_ts, lock_series, newest_ms, row_slice, stage
from cryptai_pipelines.storage.tables import TABLES
from cryptai_pipelines.storage.times import column_ms, iso, to_ms

if TYPE_CHECKING:
    import pyarrow as pa

_TABLE = TABLES["raw_ohlcv"]
_VALUES = tuple(name for name in WIRE_DTYPES if name != "ts")


def append(
    cursor: Cursor, source: str, series: Series, rows: Columns, fetch_id: int | np.ndarray, known_at_ms: int | np.ndarray
) -> Change:
    """Store received bars: an unknown open time as revision 0, one whose values differ from its latest revision (NaN equals
    NaN) as the next revision, an equal one not at all.

    `rows`: `bars.WIRE_DTYPES`, any order, of several rows with one `ts` the last counts. `fetch_id` and `known_at_ms`: one for
    all rows, or one per row (int64) where the rows of many pages are stored at once, which is far cheaper than page by page.
    A close time that no timestamp can hold, such as one in nanoseconds, is stored as -1, as one that could not be read.
    """
    values = last_per_ts({**_storable(rows), "known_at": known_at_ms, "fetch_id": fetch_id})
    count = len(values["ts"])  # type: ignore[arg-type]
    if count == 0:
        return Change()
    keys = {"source": source, "symbol": series.symbol, "timeframe": series.timeframe.code}
    lock_series(cursor, _TABLE, keys)
    newest = newest_ms(cursor, _TABLE, keys)
    known = 0 if newest is None else int(np.searchsorted(values["ts"], newest, side="right"))  # type: ignore[arg-type]
    change = _append_known(cursor, {**keys, **row_slice(values, 0, known)}, known) if known else Change()
    if known < count:
        fresh: dict[str, Value] = {**keys, **row_slice(values, known, count), "revision": 0}
        copy_rows(cursor, _TABLE, fresh, count - known)
        change = change + Change(count - known, 0, int(fresh["ts"][0]), int(fresh["ts"][-1]))  # type: ignore[index]
    return change


def _storable(rows: Columns) -> Columns:
    """The wire columns with close times that a timestamp can hold."""
    (first, last), times = TS_RANGE_MS, rows["close_ts"]
    wire = {name: rows[name] for name in WIRE_DTYPES}
    return {**wire, "close_ts": np.where((times < first) | (times > last), -1, times)}


_ADD_REVISIONS = sql.SQL(
    "WITH added AS (INSERT INTO raw_ohlcv ({columns}, revision)"
    " SELECT {staged_columns}, coalesce(latest.revision + 1, 0)"
    " FROM pg_temp.staged_raw_ohlcv AS s LEFT JOIN LATERAL (SELECT r.* FROM raw_ohlcv AS r WHERE r.source = s.source"
    " AND r.symbol = s.symbol AND r.timeframe = s.timeframe AND r.ts = s.ts ORDER BY r.revision DESC LIMIT 1) AS latest ON true"
    " WHERE latest.revision IS NULL OR ({stored}) IS DISTINCT FROM ({received})"
    " ORDER BY s.ts RETURNING ts, revision)"
    " SELECT count(*) FILTER (WHERE revision = 0), count(*) FILTER (WHERE revision > 0), min(ts), max(ts) FROM added"
)


def _append_known(cursor: Cursor, values: dict[str, Value], count: int) -> Change:
    stage(cursor, _TABLE, {**values, "revision": 0}, count)
    names = [sql.Identifier(name) for name in values]
    comma = sql.SQL(", ")
    statement = _ADD_REVISIONS.format(
        columns=comma.join(names),
        staged_columns=comma.join(sql.SQL("s.{}").format(name) for name in names),
        stored=comma.join(sql.SQL("latest.{}").format(sql.Identifier(name)) for name in _VALUES),
        received=comma.join(sql.SQL("s.{}").format(sql.Identifier(name)) for name in _VALUES),
    )
    cursor.execute(statement)
    new, restated, first, last = cursor.fetchone()  # type: ignore[misc]
    return Change(new, restated, to_ms(first), to_ms(last))


_COLUMNS = f"ts, {', '.join(_VALUES)}, revision, fetch_id, known_at"
_OF_SERIES = "source = $1 AND symbol = $2 AND timeframe = $3"
_READ = f"SELECT {_COLUMNS} FROM raw_ohlcv WHERE {_OF_SERIES} AND ts >= $4::timestamptz AND ts < $5::timestamptz"
_READ_PARTS = (
    f"SELECT part.* FROM unnest($4::timestamptz[]) AS bar(ts) CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM raw_ohlcv"
    f" WHERE {_OF_SERIES} AND raw_ohlcv.ts >= bar.ts AND raw_ohlcv.ts < bar.ts + $5::bigint * interval '1 ms'"
    " AND known_at <= $6::timestamptz ORDER BY raw_ohlcv.ts, revision) AS part ORDER BY ts, revision"
)


def read_current(
    db: Database, source: str, series: Series, start_ms: int, end_ms: int, known_at_ms: int | None = None
) -> Columns:
    """The latest revision of every bar with `start_ms <= ts < end_ms`, ascending: `bars.WIRE_DTYPES` and `revision` (int16),
    `fetch_id` (int64), `known_at` (int64, epoch ms). With `known_at_ms` the latest that was received by then."""
    parameters = [source, series.symbol, series.timeframe.code, iso(start_ms), iso(end_ms)]
    known = "" if known_at_ms is None else " AND known_at <= $6::timestamptz"
    table = db.read(
        f"{_READ}{known} ORDER BY ts, revision", parameters if known_at_ms is None else [*parameters, iso(known_at_ms)]
    )
    return _latest(table)


def read_known_parts(db: Database, source: str, series: Series, opens: np.ndarray, length_ms: int, known_at_ms: int) -> Columns:
    """The rows of `read_current` that open within `length_ms` of any of `opens` (int64 epoch ms, ascending, at least so far
    apart), in one statement with one look into the index per open time."""
    times = f"{{{','.join(map(iso, opens.tolist()))}}}"
    parameters = (source, series.symbol, series.timeframe.code, times, length_ms, iso(known_at_ms))
    return _latest(db.read(_READ_PARTS, parameters))


def _latest(table: pa.Table) -> Columns:
    """Of rows by `ts` and `revision` the last of each `ts`."""
    times = ("ts", "close_ts", "known_at")
    columns = {name: column_ms(table[name]) if name in times else table[name].to_numpy() for name in table.column_names}
    if not columns["revision"].any():
        return columns
    latest = np.concatenate((columns["ts"][1:] != columns["ts"][:-1], [True]))
    return {name: values[latest] for name, values in columns.items()}


def as_read(rows: Columns, fetch_id: np.ndarray, known_at_ms: np.ndarray) -> Columns:
    """New rows that have just been appended, as `read_current` gives them back; `fetch_id` and `known_at_ms` int64, per row."""
    revision = np.zeros(len(rows["ts"]), "int16")
    return {**_storable(rows), "revision": revision, "fetch_id": fetch_id, "known_at": known_at_ms}


_RECEIPTS = (
    "SELECT ts, min(known_at) AS known_at, max(revision)::int8 AS revisions,"
    " (array_agg(high ORDER BY revision))[1] AS first_high, (array_agg(low ORDER BY revision))[1] AS first_low,"
    " (array_agg(volume ORDER BY revision))[1] AS first_volume, (array_agg(high ORDER BY revision DESC))[1] AS high,"
    " (array_agg(low ORDER BY revision DESC))[1] AS low, (array_agg(volume ORDER BY revision DESC))[1] AS volume"
    " FROM raw_ohlcv WHERE source = $1 AND symbol = $2 AND timeframe = $3 AND ts >= $4::timestamptz"
    " AND ts < $5::timestamptz GROUP BY ts ORDER BY ts"
)


def read_receipts(db: Database, source: str, series: Series, start_ms: int, end_ms: int) -> Columns:
    """When each bar with `start_ms <= ts < end_ms` was first received, and what became of it, ascending: `ts`, `known_at`
    (int64, epoch ms), `revisions` (int64, how often it was restated), and `first_high`, `first_low`, `first_volume`, `high`,
    `low`, `volume` (float64, as first and as last received)."""
    table = db.read(_RECEIPTS, (source, series.symbol, series.timeframe.code, iso(start_ms), iso(end_ms)))
    times = ("ts", "known_at")
    return {name: column_ms(table[name]) if name in times else table[name].to_numpy() for name in table.column_names}
