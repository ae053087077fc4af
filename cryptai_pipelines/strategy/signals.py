"""The strategies by name. A new one is a module with its `Strategy` and one entry here; what a strategy decides stands in its
own module."""

from __future__ import annotations

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.trend_rsi_macd import TREND_RSI_MACD

STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in (TREND_RSI_MACD,)}

STRATEGY = TREND_RSI_MACD.name
"""The one that the schedule carries on."""


def find_strategy(name: str) -> Strategy:
    """The strategy called `name`; `BadArgument` names the known ones."""
    if name not in STRATEGIES:
        raise BadArgument(f"strategy {name!r} is not known; accepted: {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[name]
