"""What a trial can be told in the launchpad: a strategy with its typed parameters, what the engine may be told, and the bars.
What the parameters mean stands with the strategy and in `backtest.parameters`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import dagster as dg

from cryptai_pipelines.backtest.parameters import SIZINGS, EngineParameters, Told, told_parameters, told_value
from cryptai_pipelines.market.clock import parse_time, parse_window
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain.trial_parameters import own_parameters, parameters_for, scheduled_trial
from cryptai_pipelines.settings import load_settings
from cryptai_pipelines.strategy.parameters import Parameter, parameters_in
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import STRATEGIES, find_strategy
from cryptai_pipelines.strategy.user_strategies import installed

_TYPES: dict[type, Any] = {bool: dg.Bool, int: dg.Int, float: dg.Float, str: dg.String}
_ENGINE_TYPES = {"boolean": dg.Bool, "integer": dg.Int, "string": dg.String, "number": dg.Float}
_LOG = logging.getLogger(__name__)


class Asked(NamedTuple):
    """What the launchpad was told. strategy: the name of an offered one, None for the scheduled one. parameters: of strategy
    and engine, by name. window: the bars in which trades may be made. known_at_ms: of which moment they are."""

    strategy: str | None
    parameters: dict[str, Any]
    window: Interval | None
    known_at_ms: int | None


def offered_strategies() -> list[Strategy]:
    """Ours, those of installed packages, and the one of the settings where it is a file. One that cannot be loaded is left out
    with a warning: a broken strategy must not take the graph with it."""
    found = dict(STRATEGIES)
    for name in _further_names():
        try:
            strategy = find_strategy(name)
        except CryptaiError as error:
            _LOG.warning("strategy %s is not offered in the launchpad: %s", name, error)
        else:
            found[strategy.name] = strategy
    return list(found.values())


def _further_names() -> list[str]:
    try:
        return [*sorted(installed(STRATEGIES)), load_settings().strategy]
    except CryptaiError as error:
        _LOG.warning("only the strategies of this package are offered in the launchpad: %s", error)
        return []


def scheduled_config() -> dict[str, Any]:
    """A config of `trial_schema` that tells the scheduled strategy and its parameters as the schedule has them, for a person to
    begin from; empty when they will not do."""
    try:
        trial = scheduled_trial(load_settings())
    except CryptaiError as error:
        _LOG.warning("the launchpad begins without a strategy: %s", error)
        return {}
    return {"strategy": {trial.strategy.name: asdict(trial.rules)}}


def trial_schema(strategies: Sequence[Strategy]) -> dict[str, dg.Field]:
    """The config of a trial. Whatever is not told is as the schedule has it."""
    fields_of = {one.name: _strategy_field(one) for one in strategies}
    return {
        "strategy": _optional(dg.Selector(fields_of), "One strategy with its parameters; else the scheduled one."),
        "engine": _optional(_engine_shape(strategies), "Exits, costs, capital and size, as docs/backtest.md tells them."),
        "start": _optional(dg.String, "Open time of the first bar that may be traded, such as 2024-01-01 (ISO 8601, UTC)."),
        "end": _optional(dg.String, "Open time of the first bar that may not be traded any more."),
        "as_of": _optional(dg.String, "On bars as they were known at this moment (ISO 8601, UTC)."),
    }


def read_asked(config: Mapping[str, Any]) -> Asked:
    """A config of `trial_schema` in our terms. `BadInput` for a time that is none, or a window that ends before it starts."""
    [(strategy, parameters)] = config.get("strategy", {}).items() or [(None, {})]
    window = parse_window(config.get("start"), config.get("end"))
    known_at_ms = parse_time(config["as_of"], "as_of") if "as_of" in config else None
    return Asked(strategy, {**parameters, **config.get("engine", {})}, window, known_at_ms)


def _strategy_field(strategy: Strategy) -> dg.Field:
    shape = {one.name: _parameter_field(one, strategy.name) for one in parameters_in(strategy.parameters)}
    return dg.Field(dg.Shape(shape), description=strategy.summary)


def _parameter_field(one: Parameter, strategy: str) -> dg.Field:
    kind = _enum(f"{strategy}_{one.name}", one.choices) if one.choices and one.type is str else _TYPES[one.type]
    told = f"{one.help} Default {one.default}; accepted: {one.accepted}."
    return _optional(kind, told.strip())


def _engine_shape(strategies: Sequence[Strategy]) -> dg.Shape:
    standing = _standing(strategies)
    return dg.Shape({one.name: _engine_field(one, standing) for one in told_parameters()})


def _standing(strategies: Sequence[Strategy]) -> dict[str, EngineParameters]:
    """By strategy what holds for it when nothing is told; nothing when the settings will not do."""
    try:
        settings = load_settings()
        return {one.name: parameters_for(settings, one, own_parameters(settings, one))[1] for one in strategies}
    except CryptaiError as error:
        _LOG.warning("the defaults in the launchpad are not those of the settings: %s", error)
        return {}


def _engine_field(one: Told, standing: Mapping[str, EngineParameters]) -> dg.Field:
    """The default is what most strategies have by the settings; the others are named."""
    values = {name: told_value(getattr(engine, one.name)) for name, engine in standing.items()}
    usual = max(values.values(), key=list(values.values()).count, default=one.default)
    others = ", ".join(f"{value} for {name}" for name, value in values.items() if value != usual)
    kind = _enum("sizing", SIZINGS) if one.name == "sizing" else _ENGINE_TYPES[one.kind]
    return _optional(kind, f"{one.meaning} Default {usual}{f' ({others})' if others else ''}; accepted: {one.accepted}.")


def _optional(kind: Any, description: str) -> dg.Field:
    # Without a default of Dagster's: what was not told must be told apart from a default that was.
    return dg.Field(kind, is_required=False, description=description)


def _enum(name: str, values: Sequence[str]) -> dg.Enum:
    return dg.Enum(name, [dg.EnumValue(value) for value in values])
