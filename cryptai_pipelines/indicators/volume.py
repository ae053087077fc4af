"""Volume beside the price, within a window. What adds up volume from the first bar of a series on has no warm-up that would do,
and is not here. Formulas are TA-Lib's; what weighs by volume is added up here, and is NaN where nothing was traded in its
window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cryptai_pipelines.indicators.filling import Compute
from cryptai_pipelines.indicators.spec import (
    CLOSE_VOLUME,
    HIGH_LOW_CLOSE_VOLUME,
    HIGH_LOW_VOLUME,
    VOLUME,
    IndicatorSpec,
    talib_indicator,
)
from cryptai_pipelines.indicators.warmup import ema_bars, ratio_bars, window_bars

_PERIOD = 20


def vwap(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Mean of the typical prices (high + low + close) / 3 of the last 20 bars, weighted by volume."""
    return (_weighted((columns["high"] + columns["low"] + columns["close"]) / 3, columns["volume"]),)


def vwma(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Mean of the last 20 closes, weighted by volume."""
    return (_weighted(columns["close"], columns["volume"]),)


def money_flow(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Chaikin's money flow: where the last 20 closes lay in their ranges, -1 at the low and 1 at the high, weighted by volume;
    a bar without a range lay in the middle."""
    high, low, close = columns["high"], columns["low"], columns["close"]
    place = np.divide(2 * close - high - low, high - low, out=np.zeros(len(close)), where=high > low)
    return (_weighted(place, columns["volume"]),)


def relative_volume(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Volume over the mean volume of the 20 bars before."""
    volume = columns["volume"]
    result = np.full(len(volume), np.nan)
    before = _sums(volume)[:-1] / _PERIOD
    np.divide(volume[_PERIOD:], before, out=result[_PERIOD:], where=before > 0)
    return (result,)


def _weighted(values: np.ndarray, volume: np.ndarray) -> np.ndarray:
    """Mean of a window, weighted by volume; NaN where nothing was traded in it."""
    result = np.full(len(volume), np.nan)
    traded = _sums(volume)
    np.divide(_sums(values * volume), traded, out=result[_PERIOD - 1 :], where=traded > 0)
    return result


def _sums(values: np.ndarray) -> np.ndarray:
    """Of every whole window, each added up by itself: a running sum, such as TA-Lib's, keeps the rounding of volumes long gone,
    and is all rounding where nothing is traded."""
    from numpy.lib.stride_tricks import sliding_window_view

    return sliding_window_view(values, _PERIOD).sum(axis=1) if len(values) >= _PERIOD else np.empty(0)


def _of_window(name: str, inputs: tuple[str, ...], warmup: int, compute: Compute) -> IndicatorSpec:
    return IndicatorSpec(f"{name}_{_PERIOD}", inputs, (f"{name}_{_PERIOD}",), {"period": _PERIOD}, warmup, compute)


VOLUME_INDICATORS: tuple[IndicatorSpec, ...] = (
    _of_window("vwap", HIGH_LOW_CLOSE_VOLUME, window_bars(_PERIOD), vwap),
    _of_window("vwma", CLOSE_VOLUME, window_bars(_PERIOD), vwma),
    talib_indicator("mfi_14", "MFI", HIGH_LOW_CLOSE_VOLUME, 14, timeperiod=14),
    _of_window("cmf", HIGH_LOW_CLOSE_VOLUME, window_bars(_PERIOD), money_flow),
    talib_indicator("chaikin_oscillator", "ADOSC", HIGH_LOW_CLOSE_VOLUME, ema_bars(10), fastperiod=3, slowperiod=10),
    talib_indicator("force_index_13", "EFI", CLOSE_VOLUME, 1 + ema_bars(13), timeperiod=13),
    talib_indicator("market_facilitation", "MARKETFI", HIGH_LOW_VOLUME, 0),
    talib_indicator("pvo", "PVO", VOLUME, ratio_bars(ema_bars(26)), fastperiod=12, slowperiod=26, matype=1),
    _of_window("relative_volume", VOLUME, _PERIOD, relative_volume),
)
