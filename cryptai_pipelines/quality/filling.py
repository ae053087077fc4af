"""What stands at an open time where no source has a bar, once that was decided. Two policies, both flagged: `carry_forward`
reads only what was known before, and may be stored; `interpolated` reads the bar after the gap too, and is for charts and
exports alone: strategy, ML and backtests refuse a frame that holds it. Where gaps are is found in `gaps`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, Columns, index_ms, ts_index
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.timeframe import Timeframe

CARRIED = "carried"
INTERPOLATED = "interpolated"
_PRICES = ("open", "high", "low", "close")


def missing_within(opens: np.ndarray, timeframe: Timeframe, spans: Sequence[Interval], within: Interval) -> np.ndarray:
    """Open times of the grid inside `spans` and `within` that are not among `opens` (int64); ascending, int64."""
    inside = [clipped(one, within) for one in spans]
    wanted = [timeframe.opens(*one) for one in inside if one.start_ms < one.end_ms]
    return np.setdiff1d(np.concatenate(wanted), opens) if wanted else np.empty(0, dtype="int64")


def carry_forward(bars: Columns, missing: np.ndarray, close_before: float | None) -> Columns:
    """Bars at the open times `missing` (int64, ascending): open, high, low and close are the last close before, everything that
    is an amount is 0.

    `bars`: `ts` (ascending) and `close` of the bars around them; `close_before`: the close of the last bar before all of these,
    or None. An open time with no bar at all before it stays missing.
    """
    position = np.searchsorted(bars["ts"], missing) - 1
    closes = np.full(len(missing), np.nan if close_before is None else close_before)
    found = position >= 0
    closes[found] = bars["close"][position[found]]
    known = np.isfinite(closes)
    closes, opens = closes[known], missing[known]
    amounts = {name: np.zeros(len(opens)) for name in BAR_COLUMNS if name not in _PRICES}
    return {"ts": opens, **{name: closes.copy() for name in _PRICES}, **amounts}


def interpolated(bars: pd.DataFrame, timeframe: Timeframe) -> pd.DataFrame:
    """`bars` with a row at every open time between its first and its last: a missing one lies on the straight line from the
    close before it to the open after it. For charts and exports only: a filled row depends on a bar that comes after it.

    bars: a bars frame (index `ts` UTC, ascending, on the grid) with OHLCV and, where known, `is_filled` (bool) and `origin`.
    The result has both; rows added here are filled, their origin is `interpolated`, their amounts are 0 (NaN beyond OHLCV).
    """
    opens = index_ms(bars.index)
    if not len(opens):
        return _flagged(bars)
    grid = timeframe.opens(int(opens[0]), int(opens[-1]) + timeframe.ms)
    result = _flagged(bars).reindex(ts_index(grid))
    gone = np.setdiff1d(grid, opens)
    after = np.searchsorted(opens, gone)
    start, end = opens[after - 1] + timeframe.ms, opens[after]
    before, ahead = bars["close"].to_numpy()[after - 1], bars["open"].to_numpy()[after]
    span = (end - start).astype("float64")
    opening = before + (ahead - before) * ((gone - start) / span)
    closing = before + (ahead - before) * ((gone + timeframe.ms - start) / span)
    at = ts_index(gone)
    values = {"open": opening, "close": closing, "high": np.maximum(opening, closing), "low": np.minimum(opening, closing)}
    for name, value in (*values.items(), ("volume", 0.0), ("is_filled", True), ("origin", INTERPOLATED)):
        result.loc[at, name] = value
    return result.astype({"is_filled": bool})


def refuse_interpolated(bars: pd.DataFrame) -> None:
    """`BadArgument` when `bars` has a row whose `origin` is `interpolated`: it was made from a bar that comes after it."""
    if "origin" in bars.columns and (bars["origin"] == INTERPOLATED).any():
        first = bars.index[(bars["origin"] == INTERPOLATED).to_numpy()][0]
        raise BadArgument(
            f"the bar at {first.isoformat()} is interpolated from a later one; accepted: bars without, or with carried, fills"
        )


def _flagged(bars: pd.DataFrame) -> pd.DataFrame:
    flags = {"is_filled": False, "origin": ""}
    kept = [name for name in (*OHLCV, *BAR_COLUMNS[len(OHLCV) :], *flags) if name in bars.columns]
    return (
        bars[kept]
        .assign(**{name: value for name, value in flags.items() if name not in bars.columns})
        .astype({"origin": object, "is_filled": object})
    )
