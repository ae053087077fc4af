"""Which of TA-Lib's 61 candlestick patterns confirm an entry, and on which side. What each looks like is TA-Lib's.

Read are reversals of one to three bars. Left out are patterns that name a bar's shape and no side (doji, spinning top, long
line), and those that live on gaps between bars, which a market that never closes hardly has.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.strategy.gates import Gate, of_direction, shifted, verdict

BOTH_SIDES = ("cdl_engulfing", "cdl_harami", "cdl_3inside", "cdl_3outside")
BULLISH = (
    *BOTH_SIDES,
    "cdl_hammer",
    "cdl_invertedhammer",
    "cdl_piercing",
    "cdl_morningstar",
    "cdl_morningdojistar",
    "cdl_3whitesoldiers",
)
BEARISH = (
    *BOTH_SIDES,
    "cdl_hangingman",
    "cdl_shootingstar",
    "cdl_darkcloudcover",
    "cdl_eveningstar",
    "cdl_eveningdojistar",
    "cdl_3blackcrows",
)
PATTERNS = tuple(dict.fromkeys((*BULLISH, *BEARISH)))


def candle_gate(direction: np.ndarray, patterns: pd.DataFrame, window: int) -> Gate:
    """Whether a pattern for `direction` ended at this bar or at most `window - 1` bars before.

    patterns: the columns `PATTERNS`, above 0 bullish, below 0 bearish. Score: 1 after bullish ones only, -1 after bearish ones
    only, else 0. Unknown where a pattern is NaN within the window.
    """
    values = {name: patterns[name].to_numpy(dtype="float64") for name in PATTERNS}
    known = ~_within(np.logical_or.reduce([np.isnan(one) for one in values.values()]), window)
    bullish = _within(np.logical_or.reduce([values[name] > 0 for name in BULLISH]), window)
    bearish = _within(np.logical_or.reduce([values[name] < 0 for name in BEARISH]), window)
    score = np.where(known, bullish.astype("float64") - bearish, np.nan)
    return Gate(of_direction(direction, verdict(bullish, known), verdict(bearish, known)), score)


def _within(happened: np.ndarray, window: int) -> np.ndarray:
    """Whether it happened at this row or at most `window - 1` rows before."""
    found = happened.copy()
    for lag in range(1, window):
        found |= shifted(happened, lag)
    return found
