"""Where one long position with a target and a stop must end, read from the bars alone, and in which rules engines are known to
read them otherwise. A third reading beside the kernel and the peers, so that neither is judged by itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

ENTRY_BAR = "entry_bar_not_watched"
STOP_FIRST = "stop_before_open_beyond_target"
LEFT_OPEN = "left_open_at_the_end"

_BLOCK = 256


class Market(NamedTuple):
    """Prices by row (float64), and whether the close of a row asks for an entry (bool)."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    asked: np.ndarray

    @classmethod
    def of(cls, bars: pd.DataFrame, entries: pd.Series) -> Market:
        """The arrays of a bars frame and of the entries beside it."""
        prices = (bars[name].to_numpy(dtype="float64") for name in ("open", "high", "low", "close"))
        return cls(*prices, entries.to_numpy(dtype=bool))


class Exit(NamedTuple):
    """The row and the price at which a position ends; the row behind the last one, and NaN, for one that is left open."""

    row: int
    price: float


def exit_of(market: Market, entry: int, stop: float, target: float, differs: tuple[str, ...] = ()) -> Exit:
    """The exit of a position bought at the open of row `entry`, by the rules of `kernel`, except for those in `differs`:

    - `ENTRY_BAR`: the bar of entry is not looked at.
    - `STOP_FIRST`: a bar that opens beyond the target and falls to the stop is the stop, not the target at its open.
    - `LEFT_OPEN`: a position that is open at the last bar is not closed at its close.
    """
    row = _first_touch(market, entry + (ENTRY_BAR in differs), stop, target)
    if row is None:
        last = len(market.close) - 1
        return Exit(last + 1, float("nan")) if LEFT_OPEN in differs else Exit(last, float(market.close[last]))
    opened = float(market.open[row])
    if opened <= stop:
        return Exit(row, opened)
    stopped = bool(market.low[row] <= stop)
    if opened >= target and not (stopped and STOP_FIRST in differs):
        return Exit(row, opened)
    return Exit(row, stop if stopped else target)


def _first_touch(market: Market, start: int, stop: float, target: float) -> int | None:
    length = _BLOCK
    while start < len(market.low):
        touched = (market.low[start : start + length] <= stop) | (market.high[start : start + length] >= target)
        if touched.any():
            return start + int(np.argmax(touched))
        start, length = start + length, 2 * length
    return None
