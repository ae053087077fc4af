"""The trend of the higher timeframe as it was known at the close of each lower bar. Trends of the series itself are
indicators."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.chunks import CHUNK_BARS, chunk_start
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.resampling import as_of, known_at_ms, resample
from cryptai_pipelines.market.timeframe import HIGHER, Timeframe

EMA_PERIOD = 50
# (49/51)^520 is below 1e-9: what came before no longer shows in the EMA, whose first value is a mean of EMA_PERIOD closes.
_HIGHER_WARMUP = 520 + EMA_PERIOD


def trend_warmup_bars(timeframe: Timeframe) -> int:
    """Existing bars before a chunk that the trends in it are computed from; 0 where there is no higher timeframe."""
    higher = HIGHER[timeframe]
    return 0 if higher is None else _HIGHER_WARMUP * (higher.ms // timeframe.ms)


def higher_trend(bars: pd.DataFrame, timeframe: Timeframe, start_ms: int) -> np.ndarray:
    """Trend of the higher timeframe for every bar with `ts >= start_ms`, float64: 1 up, -1 down, 0 neither, NaN unknown.

    bars: the series' own bars (open, high, low, close, volume), with at least `trend_warmup_bars(timeframe)` existing bars
    before `chunk_start(start_ms)`, or from the first one on. Higher bars are made of them. One counts from the close of its
    interval (known-at), so the one still forming is never seen. Up: its close is above the EMA of the closes and the EMA
    rises; down: both the other way round. NaN while fewer than EMA_PERIOD + 1 higher bars are known, and for weeks, which
    have no higher timeframe here.

    Canonical as design section 8 demands: each chunk of the series is computed from its own bars and exactly the warm-up bars
    before it, so where `bars` starts does not show in the result. Only closes of whole windows count: a higher bar that the
    window enters in its middle is left out.
    """
    opens = index_ms(bars.index)
    first = int(np.searchsorted(opens, start_ms))
    result = np.full(len(opens) - first, np.nan)
    higher = HIGHER[timeframe]
    if higher is None or not len(result):
        return result
    span = CHUNK_BARS * timeframe.ms
    for begin in range(chunk_start(int(opens[first]), timeframe), int(opens[-1]) + 1, span):
        low, high = np.searchsorted(opens, (begin, begin + span))
        wanted = max(low, first)
        if high > wanted:
            window = bars.iloc[max(0, low - trend_warmup_bars(timeframe)) : high]
            at = opens[wanted:high] + timeframe.ms
            result[wanted - first : high - first] = _trend_as_of(window, timeframe, higher, at)
    return result


def _trend_as_of(window: pd.DataFrame, timeframe: Timeframe, higher: Timeframe, at_ms: np.ndarray) -> np.ndarray:
    whole = resample(window[["close"]], timeframe, higher)
    if index_ms(window.index)[0] != index_ms(whole.index)[0]:
        whole = whole.iloc[1:]
    return as_of(ema_trend(whole["close"].to_numpy()), known_at_ms(whole.index, higher), at_ms)


def ema_trend(closes: np.ndarray) -> np.ndarray:
    """1 where the close is above an EMA (`EMA_PERIOD`, TA-Lib's) that rises, -1 below one that falls, 0 otherwise; float64,
    NaN for the first EMA_PERIOD values."""
    import talib

    result = np.full(len(closes), np.nan)
    if len(closes) <= EMA_PERIOD:
        return result
    ema = talib.EMA(np.ascontiguousarray(closes, dtype="float64"), EMA_PERIOD)
    slope = ema[EMA_PERIOD:] - ema[EMA_PERIOD - 1 : -1]
    side = closes[EMA_PERIOD:] - ema[EMA_PERIOD:]
    up, down = (side > 0) & (slope > 0), (side < 0) & (slope < 0)
    result[EMA_PERIOD:] = up.astype("float64") - down
    return result
