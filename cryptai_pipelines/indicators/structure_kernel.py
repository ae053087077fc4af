"""The bar-by-bar rules of market structure: swing pivots, breaks, bias, gaps. Plain functions over arrays and one record, which
numba compiles on first use; each also runs uncompiled with the same results. What is given and taken is said in
`market_structure`.

The rules, of which every one looks at the bars up to the present one only (pivots and tags after LuxAlgo's published Pine
script "Smart Money Concepts"; here the first pivot of either side counts, and of two equal ones neither is higher):
- A bar whose high is above the highs of the `length` bars after it ends a rise, one whose low is below theirs ends a fall. When
  that turns the leg, the bar is a swing pivot, confirmed at the last of those bars.
- The first close beyond the last pivot high or low breaks it, once. With the bias it is a break of structure (BOS), against it
  a change of character (CHoCH); then the bias is that of the break. The first break of a series is a BOS.
- A fair-value gap is left by three consecutive bars of which the third does not come back to the first. It is open until a
  later bar has traded through all of it; of each side the last one that was left is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

OUTPUTS = (
    "swing_high",
    "swing_high_ts",
    "swing_high_confirmed_at",
    "swing_high_order",
    "swing_low",
    "swing_low_ts",
    "swing_low_confirmed_at",
    "swing_low_order",
    "leg",
    "bias",
    "bos",
    "choch",
    "broken_level",
    "fair_value_gap",
    "gap_above",
    "gap_below",
)
"""Rows of `out`, in order."""

EVENTS = {"bos": 0.0, "choch": 0.0, "broken_level": np.nan, "fair_value_gap": 0.0}
"""Outputs that tell of the one bar, and their value where nothing happens; the others tell how things stand."""

# `bars` counts up to `length` and no further: states that know the same are the same, however they were come to.
STATE_DTYPE = np.dtype(
    [
        ("bars", "i8"),
        ("leg", "i8"),
        ("bias", "i8"),
        ("high", "f8"),
        ("high_ts", "i8"),
        ("high_confirmed_at", "i8"),
        ("high_order", "i8"),
        ("high_broken", "i8"),
        ("low", "f8"),
        ("low_ts", "i8"),
        ("low_confirmed_at", "i8"),
        ("low_order", "i8"),
        ("low_broken", "i8"),
        ("above_top", "f8"),
        ("above_bottom", "f8"),
        ("below_top", "f8"),
        ("below_bottom", "f8"),
    ]
)


def run_structure(
    ts: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    first: int,
    length: int,
    step_ms: int,
    state: np.ndarray,
    out: np.ndarray,
) -> None:
    """Carry the one record of `state` over the bars from `first` on; those before are what the rules look back to.

    ts: int64; prices: float64. out: float64, one row per name of `OUTPUTS`, written: in its first column what was known before
    the bar `first`, then one column per bar.
    """
    now = state[0]
    tell(now, 0, 0, np.nan, 0, out[:, 0])
    for i in range(first, ts.size):
        if now["bars"] >= length:
            turn(now, ts, high, low, i, length, ts[i] + step_ms)
        else:
            now["bars"] += 1
        bos, choch, level = broken(now, close[i])
        gap = close_and_leave_gap(now, ts, high, low, i, step_ms)
        tell(now, bos, choch, level, gap, out[:, i - first + 1])


def tell(now: np.void, bos: int, choch: int, level: float, gap: int, reading: np.ndarray) -> None:
    """Write what is known after a bar."""
    reading[0], reading[1], reading[2] = now["high"], stamped(now["high_ts"]), stamped(now["high_confirmed_at"])
    reading[3] = now["high_order"]
    reading[4], reading[5], reading[6] = now["low"], stamped(now["low_ts"]), stamped(now["low_confirmed_at"])
    reading[7] = now["low_order"]
    reading[8], reading[9] = now["leg"], now["bias"]
    reading[10], reading[11], reading[12], reading[13] = bos, choch, level, gap
    reading[14], reading[15] = now["above_bottom"], now["below_top"]


def turn(now: np.void, ts: np.ndarray, high: np.ndarray, low: np.ndarray, i: int, length: int, close_ms: int) -> None:
    """Confirm the bar `length` bars before `i` as a pivot, when it turns the leg. `close_ms`: when bar `i` closes."""
    candidate = i - length
    highest, lowest = high[candidate + 1], low[candidate + 1]
    for j in range(candidate + 2, i + 1):
        highest, lowest = max(highest, high[j]), min(lowest, low[j])
    if high[candidate] > highest:
        if now["leg"] != -1:
            now["leg"] = -1
            now["high_order"] = order(high[candidate], now["high"])
            now["high"], now["high_ts"], now["high_broken"] = high[candidate], ts[candidate], 0
            now["high_confirmed_at"] = close_ms
    elif low[candidate] < lowest and now["leg"] != 1:
        now["leg"] = 1
        now["low_order"] = order(low[candidate], now["low"])
        now["low"], now["low_ts"], now["low_broken"] = low[candidate], ts[candidate], 0
        now["low_confirmed_at"] = close_ms


def order(price: float, before: float) -> int:
    """1 above the pivot before, -1 below, 0 for an equal one and for the first."""
    if price > before:
        return 1
    return -1 if price < before else 0


def broken(now: np.void, close: float) -> tuple[int, int, float]:
    """BOS and CHoCH of this close (1 up, -1 down, 0 none) and the level that it broke."""
    side, level = 0, np.nan
    if now["high_broken"] == 0 and close > now["high"]:
        side, level = 1, now["high"]
        now["high_broken"] = 1
    elif now["low_broken"] == 0 and close < now["low"]:
        side, level = -1, now["low"]
        now["low_broken"] = 1
    if side == 0:
        return 0, 0, level
    against = now["bias"] == -side
    now["bias"] = side
    return (0, side, level) if against else (side, 0, level)


def close_and_leave_gap(now: np.void, ts: np.ndarray, high: np.ndarray, low: np.ndarray, i: int, step_ms: int) -> int:
    """Close the open gaps that bar `i` has traded through; 1 or -1 when it leaves one below or above itself."""
    if high[i] >= now["above_top"]:
        now["above_top"], now["above_bottom"] = np.nan, np.nan
    if low[i] <= now["below_bottom"]:
        now["below_top"], now["below_bottom"] = np.nan, np.nan
    if i < 2 or ts[i] - ts[i - 2] != 2 * step_ms:
        return 0
    if low[i] > high[i - 2]:
        now["below_top"], now["below_bottom"] = low[i], high[i - 2]
        return 1
    if high[i] < low[i - 2]:
        now["above_top"], now["above_bottom"] = low[i - 2], high[i]
        return -1
    return 0


def stamped(ts: int) -> float:
    """An open time as a float, exact for milliseconds; NaN where there is none."""
    return np.nan if ts < 0 else float(ts)


@cache
def compiled() -> Callable[..., None]:
    """`run_structure` as machine code. The first call on a machine compiles it, later processes load it from numba's cache."""
    from numba import njit
    from numba.extending import register_jitable

    for function in (tell, turn, order, broken, close_and_leave_gap, stamped):
        register_jitable(function)
    return njit(cache=True)(run_structure)
