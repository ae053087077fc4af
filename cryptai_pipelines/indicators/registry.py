"""Which indicators exist: one entry each, declaring inputs, outputs, parameters and warm-up. Formulas are TA-Lib's.

When and on which bars they are computed belongs to `chunks`; why a warm-up is as long as it is, to `warmup`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cryptai_pipelines.indicators.filling import Compute, Fill, fill_by, talib_fill
from cryptai_pipelines.indicators.warmup import ema_bars, macd_bars, rsi_bars, wilder_bars, window_bars

CLOSE = ("close",)
HIGH_LOW_CLOSE = ("high", "low", "close")


@dataclass(frozen=True)
class IndicatorSpec:
    """One indicator. `compute` maps the input columns (equal-length contiguous float64, finite) to one float64 array of that
    length per name in `outputs`: causal, NaN only before it has enough bars, and the same bits for the same input.

    `warmup` is the number of existing bars before a bar after which older ones no longer matter (`warmup` module). `fill` is a
    faster way to the same bits, where there is one (`filling` module).
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, float]
    warmup: int
    compute: Compute
    fill: Fill | None = None


def talib_indicator(
    name: str,
    function: str,
    inputs: tuple[str, ...],
    warmup: int,
    outputs: tuple[str, ...] | None = None,
    **parameters: float,
) -> IndicatorSpec:
    """The entry of TA-Lib's `function`, given `inputs` in order and its own parameter names; one output is named `name`."""

    def compute(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        import talib

        result = getattr(talib, function)(*[columns[column] for column in inputs], **parameters)
        return result if isinstance(result, tuple) else (result,)

    def fill(columns: Mapping[str, np.ndarray], targets: Sequence[np.ndarray], pieces: Sequence[tuple[int, int]]) -> None:
        in_place = talib_fill(function, tuple(parameters.items())) or fill_by(compute)
        in_place(columns, targets, pieces)

    return IndicatorSpec(name, inputs, outputs or (name,), MappingProxyType(parameters), warmup, compute, fill)


def sma(period: int) -> IndicatorSpec:
    """Mean of the last `period` closes."""
    return talib_indicator(f"sma_{period}", "SMA", CLOSE, window_bars(period), timeperiod=period)


def ema(period: int) -> IndicatorSpec:
    """Exponential mean of the closes, alpha = 2 / (period + 1)."""
    return talib_indicator(f"ema_{period}", "EMA", CLOSE, ema_bars(period), timeperiod=period)


def index_by_name(specs: Iterable[IndicatorSpec]) -> dict[str, IndicatorSpec]:
    """The registry of `specs`; ValueError when two share a name or an output column."""
    registry: dict[str, IndicatorSpec] = {}
    owners: dict[str, str] = {}
    for spec in specs:
        if spec.name in registry:
            raise ValueError(f"indicator {spec.name!r} is registered twice")
        for output in spec.outputs:
            if output in owners:
                raise ValueError(f"indicator {spec.name!r} writes the column {output!r}, which {owners[output]!r} writes")
            owners[output] = spec.name
        registry[spec.name] = spec
    return registry


REGISTRY: dict[str, IndicatorSpec] = index_by_name(
    (
        sma(20),
        sma(50),
        sma(200),
        ema(12),
        ema(26),
        ema(50),
        ema(200),
        talib_indicator("rsi_14", "RSI", CLOSE, rsi_bars(14), timeperiod=14),
        talib_indicator(
            "macd",
            "MACD",
            CLOSE,
            macd_bars(26, 9),
            ("macd", "macd_signal", "macd_histogram"),
            fastperiod=12,
            slowperiod=26,
            signalperiod=9,
        ),
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
        talib_indicator("atr_14", "ATR", HIGH_LOW_CLOSE, wilder_bars(14), timeperiod=14),
        talib_indicator(
            "stochastic",
            "STOCH",
            HIGH_LOW_CLOSE,
            window_bars(14) + window_bars(3) + window_bars(3),
            ("stoch_k", "stoch_d"),
            fastk_period=14,
            slowk_period=3,
            slowk_matype=0,
            slowd_period=3,
            slowd_matype=0,
        ),
        talib_indicator("cci_20", "CCI", HIGH_LOW_CLOSE, window_bars(20), timeperiod=20),
    )
)

DEFAULT_SET: tuple[IndicatorSpec, ...] = tuple(REGISTRY.values())
"""What `technical_indicators` stores, in column order."""
