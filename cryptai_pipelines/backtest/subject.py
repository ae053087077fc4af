"""What a search is about: bars, a strategy and the parameters that its points have in common, what a point makes of them, and
by which key it is known. What a point comes to is in `evaluation`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from cryptai_pipelines.backtest.engine import STATE_VERSION
from cryptai_pipelines.backtest.metrics import METRICS_VERSION
from cryptai_pipelines.backtest.parameters import NO_RULES, EngineParameters, MarketRules
from cryptai_pipelines.backtest.search_space import Dimension, Point, Value
from cryptai_pipelines.market.bars import OHLCV, index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.parameters import parameters_in
from cryptai_pipelines.strategy.parameters import parameters_of as strategy_parameters_of
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import find_strategy

_ENGINE = frozenset(field.name for field in fields(EngineParameters))


class Span(NamedTuple):
    """Rows [begin, end) of the bars."""

    begin: int
    end: int


@dataclass(frozen=True)
class Subject:
    """What every point of a search is tried on. bars: a validated bars frame with `is_filled`. strategy: as `find_strategy`
    takes it. defaults, asked: parameters of strategy and engine by name that a point does not give; the exits that belong to
    the strategy stand between the two. What none of them names has the default of its own. market: its rules. Plain data
    besides the bars, so that any process can make the same of it."""

    bars: pd.DataFrame
    timeframe: Timeframe
    strategy: str
    defaults: Mapping[str, Value]
    asked: Mapping[str, Value]
    market: MarketRules = NO_RULES

    @cached_property
    def found(self) -> Strategy:
        """The strategy, looked up once: a user's file is run each time that it is."""
        return find_strategy(self.strategy)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; a strategy of a file is looked up there anew."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def capital(self) -> float:
        """The start capital of a point that names none."""
        return parameters_of(self, {})[1].initial_capital

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What the results depend on besides the parameters, as plain data."""
        return {
            "strategy": self.found.name,
            "strategy_version": self.found.code_version,
            "engine_versions": [STATE_VERSION, METRICS_VERSION],
            "timeframe": self.timeframe.code,
            "bars_sha256": bars_sha256(self.bars),
            **({"market": self.market.told} if self.market.told else {}),
        }


def check_space(subject: Subject, space: Sequence[Dimension]) -> None:
    """`BadArgument` names the first parameter that neither the strategy nor the engine has, or none of whose values is
    accepted. Whether one value is may depend on the other parameters of its point."""
    known = sorted(signal_parameters(subject) | _ENGINE)
    for dimension in space:
        if dimension.name not in known:
            raise BadArgument(f"parameter {dimension.name!r} is not known; accepted: {', '.join(known)}")
        values = dimension.values or (dimension.low, dimension.high)
        refusals = [refusal for value in values if (refusal := _refusal(subject, {dimension.name: value}))]
        if len(refusals) == len(values) or (refusals and len(space) == 1):
            raise refusals[0]


def _refusal(subject: Subject, point: Point) -> BadArgument | None:
    try:
        parameters_of(subject, point)
    except BadArgument as refusal:
        return refusal
    return None


def signal_parameters(subject: Subject) -> frozenset[str]:
    """Names of the parameters of the strategy."""
    return frozenset(one.name for one in parameters_in(subject.found.parameters))


def parameters_of(subject: Subject, point: Point) -> tuple[Any, EngineParameters]:
    """The strategy's parameters and the engine's at a point; a name that both have is the same for both. A fee that is asked
    for stands for makers, too, where nobody asks for theirs. `BadArgument` as they raise it."""
    strategy, names = subject.found, signal_parameters(subject)
    asked = {**subject.asked, **point}
    unasked = {"maker_fee_rate"} if "fee_rate" in asked else set()
    defaults = {name: value for name, value in subject.defaults.items() if name not in unasked}
    told = {**defaults, **asked}
    rules = strategy_parameters_of(strategy.parameters, {name: value for name, value in told.items() if name in names})
    engine = {**defaults, **strategy.exits(rules), **asked}
    return rules, EngineParameters(**{name: value for name, value in engine.items() if name in _ENGINE})


def point_key(subject: Subject, point: Point, span: Span | None) -> str:
    """SHA-256 of all that is chosen with a point, so that it has one key in whatever search it is: that of a backtest of these
    parameters (`chosen`), too. Bars and rules of the market are not chosen, so a point's metrics are known by its key only
    within searches of the same `Subject.inputs`."""
    try:
        parameters = chosen(subject.found, *parameters_of(subject, point))
    except BadArgument:
        refused = {**subject.defaults, **subject.asked, **point}
        parameters = {"strategy": subject.found.name, "strategy_version": subject.found.code_version, "refused": refused}
    content = {**parameters, "window": None if span is None else list(span)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def chosen(strategy: Strategy, rules: Any, engine: EngineParameters) -> dict[str, Any]:
    """What a backtest is known by besides its window, as plain data: strategy and parameters, None for infinity."""
    return {
        "strategy": strategy.name,
        "strategy_version": strategy.code_version,
        "rules": _without_infinity(asdict(rules)),
        "engine": _without_infinity(engine.told),
    }


def _without_infinity(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity, which stands for "no target"."""
    return {name: None if isinstance(value, float) and math.isinf(value) else value for name, value in values.items()}


def bars_sha256(bars: pd.DataFrame) -> str:
    """SHA-256 over open times, prices, volumes and fill flags."""
    digest = hashlib.sha256(index_ms(bars.index).astype("<i8").tobytes())
    for name in OHLCV:
        digest.update(bars[name].to_numpy(dtype="<f8").tobytes())
    digest.update(bars["is_filled"].to_numpy(dtype=bool).tobytes())
    return digest.hexdigest()
