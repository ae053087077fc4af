"""Averages, bands and channels of the price, and the strength and direction of a trend. Formulas are TA-Lib's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from cryptai_pipelines.indicators.families import Family, Parameter, period, talib_family
from cryptai_pipelines.indicators.spec import CLOSE, HIGH_LOW, HIGH_LOW_CLOSE, OHLC, IndicatorSpec, talib_indicator
from cryptai_pipelines.indicators.warmup import (
    LULL_BARS,
    adx_bars,
    ema_bars,
    kama_bars,
    rma_bars,
    settling_bars,
    wilder_bars,
    window_bars,
)

# Both runs are the same from where each has turned, which a stop that comes nearer with every bar soon makes them do.
_TURNED_BY = 2_000
_WIDTH = Parameter("nbdev", 2.0, 0.1, 20.0)


def _one_period(
    name: str, function: str, default: int, warmup: Callable[[int], int] = window_bars, inputs: tuple[str, ...] = CLOSE
) -> Family:
    return talib_family(name, function, inputs, warmup, period(default))


def _bands(name: str, function: str, inputs: tuple[str, ...], warmup: Callable[..., int], *parameters: Parameter) -> Family:
    outputs = tuple(f"{name}_{band}" for band in ("upper", "middle", "lower"))
    return talib_family(name, function, inputs, warmup, *parameters, outputs=outputs)


def hull_bars(length: int) -> int:
    """A mean over `length` bars of means over as many, smoothed over the root of `length`."""
    return window_bars(length) + window_bars(math.isqrt(length))


def zero_lag_bars(length: int) -> int:
    """The input of the mean is a close and one (`length` - 1) // 2 bars before it."""
    return ema_bars(length) + (length - 1) // 2


def keltner_bars(length: int, range_length: int, _width: float) -> int:
    """The middle is an exponential mean of `length` bars, the distance of the bands Wilder's over `range_length`."""
    return max(ema_bars(length), wilder_bars(range_length))


def _bollinger(name: str, outputs: tuple[str, ...], length: int, width: float) -> IndicatorSpec:
    """Plain means of `length` closes, and `width` of their standard deviations above and below."""
    parameters = {"timeperiod": length, "nbdevup": width, "nbdevdn": width, "matype": 0}
    return talib_indicator(name, "BBANDS", CLOSE, window_bars(length), outputs, **parameters)


def ichimoku(columns: Mapping[str, np.ndarray], conversion: int, base: int, leading: int) -> tuple[np.ndarray, ...]:
    """Conversion, base and both leading spans as they are computed at each bar, shifted nowhere: middles of the last
    `conversion`, `base` and `leading` bars, and the mean of the first two. A chart draws the spans `base` bars further on; the
    lagging span, a close drawn as far back, would show the future and is not here."""
    import talib

    high, low = columns["high"], columns["low"]
    fast, slow, leading_b = (talib.MIDPRICE(high, low, length) for length in (conversion, base, leading))
    return fast, slow, (fast + slow) / 2, leading_b


def _ichimoku(name: str, outputs: tuple[str, ...], *lengths: int) -> IndicatorSpec:
    parameters = dict(zip(("conversion", "base", "leading"), lengths, strict=True))
    return IndicatorSpec(name, HIGH_LOW, outputs, parameters, window_bars(max(lengths)), partial(ichimoku, **parameters))


AVERAGES: tuple[Family, ...] = (
    talib_family("sma", "SMA", CLOSE, window_bars, period(20), listed=((20,), (50,), (200,))),
    talib_family("ema", "EMA", CLOSE, ema_bars, period(20), listed=((12,), (26,), (50,), (200,))),
    _one_period("wma", "WMA", 20),
    _one_period("trima", "TRIMA", 20),
    _one_period("dema", "DEMA", 20, lambda length: 2 * ema_bars(length)),
    _one_period("tema", "TEMA", 20, lambda length: 3 * ema_bars(length)),
    talib_family("t3", "T3", CLOSE, lambda length: 6 * ema_bars(length), period(5), fixed={"vfactor": 0.7}),
    _one_period("kama", "KAMA", 10, kama_bars),
    _one_period("rma", "RMA", 14, rma_bars),
    _one_period("hma", "HMA", 20, hull_bars),
    _one_period("zlema", "ZLEMA", 20, zero_lag_bars),
    _one_period("midpoint", "MIDPOINT", 14),
    _one_period("midprice", "MIDPRICE", 14, inputs=HIGH_LOW),
    _one_period("linear_regression", "LINEARREG", 14),
    _one_period("linear_regression_slope", "LINEARREG_SLOPE", 14),
    _one_period("time_series_forecast", "TSF", 14),
)

CHANNELS: tuple[Family, ...] = (
    Family("bollinger", (period(20), _WIDTH), _bollinger, ("bb_upper", "bb_middle", "bb_lower"), "bb"),
    _bands("donchian", "DONCHIAN", HIGH_LOW, window_bars, period(20)),
    _bands("keltner", "KC", HIGH_LOW_CLOSE, keltner_bars, period(20), period(10, "atrperiod"), _WIDTH),
    _bands("acceleration", "ACCBANDS", HIGH_LOW_CLOSE, window_bars, period(20)),
    talib_family(
        "parabolic_sar",
        "SAR",
        HIGH_LOW,
        lambda _step, _most: _TURNED_BY,
        Parameter("acceleration", 0.02, 0.01, 0.5),
        Parameter("maximum", 0.2, 0.02, 1.0),
        ascending=2,
    ),
    Family(
        "ichimoku",
        (period(9, "conversion"), period(26, "base"), period(52, "leading")),
        _ichimoku,
        ("ichimoku_conversion", "ichimoku_base", "ichimoku_leading_a", "ichimoku_leading_b"),
        "ichimoku",
    ),
    # Its open is the mean of the open and the close before it.
    talib_family(
        "heikin_ashi",
        "HA",
        OHLC,
        lambda: settling_bars(0.5),
        outputs=("ha_open", "ha_high", "ha_low", "ha_close"),
        stem="ha",
    ),
)


def _of_direction(name: str, function: str, warmup: Callable[[int], int]) -> Family:
    return talib_family(name, function, HIGH_LOW_CLOSE, warmup, period(14), lull=LULL_BARS)


DIRECTION: tuple[Family, ...] = (
    _of_direction("adx", "ADX", adx_bars),
    _of_direction("adxr", "ADXR", lambda length: adx_bars(length) + window_bars(length)),
    _of_direction("dx", "DX", wilder_bars),
    _of_direction("plus_di", "PLUS_DI", wilder_bars),
    _of_direction("minus_di", "MINUS_DI", wilder_bars),
    talib_family("aroon", "AROON", HIGH_LOW, int, period(14), outputs=("aroon_down", "aroon_up")),
    talib_family("aroon_oscillator", "AROONOSC", HIGH_LOW, int, period(14)),
    talib_family("vortex", "VORTEX", HIGH_LOW_CLOSE, int, period(14), outputs=("vortex_plus", "vortex_minus")),
    talib_family("vertical_horizontal_filter", "VHF", CLOSE, int, period(28)),
    talib_family("efficiency_ratio", "ER", CLOSE, int, period(10)),
)

TREND: tuple[Family, ...] = (*AVERAGES, *CHANNELS, *DIRECTION)
"""In the order in which they are listed; the first of the registry."""
