"""The strategies by name. A new one is a module with its function and one entry here; what a strategy computes stands in its
own module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy import trend_rsi_macd
from cryptai_pipelines.strategy.parameters import StrategyParameters
from cryptai_pipelines.strategy.trend_rsi_macd import CODE_VERSION, SIGNAL_COLUMNS, STRATEGY, signals, warmup_bars

__all__ = ["CODE_VERSION", "SIGNAL_COLUMNS", "STRATEGIES", "STRATEGY", "Strategy", "find_strategy", "signals", "warmup_bars"]

SignalFunction = Callable[[pd.DataFrame, pd.DataFrame, Timeframe, StrategyParameters, int], pd.DataFrame]


@dataclass(frozen=True)
class Strategy:
    """A way from bars and indicators to entries.

    needs: indicator columns that it reads. warmup_bars: existing bars it must be given before the chunk of the first wanted
    row. signals: (bars, indicators, timeframe, parameters, start_ms) -> one row per bar from `start_ms` on, with at least a
    bool column `entry`; the row of a bar depends on that bar and earlier ones only, and not on where the frames start.
    """

    name: str
    code_version: str
    needs: tuple[str, ...]
    warmup_bars: Callable[[Timeframe], int]
    signals: SignalFunction


STRATEGIES: dict[str, Strategy] = {
    STRATEGY: Strategy(STRATEGY, CODE_VERSION, trend_rsi_macd.NEEDS, warmup_bars, signals),
}


def find_strategy(name: str) -> Strategy:
    """The strategy called `name`; `BadArgument` names the known ones."""
    if name not in STRATEGIES:
        raise BadArgument(f"strategy {name!r} is not known; accepted: {', '.join(sorted(STRATEGIES))}")
    return STRATEGIES[name]
