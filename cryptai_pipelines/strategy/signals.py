"""The strategies by name: ours, those of installed packages, and those of a user's file. A new one of ours is a module with its
`Strategy` and one entry here; what a strategy decides stands in its own module."""

from __future__ import annotations

from difflib import get_close_matches

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.bollinger_breakout import BOLLINGER_BREAKOUT
from cryptai_pipelines.strategy.buy_and_hold import BUY_AND_HOLD
from cryptai_pipelines.strategy.donchian_trend import DONCHIAN_TREND
from cryptai_pipelines.strategy.ema_crossover import EMA_CROSSOVER
from cryptai_pipelines.strategy.macd_adx import MACD_ADX
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.rsi_mean_reversion import RSI_MEAN_REVERSION
from cryptai_pipelines.strategy.trend_rsi_macd import TREND_RSI_MACD
from cryptai_pipelines.strategy.trend_structure import TREND_STRUCTURE
from cryptai_pipelines.strategy.user_strategies import installed, installed_strategy, is_path, strategy_of_file

_OURS = (
    TREND_STRUCTURE,
    TREND_RSI_MACD,
    EMA_CROSSOVER,
    RSI_MEAN_REVERSION,
    BOLLINGER_BREAKOUT,
    DONCHIAN_TREND,
    MACD_ADX,
    BUY_AND_HOLD,
)
STRATEGIES: dict[str, Strategy] = {strategy.name: strategy for strategy in _OURS}


def find_strategy(name: str) -> Strategy:
    """The strategy called `name`: one of ours, one of an installed package (entry point group
    `cryptai_pipelines.strategies`), or `FILE.py[:NAME]`. `BadArgument` names the known ones, or what is wrong with the file."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    if is_path(name):
        return strategy_of_file(name, STRATEGIES)
    others = installed(STRATEGIES)
    if name in others:
        return installed_strategy(others[name], STRATEGIES)
    known = sorted((*STRATEGIES, *others))
    near = get_close_matches(name, known)
    nearest = f" (near: {', '.join(near)})" if near else ""
    raise BadArgument(f"strategy {name!r} is not known{nearest}; accepted: {', '.join(known)}, FILE.py[:NAME]")


def is_of_file(name: str) -> bool:
    """Is the strategy that is called `name`, or that a result is stored under, neither ours nor an installed package's?"""
    return name not in STRATEGIES and name not in installed(STRATEGIES)


def known_strategies() -> tuple[Strategy, ...]:
    """Ours, and those of installed packages, by name. `BadArgument` for one of the latter that cannot be loaded."""
    others = installed(STRATEGIES)
    return (*_OURS, *(installed_strategy(others[name], STRATEGIES) for name in sorted(others)))
