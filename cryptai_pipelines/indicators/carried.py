"""Indicators that never forget: sums since the first bar of a series, and a stop that follows the price. Each goes on from its
own outputs at the bar before, so that a stored row is all it needs of the past. What forgets after a number of bars is in the
other files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np

from cryptai_pipelines.indicators.families import Family, Parameter, period
from cryptai_pipelines.indicators.spec import (
    CLOSE_VOLUME,
    HIGH_LOW_CLOSE,
    HIGH_LOW_CLOSE_VOLUME,
    Carry,
    IndicatorSpec,
    carried_indicator,
)
from cryptai_pipelines.indicators.warmup import wilder_bars


def on_balance_volume(columns: Mapping[str, np.ndarray], first: int, before: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Volume added where the close rose and taken away where it fell (Granville, 1963), beginning with the volume of the first
    bar. TA-Lib's OBV."""
    import talib

    volume = columns["volume"]
    if before is not None:
        # TA-Lib begins with the first volume that it is given, and adds up one by one: any split gives the same bits.
        volume = volume.copy()
        volume[first - 1] = before[0]
    return (talib.OBV(columns["close"], volume)[first:],)


def accumulation(columns: Mapping[str, np.ndarray], first: int, before: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Accumulation/distribution line (Chaikin): volume times where the close lay in the range, -1 at the low and 1 at the high;
    a bar without a range adds nothing. TA-Lib's AD."""
    high, low, close = (columns[name][first:] for name in ("high", "low", "close"))
    place = np.divide((close - low) - (high - close), high - low, out=np.zeros(len(close)), where=high > low)
    steps = place * columns["volume"][first:]
    # NumPy's running sum adds one by one, too.
    return (np.cumsum(steps) if before is None else np.cumsum(np.concatenate((before, steps)))[1:],)


def supertrend(
    columns: Mapping[str, np.ndarray], first: int, before: np.ndarray | None, period: int, multiplier: float
) -> np.ndarray:
    """Supertrend (Seban): bands `multiplier` x ATR(`period`) around the middle of each bar, which only come nearer until a
    close lies beyond them. The line is the lower band in a rise (direction 1) and the upper one in a fall (-1), and a close
    beyond it turns the direction. Outputs: line, direction, and both bands, which are what the next bar goes on from.

    It begins as a rise, as TA-Lib's does, at the first bar whose ATR no longer depends on where the series begins. From its
    first turn on, it no longer depends on how it began.
    """
    import talib

    high, low, close = (columns[name] for name in ("high", "low", "close"))
    distance = talib.ATR(high, low, close, timeperiod=period)
    distance[: wilder_bars(period)] = np.nan
    middle, distance = (high + low) / 2, multiplier * distance
    rows = np.empty((4, len(close) - first))
    state = np.full(4, np.nan) if before is None else before.astype("float64")
    _compiled()(middle - distance, middle + distance, close, first, state, rows)
    return rows


def follow(lower: np.ndarray, upper: np.ndarray, close: np.ndarray, first: int, state: np.ndarray, rows: np.ndarray) -> None:
    """Write line, direction, upper and lower band of rows `first:` into `rows`, from those of the row before in `state`; NaN
    there, or in the bands of a bar, is what has not begun."""
    line, direction, high_band, low_band = state
    for i in range(first, len(close)):
        if np.isnan(lower[i]):
            direction = np.nan
        elif np.isnan(direction):
            direction, high_band, low_band = 1.0, upper[i], lower[i]
        else:
            if upper[i] < high_band or close[i - 1] > high_band:
                high_band = upper[i]
            if lower[i] > low_band or close[i - 1] < low_band:
                low_band = lower[i]
            if direction > 0 and close[i] < low_band:
                direction = -1.0
            elif direction < 0 and close[i] > high_band:
                direction = 1.0
        line = low_band if direction > 0 else high_band
        rows[0, i - first], rows[1, i - first] = line, direction
        rows[2, i - first], rows[3, i - first] = high_band, low_band


@cache
def _compiled() -> Callable[..., None]:
    """`follow` as machine code. The first call on a machine compiles it, later processes load it from numba's cache."""
    from numba import njit

    return njit(cache=True)(follow)


def _sum(name: str, inputs: tuple[str, ...], warmup: int, carry: Carry, *also: str) -> Family:
    def make(member: str, outputs: tuple[str, ...]) -> IndicatorSpec:
        return carried_indicator(member, inputs, warmup, carry, outputs)

    return Family(name, (), make, (name,), name, also=also)


def _supertrend(name: str, outputs: tuple[str, ...], length: int, multiplier: float) -> IndicatorSpec:
    parameters = {"period": length, "multiplier": multiplier}
    return carried_indicator(name, HIGH_LOW_CLOSE, wilder_bars(length), partial(supertrend, **parameters), outputs, parameters)


CARRIED: tuple[Family, ...] = (
    # Whether the close rose is asked of the close before.
    _sum("obv", CLOSE_VOLUME, 1, on_balance_volume),
    _sum("accumulation_distribution", HIGH_LOW_CLOSE_VOLUME, 0, accumulation, "ad"),
    Family(
        "supertrend",
        (period(10, "period"), Parameter("multiplier", 3.0, 0.1, 20.0)),
        _supertrend,
        ("supertrend", "supertrend_direction", "supertrend_upper", "supertrend_lower"),
        "supertrend",
    ),
)
