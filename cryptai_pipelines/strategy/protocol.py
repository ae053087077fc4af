"""What a strategy is: a way from bars, indicators and market structure to decisions, with typed parameters. Single strategies
stand in their own modules, how one is found by name in `signals`, how its answer is checked in `checked`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.parameters import NoParameters

LOOK_BACK = 500
"""Bars that a strategy may look back upon itself, unless it declares more. Indicators and structure have warm-ups of their own
and do not count."""


@dataclass(frozen=True)
class Inputs:
    """What a strategy reads. All frames have the index of `bars` (`ts`, UTC, ascending, on the grid of `timeframe`).

    bars: open, high, low, close, volume float64 and finite, is_filled bool. indicators: the output columns of those that the
    strategy named. structure: columns of `indicators.structure_readings`; None when it reads none. scores: sentiment_score and
    ml_score in [-1, 1], NaN where unknown; None when neither exists.
    """

    bars: pd.DataFrame
    indicators: pd.DataFrame
    structure: pd.DataFrame | None
    timeframe: Timeframe
    scores: pd.DataFrame | None = None


class Column(NamedTuple):
    """A column of a strategy's rows, or what a column of the decision means there. `kind`: `gate`, a verdict (nullable boolean)
    that must be True for an entry; `evidence`, one that only counts for a gate; `score`, float64 in [-1, 1]; `number`,
    float64."""

    name: str
    kind: str
    help: str


def _nothing(parameters: Any) -> tuple[str, ...]:
    return ()


def _no_structure(parameters: Any) -> int | None:
    return None


def _default_look_back(parameters: Any, timeframe: Timeframe) -> int:
    return LOOK_BACK


def _no_exits(parameters: Any) -> Mapping[str, float]:
    return {}


Decide = Callable[[Inputs, Any], pd.DataFrame]


@dataclass(frozen=True)
class Strategy:
    """A strategy. All of its functions are pure; `parameters` below is an instance of the dataclass of that name.

    code_version: changes whenever it decides otherwise; of a strategy in a user's file left empty, it is that of the file.
    parameters: a frozen dataclass whose fields are made with `parameters.parameter`.
    decide(inputs, parameters): one row per bar of `inputs.bars`, in the columns of `decisions` (`side` at least) and of its
    own, as `columns` tells them: `*_gate` nullable boolean, other numbers float64. The row of a bar depends on that bar and on
    earlier ones only, and on no more than `warmup_bars` before it.
    indicators(parameters): names for `indicators.registry.find_indicator`. structure(parameters): the swing length of the
    market structure that it reads; None for none.
    warmup_bars(parameters, timeframe): existing bars that it must be given before the chunk (`indicators.chunks`) of the first
    wanted row; earlier ones, and earlier rows, do not matter for it.
    exits(parameters): parameters of the engine that belong to the strategy, by name: they stand in place of the settings'
    unless a person asks otherwise, such as `{"take_profit": inf}` of one that lets profits run.
    """

    name: str
    decide: Decide
    code_version: str = ""
    parameters: type = NoParameters
    indicators: Callable[[Any], tuple[str, ...]] = _nothing
    structure: Callable[[Any], int | None] = _no_structure
    warmup_bars: Callable[[Any, Timeframe], int] = _default_look_back
    exits: Callable[[Any], Mapping[str, float]] = _no_exits
    columns: tuple[Column, ...] = ()
    summary: str = ""

    @property
    def gates(self) -> tuple[str, ...]:
        """The columns that must all be True for an entry."""
        return tuple(column.name for column in self.columns if column.kind == "gate")


def as_strategy(**declared: Any) -> Callable[[Decide], Strategy]:
    """Makes the strategy of a function `(inputs, parameters) -> frame`, named after it, with what else a `Strategy` declares:

    @as_strategy(parameters=Parameters, indicators=lambda parameters: (f"sma_{parameters.period}",))
    def above_mean(inputs, parameters): ...
    """

    def made(decide: Decide) -> Strategy:
        summary = " ".join((decide.__doc__ or "").split())
        return Strategy(**{"name": decide.__name__, "summary": summary, "decide": decide, **declared})

    return made
