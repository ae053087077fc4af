"""`market_data`: the validated bars, one row per open time. What makes a bar valid is judged in `quality` before it comes here;
the table refuses prices that are not positive and finite whatever happens."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns, ts_index
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.merge_rows import lock_series, merge_series
from cryptai_pipelines.storage.tables import TABLES
from cryptai_pipelines.storage.times import column_ms, iso, to_datetime, to_ms

_TABLE = TABLES["market_data"]


def upsert(
    cursor: Cursor, series: Series, rows: Columns, source: str, origin: str, is_filled: bool | np.ndarray = False
) -> Change:
    """Insert or replace bars; equal ones are left alone.

    `rows`: `ts` (int64) and `BAR_COLUMNS`, of which `trades` may be int64 or whole float64 numbers; NaN in the last four
    columns is stored as NULL. `origin`: how the bar came (`rest`, `archive`, `csv`, `udf`, `secondary`, `resampled`,
    `carried`).
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


def read(db: Database, series: Series, start_ms: int | None = None, end_ms: int | None = None) -> pd.DataFrame:
    """The bars with `start_ms <= ts < end_ms` (all without bounds) as a bars frame: index `ts`, `BAR_COLUMNS` float64 with NaN
    for what the venue did not report, `is_filled` bool, `source` categorical."""
    import pyarrow as pa

    bounds = [("ts >= ${}::timestamptz", start_ms), ("ts < ${}::timestamptz", end_ms)]
    wanted = [(text, iso(ts)) for text, ts in bounds if ts is not None]
    conditions = "".join(f" AND {text.format(position)}" for position, (text, _) in enumerate(wanted, start=3))
    table = db.read(
        f"SELECT ts, {', '.join(BAR_COLUMNS)}, is_filled, source FROM market_data"
        f" WHERE symbol = $1 AND timeframe = $2{conditions} ORDER BY ts",
        (*_keys(series).values(), *(value for _, value in wanted)),
    )
    data: dict[str, object] = {name: table[name].cast(pa.float64()).to_numpy() for name in BAR_COLUMNS}
    data["is_filled"] = table["is_filled"].to_numpy().astype(bool)
    frame = pd.DataFrame(data, index=ts_index(column_ms(table["ts"])))
    frame["source"] = table["source"].dictionary_encode().combine_chunks().to_pandas().array
    return frame


def read_daily_closes(db: Database, series: Series) -> pd.Series:
    """The close of the last bar of every UTC day that has one, float64, indexed by the day (UTC midnight). Reads the index of
    the whole history: for reports, not for every tick."""
    table = db.read(
        "SELECT DISTINCT ON (date_trunc('day', ts)) date_trunc('day', ts) AS day, close FROM market_data"
        " WHERE symbol = $1 AND timeframe = $2 ORDER BY date_trunc('day', ts), ts DESC",
        tuple(_keys(series).values()),
    )
    return pd.Series(table["close"].to_numpy(), index=ts_index(column_ms(table["day"])).rename("day"), name="close")


def window_start(db: Database, series: Series, before_ms: int, bars: int) -> int:
    """Open time (epoch ms) of the `bars`-th existing bar before `before_ms`, or of the first one when there are fewer;
    `before_ms` itself when there is none or none is asked for."""
    rows = db.rows(
        "SELECT min(ts) FROM (SELECT ts FROM market_data WHERE symbol = %s AND timeframe = %s AND ts < %s"
        " ORDER BY ts DESC LIMIT %s) AS earlier",
        (*_keys(series).values(), to_datetime(before_ms), bars),
    )
    start = to_ms(rows[0][0])
    return before_ms if start is None else start


def read_opens(db: Database, series: Series, start_ms: int, end_ms: int) -> np.ndarray:
    """Open times (int64 epoch ms, ascending) of the bars with `start_ms <= ts < end_ms`."""
    if start_ms >= end_ms:
        return np.empty(0, dtype="int64")
    table = db.read(
        "SELECT ts FROM market_data WHERE symbol = $1 AND timeframe = $2 AND ts >= $3::timestamptz AND ts < $4::timestamptz"
        " ORDER BY ts",
        (*_keys(series).values(), iso(start_ms), iso(end_ms)),
    )
    return column_ms(table["ts"])


def span(source: Cursor | Database, series: Series) -> Interval | None:
    """First and last open time that are stored, so that `end_ms` is a bar too; None without bars."""
    statement = "SELECT min(ts), max(ts) FROM market_data WHERE symbol = %s AND timeframe = %s"
    keys = tuple(_keys(series).values())
    if isinstance(source, Database):
        first, last = source.rows(statement, keys)[0]
    else:
        source.execute(statement, keys)
        first, last = source.fetchone()  # type: ignore[misc]
    return None if first is None else Interval(to_ms(first), to_ms(last))  # type: ignore[arg-type]


def _keys(series: Series) -> dict[str, str]:
    return {"symbol": series.symbol, "timeframe": series.timeframe.code}


def _whole(trades: np.ndarray) -> np.ndarray:
    """Counts as int64, masked where they are NaN."""
    if trades.dtype.kind != "f":
        return trades
    missing = np.isnan(trades)
    return np.ma.array(np.where(missing, 0, trades).astype("int64"), mask=missing)
