"""Volume beside the price, within a window. What adds up volume from the first bar of a series on has no warm-up that would do,
and is not here. Formulas are TA-Lib's where they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cryptai_pipelines.indicators.spec import (
    CLOSE_VOLUME,
    HIGH_LOW_CLOSE_VOLUME,
    HIGH_LOW_VOLUME,
    VOLUME,
    IndicatorSpec,
    talib_indicator,
)
from cryptai_pipelines.indicators.warmup import ema_bars, window_bars

_VWAP_PERIOD = 20


def vwap(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Mean of the typical prices (high + low + close) / 3 of the last 20 bars, weighted by volume; NaN when none was traded."""
    from numpy.lib.stride_tricks import sliding_window_view

    volume = columns["volume"]
    typical = (columns["high"] + columns["low"] + columns["close"]) / 3
    result = np.full(len(volume), np.nan)
    if len(volume) >= _VWAP_PERIOD:
        # Each window is added up by itself: a running sum would keep the rounding of volumes long gone.
        traded = sliding_window_view(volume, _VWAP_PERIOD).sum(axis=1)
        paid = sliding_window_view(typical * volume, _VWAP_PERIOD).sum(axis=1)
        np.divide(paid, traded, out=result[_VWAP_PERIOD - 1 :], where=traded > 0)
    return (result,)


VOLUME_INDICATORS: tuple[IndicatorSpec, ...] = (
    IndicatorSpec("vwap_20", HIGH_LOW_CLOSE_VOLUME, ("vwap_20",), {"period": _VWAP_PERIOD}, window_bars(_VWAP_PERIOD), vwap),
    talib_indicator("mfi_14", "MFI", HIGH_LOW_CLOSE_VOLUME, 14, timeperiod=14),
    talib_indicator("cmf_20", "CMF", HIGH_LOW_CLOSE_VOLUME, window_bars(20), timeperiod=20),
    talib_indicator("chaikin_oscillator", "ADOSC", HIGH_LOW_CLOSE_VOLUME, ema_bars(10), fastperiod=3, slowperiod=10),
    talib_indicator("force_index_13", "EFI", CLOSE_VOLUME, 1 + ema_bars(13), timeperiod=13),
    talib_indicator("market_facilitation", "MARKETFI", HIGH_LOW_VOLUME, 0),
    talib_indicator("pvo", "PVO", VOLUME, ema_bars(26), fastperiod=12, slowperiod=26, matype=1),
    talib_indicator("relative_volume_20", "RVOL", VOLUME, 20, timeperiod=20),
)
