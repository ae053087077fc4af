"""`backtest_ambiguous_bars`: the bars of a result of which finer bars were asked, what these told, and whether any of them have
become others since. Written in the transaction of the result (`backtests`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.copy_rows import copy_rows
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.tables import TABLES
from cryptai_pipelines.storage.times import column_ms, to_datetime, to_ms

_TABLE = TABLES["backtest_ambiguous_bars"]


def replace_ambiguous_bars(cursor: Cursor, backtest_id: int, from_ms: int, bars: pd.DataFrame) -> None:
    """Make `bars` all there are from the open time `from_ms` on. `bars`: `ts` (int64 epoch ms, unique), `finer_timeframe` (the
    code of the timeframe that was looked into, None where none was complete), `ambiguous` (bool)."""
    cursor.execute(
        "DELETE FROM backtest_ambiguous_bars WHERE backtest_id = %s AND ts >= %s", (backtest_id, to_datetime(from_ms))
    )
    values = {name: bars[name].to_numpy() for name in ("ts", "finer_timeframe", "ambiguous")}
    copy_rows(cursor, _TABLE, {"backtest_id": int(backtest_id), **values}, len(bars))


def read_ambiguous_bars(db: Database, backtest_id: int) -> pd.DataFrame:
    """The bars as `replace_ambiguous_bars` takes them, ascending."""
    table = db.read(
        "SELECT ts, finer_timeframe, ambiguous FROM backtest_ambiguous_bars WHERE backtest_id = $1::bigint ORDER BY ts",
        (int(backtest_id),),
    )
    codes = np.array(table["finer_timeframe"].to_pylist(), dtype=object)
    return pd.DataFrame(
        {
            "ts": column_ms(table["ts"]),
            "finer_timeframe": pd.Series(codes, dtype=object),
            "ambiguous": table["ambiguous"].to_numpy().astype(bool),
        }
    )


def changed_within(db: Database, backtest_id: int, series: Series, asset: str, seen: Mapping[str, int]) -> list[Interval]:
    """Those bars of a result of `series`, ascending, in whose time `asset` has changed since the revisions `seen` of some
    timeframes, by code."""
    rows = db.rows(
        "SELECT b.ts FROM backtest_ambiguous_bars AS b WHERE b.backtest_id = %(id)s AND EXISTS (SELECT FROM series_changes AS c"
        " JOIN unnest(%(codes)s::text[], %(revisions)s::bigint[]) AS seen (timeframe, revision)"
        " ON c.timeframe = seen.timeframe AND c.revision > seen.revision WHERE c.asset = %(asset)s AND c.symbol = %(symbol)s"
        " AND c.first_ts < b.ts + %(length)s * interval '1 ms' AND c.last_ts >= b.ts) ORDER BY b.ts",
        {
            "id": int(backtest_id),
            "codes": list(seen),
            "revisions": list(seen.values()),
            "asset": asset,
            "symbol": series.symbol,
            "length": series.timeframe.ms,
        },
    )
    opens = [to_ms(ts) for (ts,) in rows]
    return [Interval(ts, ts + series.timeframe.ms) for ts in opens if ts is not None]
