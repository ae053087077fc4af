"""Volume beside the price, within a window. Formulas are TA-Lib's; what weighs by volume is added up here, and is NaN where
nothing was traded in its window. What adds up volume from the first bar of a series on is in
`carried`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from cryptai_pipelines.indicators.families import Family, period, talib_family
from cryptai_pipelines.indicators.momentum import slower_ema_bars
from cryptai_pipelines.indicators.spec import (
    CLOSE_VOLUME,
    HIGH_LOW_CLOSE_VOLUME,
    HIGH_LOW_VOLUME,
    VOLUME,
    IndicatorSpec,
)
from cryptai_pipelines.indicators.warmup import LULL_BARS, ema_bars, window_bars


def vwap(columns: Mapping[str, np.ndarray], period: int) -> tuple[np.ndarray, ...]:
    """Mean of the typical prices (high + low + close) / 3 of the last `period` bars, weighted by volume."""
    return (_weighted((columns["high"] + columns["low"] + columns["close"]) / 3, columns["volume"], period),)


def vwma(columns: Mapping[str, np.ndarray], period: int) -> tuple[np.ndarray, ...]:
    """Mean of the last `period` closes, weighted by volume."""
    return (_weighted(columns["close"], columns["volume"], period),)


def money_flow(columns: Mapping[str, np.ndarray], period: int) -> tuple[np.ndarray, ...]:
    """Chaikin's money flow: where the last `period` closes lay in their ranges, -1 at the low and 1 at the high, weighted by
    volume; a bar without a range lay in the middle."""
    high, low, close = columns["high"], columns["low"], columns["close"]
    place = np.divide(2 * close - high - low, high - low, out=np.zeros(len(close)), where=high > low)
    return (_weighted(place, columns["volume"], period),)


def relative_volume(columns: Mapping[str, np.ndarray], period: int) -> tuple[np.ndarray, ...]:
    """Volume over the mean volume of the `period` bars before."""
    volume = columns["volume"]
    result = np.full(len(volume), np.nan)
    before = _sums(volume, period)[:-1] / period
    np.divide(volume[period:], before, out=result[period:], where=before > 0)
    return (result,)


def _weighted(values: np.ndarray, volume: np.ndarray, period: int) -> np.ndarray:
    """Mean of a window, weighted by volume; NaN where nothing was traded in it."""
    result = np.full(len(volume), np.nan)
    traded = _sums(volume, period)
    np.divide(_sums(values * volume, period), traded, out=result[period - 1 :], where=traded > 0)
    return result


def _sums(values: np.ndarray, period: int) -> np.ndarray:
    """Of every whole window, each added up by itself: a running sum, such as TA-Lib's, keeps the rounding of volumes long gone,
    and is all rounding where nothing is traded."""
    from numpy.lib.stride_tricks import sliding_window_view

    return sliding_window_view(values, period).sum(axis=1) if len(values) >= period else np.empty(0)


def _of_window(
    name: str, inputs: tuple[str, ...], warmup: Callable[[int], int], function: Callable[..., tuple[np.ndarray, ...]]
) -> Family:
    def make(member: str, outputs: tuple[str, ...], length: int) -> IndicatorSpec:
        compute = partial(function, period=length)
        return IndicatorSpec(member, inputs, outputs, {"period": length}, warmup(length), compute)

    return Family(name, (period(20, "period"),), make, (name,), name)


VOLUME_INDICATORS: tuple[Family, ...] = (
    _of_window("vwap", HIGH_LOW_CLOSE_VOLUME, window_bars, vwap),
    _of_window("vwma", CLOSE_VOLUME, window_bars, vwma),
    talib_family("mfi", "MFI", HIGH_LOW_CLOSE_VOLUME, int, period(14)),
    _of_window("cmf", HIGH_LOW_CLOSE_VOLUME, window_bars, money_flow),
    talib_family(
        "chaikin_oscillator",
        "ADOSC",
        HIGH_LOW_CLOSE_VOLUME,
        slower_ema_bars,
        period(3, "fastperiod"),
        period(10, "slowperiod"),
        ascending=2,
    ),
    talib_family("force_index", "EFI", CLOSE_VOLUME, lambda length: 1 + ema_bars(length), period(13)),
    talib_family("market_facilitation", "MARKETFI", HIGH_LOW_VOLUME, lambda: 0),
    talib_family(
        "pvo",
        "PVO",
        VOLUME,
        slower_ema_bars,
        period(12, "fastperiod"),
        period(26, "slowperiod"),
        lull=LULL_BARS,
        fixed={"matype": 1},
        ascending=2,
    ),
    _of_window("relative_volume", VOLUME, int, relative_volume),
)
