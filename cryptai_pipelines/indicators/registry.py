"""Which indicators exist, by name, and which of them are stored unless asked otherwise. What each is stands in `trend`,
`momentum`, `volatility`, `volume` and `candles`; when and on which bars they are computed belongs to `chunks`, why a warm-up is
as long as it is to `warmup`."""

from __future__ import annotations

from collections.abc import Iterable

from cryptai_pipelines.indicators.candles import CANDLES
from cryptai_pipelines.indicators.momentum import MOMENTUM
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.indicators.trend import TREND
from cryptai_pipelines.indicators.volatility import VOLATILITY
from cryptai_pipelines.indicators.volume import VOLUME_INDICATORS


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


REGISTRY: dict[str, IndicatorSpec] = index_by_name((*TREND, *MOMENTUM, *VOLATILITY, *VOLUME_INDICATORS, *CANDLES))

_DEFAULT = "sma_20 sma_50 sma_200 ema_12 ema_26 ema_50 ema_200 rsi_14 macd bollinger atr_14 stochastic cci_20"

DEFAULT_SET: tuple[IndicatorSpec, ...] = tuple(REGISTRY[name] for name in _DEFAULT.split())
"""What `technical_indicators` stores, in column order."""
