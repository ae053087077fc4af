"""How much the price moves, whatever the direction. Formulas are TA-Lib's."""

from __future__ import annotations

from cryptai_pipelines.indicators.spec import CLOSE, HIGH_LOW, HIGH_LOW_CLOSE, IndicatorSpec, talib_indicator
from cryptai_pipelines.indicators.warmup import ema_bars, ratio_bars, rsi_bars, wilder_bars, window_bars

VOLATILITY: tuple[IndicatorSpec, ...] = (
    talib_indicator("atr_14", "ATR", HIGH_LOW_CLOSE, wilder_bars(14), timeperiod=14),
    talib_indicator("natr_14", "NATR", HIGH_LOW_CLOSE, wilder_bars(14), timeperiod=14),
    talib_indicator("true_range", "TRANGE", HIGH_LOW_CLOSE, 1),
    talib_indicator("average_range_14", "ADR", HIGH_LOW, window_bars(14), timeperiod=14),
    talib_indicator("standard_deviation_20", "STDDEV", CLOSE, window_bars(20), timeperiod=20, nbdev=1.0),
    talib_indicator("variance_20", "VAR", CLOSE, window_bars(20), timeperiod=20, nbdev=1.0),
    talib_indicator("average_deviation_14", "AVGDEV", CLOSE, window_bars(14), timeperiod=14),
    talib_indicator("chaikin_volatility_10", "CVI", HIGH_LOW, ratio_bars(ema_bars(10) + 10), timeperiod=10, rocperiod=10),
    talib_indicator(
        "mass_index", "MASSI", HIGH_LOW, ratio_bars(2 * ema_bars(9)) + window_bars(25), fastperiod=9, slowperiod=25
    ),
    talib_indicator("relative_volatility_14", "RVI", CLOSE, rsi_bars(14) + window_bars(10), timeperiod=14, stddevperiod=10),
)
