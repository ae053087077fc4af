"""Which indicators exist, by name, and which of them are stored unless asked otherwise. What each is stands in `trend`,
`momentum`, `volatility`, `volume`, `carried` and `candles`, how names carry parameters in `families`; when and on which bars
they are computed belongs to `chunks`, why a warm-up is as long as it is to `warmup`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from cryptai_pipelines.indicators.candles import CANDLES
from cryptai_pipelines.indicators.carried import CARRIED
from cryptai_pipelines.indicators.families import Family, parse_name
from cryptai_pipelines.indicators.momentum import MOMENTUM
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.indicators.trend import TREND
from cryptai_pipelines.indicators.volatility import VOLATILITY
from cryptai_pipelines.indicators.volume import VOLUME_INDICATORS
from cryptai_pipelines.market.errors import BadArgument

FAMILIES: tuple[Family, ...] = (*TREND, *MOMENTUM, *VOLATILITY, *VOLUME_INDICATORS, *CARRIED)


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


REGISTRY: dict[str, IndicatorSpec] = index_by_name((*(spec for family in FAMILIES for spec in family.members), *CANDLES))
"""What is listed, in order; any other parameters are found by `find_indicator`."""

_FAMILIES = {name: family for family in FAMILIES for name in (family.name, *family.also)}


def find_indicator(name: str) -> IndicatorSpec:
    """The indicator of that name: a family's, and behind it none, some or all of its parameters in order, the rest being at
    their defaults. `sma_37`, `bollinger_30_2.5` (or `_2p5`), `macd_8_21_5`; `rsi` is `rsi_14` and `macd_12_26_9` is `macd`.

    The same object for the same indicator, whatever it was called. BadArgument: an unknown name (the nearest known ones are
    told), too many parameters, one outside of its range.
    """
    parsed = parse_name(name)
    if parsed is not None and parsed[0] in _FAMILIES:
        return _FAMILIES[parsed[0]].member(*parsed[1])
    known = REGISTRY.get(name.strip().lower())
    if known is None:
        # Numbers weigh as much as letters here, and say nothing of the family.
        sought = name.strip().lower() if parsed is None else parsed[0]
        nearest = get_close_matches(sought, (*_FAMILIES, *(spec.name for spec in CANDLES)), n=3, cutoff=0.5)
        hint = f"the nearest known: {' '.join(nearest)}" if nearest else f"known families: {' '.join(_FAMILIES)}"
        raise BadArgument(f"indicator {name!r} does not exist; {hint}")
    return known


_DEFAULT = "sma_20 sma_50 sma_200 ema_12 ema_26 ema_50 ema_200 rsi_14 macd bollinger atr_14 stochastic cci_20 adx_14 obv"

DEFAULT_SET: tuple[IndicatorSpec, ...] = tuple(REGISTRY[name] for name in _DEFAULT.split())
"""What `technical_indicators` stores unless the settings name other indicators, in column order."""


def indicator_set(names: Iterable[str]) -> tuple[IndicatorSpec, ...]:
    """The indicators of these names in order, each once; `default` stands for `DEFAULT_SET`. BadArgument as of
    `find_indicator`."""
    found = (DEFAULT_SET if name.lower() == "default" else (find_indicator(name),) for name in names)
    return tuple({spec.name: spec for specs in found for spec in specs}.values())
