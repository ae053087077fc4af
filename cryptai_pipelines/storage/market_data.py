"""`market_data`: the validated bars, one row per open time. What makes a bar valid is judged in `quality` before it comes here;
the table refuses prices that are not positive and finite whatever happens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, Columns, ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.merge_rows import lock_series, merge_series
from cryptai_pipelines.storage.tables import TABLES
from cryptai_pipelines.storage.times import column_ms, iso, to_datetime, to_ms

_TABLE = TABLES["market_data"]


def upsert(
    cursor: Cursor,
    series: Series,
    rows: Columns,
    source: str | np.ndarray,
    origin: str | np.ndarray,
    is_filled: bool | np.ndarray = False,
) -> Change:
    """Insert or replace bars; equal ones are left alone.

    `rows`: `ts` (int64) and `BAR_COLUMNS`, of which `trades` may be int64 or whole float64 numbers; NaN in the last four
    columns is stored as NULL. `origin`: how the bar came (`rest`, `archive`, `csv`, `udf`, `secondary`, `resampled`,
    `carried`). Source and origin are one text for all rows or one per row.
    """
    values: dict[str, Value] = {"ts": rows["ts"], **{name: rows[name] for name in BAR_COLUMNS}}
    values["trades"] = _whole(rows["trades"])
    values |= {"source": source, "origin": origin, "is_filled": is_filled}
    return merge_series(cursor, _TABLE, _keys(series), values)


def remove(cursor: Cursor, series: Series, ts_ms: np.ndarray) -> int:
    """Delete the bars at these open times, as when a bar was restated into a bad one; how many there were."""
    if not len(ts_ms):
        return 0
    lock_series(cursor, _TABLE, _keys(series))
    cursor.execute(
        "DELETE FROM market_data WHERE symbol = %s AND timeframe = %s AND ts = ANY(%s)",
        (*_keys(series).values(), [to_datetime(ts) for ts in ts_ms]),
    )
    return cursor.rowcount


READABLE = (*BAR_COLUMNS, "is_filled", "source", "origin")


def read(
    db: Database,
    series: Series,
    start_ms: int | None = None,
    end_ms: int | None = None,
    columns: Sequence[str] = READABLE,
) -> pd.DataFrame:
    """The bars with `start_ms <= ts < end_ms` (all without bounds) as a bars frame: index `ts`, and of `READABLE` the `columns`
    asked for: `BAR_COLUMNS` float64 with NaN for what the venue did not report, `is_filled` bool, `source` and
    `origin` categorical."""
    import pyarrow as pa

    unknown = [name for name in columns if name not in READABLE]
    if unknown:
        raise BadInput(f"market_data has no column {unknown[0]!r} to read; it has: {' '.join(READABLE)}")
    bounds = [("ts >= ${}::timestamptz", start_ms), ("ts < ${}::timestamptz", end_ms)]
    wanted = [(text, iso(ts)) for text, ts in bounds if ts is not None]
    conditions = "".join(f" AND {text.format(position)}" for position, (text, _) in enumerate(wanted, start=3))
    table = db.read(
        f"SELECT {', '.join(('ts', *columns))} FROM market_data WHERE symbol = $1 AND timeframe = $2{conditions} ORDER BY ts",
        (*_keys(series).values(), *(value for _, value in wanted)),
    )
    data: dict[str, object] = {}
    for name in columns:
        column = table[name]
        if name in ("source", "origin"):
            data[name] = column.dictionary_encode().combine_chunks().to_pandas().array
        elif name == "is_filled":
            data[name] = column.to_numpy().astype(bool)
        else:
            data[name] = column.cast(pa.float64()).to_numpy()
    return pd.DataFrame(data, index=ts_index(column_ms(table["ts"])))


def read_parts(db: Database, series: Series, opens: np.ndarray, length_ms: int) -> pd.DataFrame:
    """The bars that open within `length_ms` of any of `opens` (int64 epoch ms, ascending, at least so far apart): `OHLCV` and
    `is_filled` as of `read`. One look into the index per open time."""
    table = db.read(
        "SELECT part.* FROM unnest($3::timestamptz[]) AS bar(ts) CROSS JOIN LATERAL (SELECT ts, open, high, low, close, volume,"
        " is_filled FROM market_data WHERE symbol = $1 AND timeframe = $2 AND ts >= bar.ts"
        " AND ts < bar.ts + $4::bigint * interval '1 ms' ORDER BY ts LIMIT $5::bigint) AS part ORDER BY ts",
        (*_keys(series).values(), f"{{{','.join(map(iso, opens.tolist()))}}}", length_ms, length_ms // series.timeframe.ms),
    )
    data = {name: table[name].to_numpy() for name in OHLCV} | {"is_filled": table["is_filled"].to_numpy().astype(bool)}
    return pd.DataFrame(data, index=ts_index(column_ms(table["ts"])))


def read_daily_closes(db: Database, series: Series) -> pd.Series:
    """The close of the last bar of every UTC day that has one, float64, indexed by the day (UTC midnight). One look into the
    index per day of the history, however many bars a day has."""
    table = db.read(
        "SELECT day, last.close FROM (SELECT date_trunc('day', min(ts)) AS first, max(ts) AS last FROM market_data"
        " WHERE symbol = $1 AND timeframe = $2) AS span CROSS JOIN generate_series(span.first, span.last, '1 day') AS day"
        " CROSS JOIN LATERAL (SELECT close FROM market_data WHERE symbol = $1 AND timeframe = $2 AND ts >= day"
        " AND ts < day + interval '1 day' ORDER BY ts DESC LIMIT 1) AS last ORDER BY day",
        tuple(_keys(series).values()),
    )
    return pd.Series(table["close"].to_numpy(), index=ts_index(column_ms(table["day"])).rename("day"), name="close")


def window_start(db: Database, series: Series, before_ms: int, bars: int, *, filled: bool = True) -> int:
    """Open time (epoch ms) of the `bars`-th existing bar before `before_ms`, or of the first one when there are fewer;
    `before_ms` itself when there is none or none is asked for. Without `filled` only bars that a source has given count."""
    rows = db.rows(
        "SELECT min(ts) FROM (SELECT ts FROM market_data WHERE symbol = %s AND timeframe = %s AND ts < %s"
        f"{'' if filled else ' AND NOT is_filled'} ORDER BY ts DESC LIMIT %s) AS earlier",
        (*_keys(series).values(), to_datetime(before_ms), bars),
    )
    start = to_ms(rows[0][0])
    return before_ms if start is None else start


def next_given(db: Database, series: Series, from_ms: int) -> int | None:
    """Open time (epoch ms) of the first bar at or after `from_ms` that a source has given; None when there is none."""
    rows = db.rows(
        "SELECT ts FROM market_data WHERE symbol = %s AND timeframe = %s AND ts >= %s AND NOT is_filled ORDER BY ts LIMIT 1",
        (*_keys(series).values(), to_datetime(from_ms)),
    )
    return to_ms(rows[0][0]) if rows else None


def window_end(source: Cursor | Database, series: Series, from_ms: int, bars: int) -> int | None:
    """Open time (epoch ms) of the `bars`-th existing bar (1 for the first) at or after `from_ms`; None when there are fewer."""
    statement = "SELECT ts FROM market_data WHERE symbol = %s AND timeframe = %s AND ts >= %s ORDER BY ts OFFSET %s LIMIT 1"
    parameters = (*_keys(series).values(), to_datetime(from_ms), bars - 1)
    rows = rows_of(source, statement, parameters)
    return to_ms(rows[0][0]) if rows else None


def read_opens(db: Database, series: Series, start_ms: int, end_ms: int, *, filled: bool = True) -> np.ndarray:
    """Open times (int64 epoch ms, ascending) of the bars with `start_ms <= ts < end_ms`; without `filled` only of bars that a
    source has given."""
    if start_ms >= end_ms:
        return np.empty(0, dtype="int64")
    table = db.read(
        "SELECT ts FROM market_data WHERE symbol = $1 AND timeframe = $2 AND ts >= $3::timestamptz AND ts < $4::timestamptz"
        f"{'' if filled else ' AND NOT is_filled'} ORDER BY ts",
        (*_keys(series).values(), iso(start_ms), iso(end_ms)),
    )
    return column_ms(table["ts"])


def read_filled_opens(cursor: Cursor, series: Series, within: Interval) -> np.ndarray:
    """Open times (int64 epoch ms, ascending) of the filled bars in `within`, in the transaction of `cursor`."""
    cursor.execute(
        "SELECT ts FROM market_data WHERE symbol = %s AND timeframe = %s AND ts >= %s AND ts < %s AND is_filled ORDER BY ts",
        (*_keys(series).values(), to_datetime(within.start_ms), to_datetime(within.end_ms)),
    )
    return np.array([to_ms(ts) for (ts,) in cursor.fetchall()], dtype="int64")


def count_filled(db: Database, series: Series, start_ms: int | None = None, end_ms: int | None = None) -> int:
    """How many filled bars are stored with `start_ms <= ts < end_ms`; of the whole series without bounds."""
    rows = db.rows(
        "SELECT count(*) FROM market_data WHERE symbol = %s AND timeframe = %s AND is_filled"
        " AND ts >= coalesce(%s, '-infinity'::timestamptz) AND ts < coalesce(%s, 'infinity'::timestamptz)",
        (*_keys(series).values(), to_datetime(start_ms), to_datetime(end_ms)),
    )
    return rows[0][0]


def last_close_before(db: Database, series: Series, ts_ms: int) -> float | None:
    """The close of the last bar before `ts_ms`, None when there is none."""
    rows = db.rows(
        "SELECT close FROM market_data WHERE symbol = %s AND timeframe = %s AND ts < %s ORDER BY ts DESC LIMIT 1",
        (*_keys(series).values(), to_datetime(ts_ms)),
    )
    return rows[0][0] if rows else None


def span(source: Cursor | Database, series: Series) -> Interval | None:
    """First and last open time that are stored, so that `end_ms` is a bar too; None without bars."""
    statement = "SELECT min(ts), max(ts) FROM market_data WHERE symbol = %s AND timeframe = %s"
    [(first, last)] = rows_of(source, statement, tuple(_keys(series).values()))
    return None if first is None else Interval(to_ms(first), to_ms(last))  # type: ignore[arg-type]


def _keys(series: Series) -> dict[str, str]:
    return {"symbol": series.symbol, "timeframe": series.timeframe.code}


def _whole(trades: np.ndarray) -> np.ndarray:
    """Counts as int64, masked where they are NaN."""
    if trades.dtype.kind != "f":
        return trades
    missing = np.isnan(trades)
    return np.ma.array(np.where(missing, 0, trades).astype("int64"), mask=missing)
