"""Averages, bands and channels of the price, and the strength and direction of a trend. Formulas are TA-Lib's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cryptai_pipelines.indicators.spec import (
    CLOSE,
    HIGH_LOW,
    HIGH_LOW_CLOSE,
    OHLC,
    IndicatorSpec,
    talib_indicator,
)
from cryptai_pipelines.indicators.warmup import (
    adx_bars,
    ema_bars,
    kama_bars,
    ratio_bars,
    rma_bars,
    settling_bars,
    wilder_bars,
    window_bars,
)

_BANDS = ("upper", "middle", "lower")
# Both runs are the same from where each has turned, which a stop that comes nearer with every bar soon makes them do.
_TURNED_BY = 2_000


def sma(period: int) -> IndicatorSpec:
    """Mean of the last `period` closes."""
    return talib_indicator(f"sma_{period}", "SMA", CLOSE, window_bars(period), timeperiod=period)


def ema(period: int) -> IndicatorSpec:
    """Exponential mean of the closes, alpha = 2 / (period + 1)."""
    return talib_indicator(f"ema_{period}", "EMA", CLOSE, ema_bars(period), timeperiod=period)


def _of_window(name: str, function: str, period: int, inputs: tuple[str, ...] = CLOSE) -> IndicatorSpec:
    return talib_indicator(f"{name}_{period}", function, inputs, window_bars(period), timeperiod=period)


def _bands(name: str, function: str, inputs: tuple[str, ...], warmup: int, **parameters: float) -> IndicatorSpec:
    return talib_indicator(name, function, inputs, warmup, tuple(f"{name}_{band}" for band in _BANDS), **parameters)


def ichimoku(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Conversion (9), base (26) and both leading spans (26, 52) as they are computed at each bar, shifted nowhere. A chart
    draws the spans 26 bars further on; the lagging span, a close drawn 26 bars back, would show the future and is not here."""
    import talib

    conversion, base, leading_b = (talib.MIDPRICE(columns["high"], columns["low"], period) for period in (9, 26, 52))
    return conversion, base, (conversion + base) / 2, leading_b


TREND: tuple[IndicatorSpec, ...] = (
    *(sma(period) for period in (20, 50, 200)),
    *(ema(period) for period in (12, 26, 50, 200)),
    _of_window("wma", "WMA", 20),
    _of_window("trima", "TRIMA", 20),
    talib_indicator("dema_20", "DEMA", CLOSE, 2 * ema_bars(20), timeperiod=20),
    talib_indicator("tema_20", "TEMA", CLOSE, 3 * ema_bars(20), timeperiod=20),
    talib_indicator("t3_5", "T3", CLOSE, 6 * ema_bars(5), timeperiod=5, vfactor=0.7),
    talib_indicator("kama_10", "KAMA", CLOSE, kama_bars(10), timeperiod=10),
    talib_indicator("rma_14", "RMA", CLOSE, rma_bars(14), timeperiod=14),
    # A mean over 20 bars of means over 20, smoothed over the root of 20: 4.
    talib_indicator("hma_20", "HMA", CLOSE, window_bars(20) + window_bars(4), timeperiod=20),
    # The input of the mean is a close and one (20 - 1) // 2 bars before it.
    talib_indicator("zlema_20", "ZLEMA", CLOSE, ema_bars(20) + 9, timeperiod=20),
    _of_window("midpoint", "MIDPOINT", 14),
    _of_window("midprice", "MIDPRICE", 14, HIGH_LOW),
    _of_window("linear_regression", "LINEARREG", 14),
    _of_window("linear_regression_slope", "LINEARREG_SLOPE", 14),
    _of_window("time_series_forecast", "TSF", 14),
    talib_indicator(
        "bollinger",
        "BBANDS",
        CLOSE,
        window_bars(20),
        ("bb_upper", "bb_middle", "bb_lower"),
        timeperiod=20,
        nbdevup=2.0,
        nbdevdn=2.0,
        matype=0,
    ),
    _bands("donchian", "DONCHIAN", HIGH_LOW, window_bars(20), timeperiod=20),
    _bands("keltner", "KC", HIGH_LOW_CLOSE, max(ema_bars(20), wilder_bars(10)), timeperiod=20, atrperiod=10, nbdev=2.0),
    _bands("acceleration", "ACCBANDS", HIGH_LOW_CLOSE, window_bars(20), timeperiod=20),
    talib_indicator("parabolic_sar", "SAR", HIGH_LOW, _TURNED_BY, acceleration=0.02, maximum=0.2),
    IndicatorSpec(
        "ichimoku",
        HIGH_LOW,
        ("ichimoku_conversion", "ichimoku_base", "ichimoku_leading_a", "ichimoku_leading_b"),
        {"conversion": 9, "base": 26, "leading": 52},
        window_bars(52),
        ichimoku,
    ),
    # Its open is the mean of the open and the close before it.
    talib_indicator("heikin_ashi", "HA", OHLC, settling_bars(0.5), ("ha_open", "ha_high", "ha_low", "ha_close")),
    talib_indicator("adx_14", "ADX", HIGH_LOW_CLOSE, adx_bars(14), timeperiod=14),
    talib_indicator("adxr_14", "ADXR", HIGH_LOW_CLOSE, adx_bars(14) + window_bars(14), timeperiod=14),
    talib_indicator("dx_14", "DX", HIGH_LOW_CLOSE, ratio_bars(wilder_bars(14)), timeperiod=14),
    talib_indicator("plus_di_14", "PLUS_DI", HIGH_LOW_CLOSE, ratio_bars(wilder_bars(14)), timeperiod=14),
    talib_indicator("minus_di_14", "MINUS_DI", HIGH_LOW_CLOSE, ratio_bars(wilder_bars(14)), timeperiod=14),
    talib_indicator("aroon", "AROON", HIGH_LOW, 14, ("aroon_down", "aroon_up"), timeperiod=14),
    talib_indicator("aroon_oscillator_14", "AROONOSC", HIGH_LOW, 14, timeperiod=14),
    talib_indicator("vortex", "VORTEX", HIGH_LOW_CLOSE, 14, ("vortex_plus", "vortex_minus"), timeperiod=14),
    talib_indicator("vertical_horizontal_filter_28", "VHF", CLOSE, 28, timeperiod=28),
    talib_indicator("efficiency_ratio_10", "ER", CLOSE, 10, timeperiod=10),
)
"""In the order in which they are listed; the first seven, Bollinger's bands and ADX belong to the default set."""
