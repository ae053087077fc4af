"""One function per gate of an entry. Each gives a verdict per bar (pandas `boolean`: True, False, NA when unknown), most of
them a score in [-1, 1] (float64, NaN when unknown), too. How verdicts become an entry is said by the strategies.

A row looks at itself and at rows before it, never after.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.market.timeframe import Timeframe


class Gate(NamedTuple):
    """Verdict and score of one gate, one value per bar."""

    verdict: pd.array
    score: np.ndarray


def trend_gate(higher_trend: np.ndarray) -> Gate:
    """Whether the higher timeframe rises. Score: its trend. Unknown where the trend is NaN."""
    return Gate(verdict(higher_trend > 0, np.isfinite(higher_trend)), higher_trend)


def rsi_gate(rsi: np.ndarray, recovery: float, overbought: float, window: int) -> Gate:
    """Whether the RSI recovered: it rose through `recovery` at this bar or at most `window - 1` bars before, is still
    above it, and is not above `overbought`. This makes an entry an event that passes, not a state that lasts.

    Score: (RSI - recovery) / (overbought - recovery), at least -1; above `overbought` it falls from 0 to -1 at 100.
    Unknown where one of the `window + 1` RSI values that it looks at is NaN or before the first row.
    """
    before = shifted(rsi, 1)
    rose = (before <= recovery) & (rsi > recovery)
    known = np.isfinite(rsi) & np.isfinite(before)
    recent, all_known = rose.copy(), known.copy()
    for lag in range(1, window):
        recent |= shifted(rose, lag)
        all_known &= shifted(known, lag)
    inside = (rsi > recovery) & (rsi <= overbought)
    strength = (rsi - recovery) / (overbought - recovery)
    excess = (rsi - overbought) / max(100 - overbought, 1.0)
    score = np.where(rsi > overbought, -excess, np.maximum(strength, -1.0))
    return Gate(verdict(recent & inside, all_known), score)


def macd_gate(macd: np.ndarray, macd_signal: np.ndarray, macd_histogram: np.ndarray) -> Gate:
    """Whether the histogram is above 0 or above the one of the bar before.

    Score: histogram / (|MACD| + |signal|), 0 when both are 0: the histogram is their difference, so this is free of the
    price's scale. Unknown where the histogram or the one before it is NaN.
    """
    before = shifted(macd_histogram, 1)
    known = np.isfinite(macd_histogram) & np.isfinite(before)
    score = macd_score(macd, macd_signal, macd_histogram)
    return Gate(verdict((macd_histogram > 0) | (macd_histogram > before), known), score)


def macd_score(macd: np.ndarray, macd_signal: np.ndarray, macd_histogram: np.ndarray) -> np.ndarray:
    """The histogram relative to |MACD| + |signal|, in [-1, 1], 0 when both are 0."""
    size = np.abs(macd) + np.abs(macd_signal)
    score = np.divide(macd_histogram, size, out=np.where(np.isnan(size), np.nan, 0.0), where=size > 0)
    return np.clip(score, -1.0, 1.0)


def risk_reward_gate(ratio: np.ndarray, least: float) -> Gate:
    """Whether the ratio reaches `least`. Score: (ratio - least) / (|ratio| + least). Unknown where it is NaN."""
    return Gate(verdict(ratio >= least, np.isfinite(ratio)), (ratio - least) / (np.abs(ratio) + least))


def data_quality_gate(opens_ms: np.ndarray, is_filled: np.ndarray, timeframe: Timeframe, slots: int) -> Gate:
    """Whether the last `slots` bar slots, the present one included, hold every bar and none that was filled.

    opens_ms: int64, ascending, on the grid; is_filled: bool. Unknown, unless a fault is already seen, where a slot lies before
    the first row: nobody can tell what the series was like before it began. Score: 1 minus twice the share of faulty slots.
    """
    since = opens_ms - (slots - 1) * timeframe.ms
    first = np.searchsorted(opens_ms, since)
    filled = np.concatenate(([0], np.cumsum(is_filled)))
    rows = np.arange(len(opens_ms))
    known_slots = np.minimum((opens_ms - opens_ms[:1].repeat(len(opens_ms))) // timeframe.ms + 1, slots)
    faults = (known_slots - (rows + 1 - first)) + (filled[rows + 1] - filled[first])
    known = (known_slots == slots) | (faults > 0)
    return Gate(verdict(faults == 0, known), np.where(known, 1.0 - 2.0 * faults / slots, np.nan))


def crossed_above(values: np.ndarray, level: np.ndarray) -> pd.array:
    """Whether `values` rose through `level` (one per row) at this bar: at or below it the bar before, above it now. Unknown
    where one of the four numbers is NaN or before the first row."""
    before, level_before = shifted(values, 1), shifted(level, 1)
    known = np.isfinite(values) & np.isfinite(level) & np.isfinite(before) & np.isfinite(level_before)
    return verdict((values > level) & (before <= level_before), known)


def of_direction(direction: np.ndarray, long: pd.array, short: pd.array) -> pd.array:
    """The verdict of `long` where `direction` is 1, that of `short` where it is -1."""
    asked = direction > 0
    holds = np.where(asked, *(one.to_numpy(dtype=bool, na_value=False) for one in (long, short)))
    return verdict(holds, ~np.where(asked, long.isna(), short.isna()))


def verdict(holds: np.ndarray, known: np.ndarray) -> pd.array:
    """Verdicts from two bool arrays: NA where not known."""
    return pd.arrays.BooleanArray(np.asarray(holds, dtype=bool), ~np.asarray(known, dtype=bool))


def shifted(values: np.ndarray, lag: int) -> np.ndarray:
    """The values `lag` rows before; False or NaN where there is no such row."""
    result = np.full(len(values), np.nan if values.dtype.kind == "f" else False, dtype=values.dtype)
    result[lag:] = values[: max(len(values) - lag, 0)]
    return result
