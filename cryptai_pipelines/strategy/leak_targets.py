"""What can be held against the leak detector by name: an indicator of the registry, a strategy, or what a user's file defines.
How a leak is found is the business of `indicators.leaks`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pandas as pd

from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.leaks import Columns
from cryptai_pipelines.indicators.registry import find_indicator
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.indicators.structure_readings import structure_readings
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.checked import decide_checked, told_raised
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import STRATEGIES, find_strategy
from cryptai_pipelines.strategy.user_strategies import installed, load_file

MARKET_STRUCTURE = "market_structure"


class LeakTarget(NamedTuple):
    """`compute`: from a bars frame (index `ts`; open, high, low, close, volume, is_filled) to the columns that are judged."""

    name: str
    kind: str
    compute: Columns


def leak_target(name: str, timeframe: Timeframe) -> LeakTarget:
    """What `name` stands for on bars of `timeframe`: a strategy of ours or of an installed package, an indicator,
    `market_structure`, or `FILE.py[:NAME]`, where the file defines a `Strategy` or a function from a bars frame to a frame of
    columns (a Series is one column). With several of them in one file the name says which. `BadInput` when there is none, and
    for a file that cannot be loaded."""
    path, _, member = name.partition(":")
    if path.endswith(".py"):
        return _as_target(*_defined(load_file(Path(path)), member), timeframe)
    if name in STRATEGIES or name in installed(STRATEGIES):
        return _as_target(name, find_strategy(name), timeframe)
    if name == MARKET_STRUCTURE:
        return LeakTarget(name, "indicator", lambda bars: structure_readings(bars, timeframe))
    return LeakTarget(name, "indicator", _of_indicator(_known_indicator(name), timeframe))


def _known_indicator(name: str) -> IndicatorSpec:
    try:
        return find_indicator(name)
    except BadInput as error:
        strategies = ", ".join(sorted(STRATEGIES))
        raise BadInput(f"{name!r} is no strategy ({strategies}), no FILE.py[:NAME], and {error}") from error


def _as_target(name: str, thing: object, timeframe: Timeframe) -> LeakTarget:
    if isinstance(thing, Strategy):
        return LeakTarget(thing.name, "strategy", _explained(thing.name, strategy_columns(thing, timeframe), thing.decide))
    return LeakTarget(name, "function", _explained(name, _of_function(thing), thing))


def _explained(name: str, made: Columns, called: object) -> Columns:
    """`made`, and what a user's code raises told in one line, with the line of the file of `called`."""

    def columns(bars: pd.DataFrame) -> pd.DataFrame:
        try:
            return made(bars)
        except CryptaiError:
            raise
        except (Exception, SystemExit) as error:
            raise CryptaiError(f"{name} on {len(bars)} bars {told_raised(error, called)}") from error

    return columns


def _of_indicator(spec: IndicatorSpec, timeframe: Timeframe) -> Columns:
    return lambda bars: compute(bars, [spec], timeframe, int(index_ms(bars.index)[0]))


def strategy_columns(strategy: Strategy, timeframe: Timeframe) -> Columns:
    """Every column of its rows, with the default parameters."""

    def columns(bars: pd.DataFrame) -> pd.DataFrame:
        parameters = strategy.parameters()
        return decide_checked(strategy, gather(bars, strategy, parameters, timeframe), parameters)

    return columns


def _of_function(function: Callable[[pd.DataFrame], object]) -> Columns:
    def columns(bars: pd.DataFrame) -> pd.DataFrame:
        made = function(bars)
        return made.to_frame(str(made.name or "value")) if isinstance(made, pd.Series) else made

    return columns


def _defined(module: ModuleType, member: str) -> tuple[str, object]:
    """The strategy or function of `module` called `member`, or the only one there is; strategies come first."""
    own = {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and (isinstance(thing, Strategy) or _is_of_bars(thing, module))
    }
    if member:
        if member not in own:
            raise BadInput(f"{module.__file__} defines no strategy or function {member!r}; defined: {_listed(own)}")
        return member, own[member]
    chosen = {name: thing for name, thing in own.items() if isinstance(thing, Strategy)} or own
    if len(chosen) != 1:
        raise BadInput(f"{module.__file__} defines {_listed(chosen)}; name the one that is meant, as in {module.__file__}:NAME")
    return next(iter(chosen.items()))


def _is_of_bars(thing: object, module: ModuleType) -> bool:
    """A function that was written in this file and can be called with bars alone."""
    if not inspect.isfunction(thing) or thing.__module__ != module.__name__:
        return False
    needed = [one for one in inspect.signature(thing).parameters.values() if one.default is one.empty]
    return len(needed) == 1


def _listed(things: dict[str, object]) -> str:
    return ", ".join(things) or "nothing of the kind"
