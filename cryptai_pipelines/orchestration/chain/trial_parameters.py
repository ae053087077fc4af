"""What a trial is made of, by the settings and by what a person asks for. What each parameter means is said by the strategy and
by `backtest.parameters`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from cryptai_pipelines.backtest.funding_rates import FundingRates
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.venue_fees import VENUE_FEES
from cryptai_pipelines.indicators.registry import indicator_set
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.strategy.parameters import parameters_in, parameters_of
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import find_strategy

ENGINE_PARAMETERS = tuple(field.name for field in fields(EngineParameters))


def scheduled_trial(settings: Settings) -> Trial:
    """The trial that the schedule carries on: strategy and parameters of the settings."""
    strategy = find_strategy(settings.strategy)
    rules, engine = parameters_for(settings, strategy, settings.parameters)
    return Trial("scheduled", strategy, rules, engine)


def stored_indicators(settings: Settings) -> tuple[IndicatorSpec, ...]:
    """What `technical_indicators` holds: the indicators that the settings name, and what else the scheduled trial reads."""
    trial = scheduled_trial(settings)
    return indicator_set((*settings.indicators, *trial.strategy.indicators(trial.rules)))


def chosen_trial(
    settings: Settings,
    strategy_name: str,
    asked: Mapping[str, Any],
    window: Interval | None = None,
    known_at_ms: int | None = None,
    funding: FundingRates | None = None,
) -> Trial:
    """A person's trial. `asked`: parameters of the strategy and of the engine by name. The settings' own parameters hold for
    the settings' own strategy."""
    strategy = find_strategy(strategy_name)
    rules, engine = parameters_for(settings, strategy, {**own_parameters(settings, strategy), **asked})
    return Trial("trial", strategy, rules, engine, window, known_at_ms, funding=funding)


def own_parameters(settings: Settings, strategy: Strategy) -> Mapping[str, Any]:
    """The settings' parameters, as far as they hold for `strategy`."""
    return settings.parameters if strategy.name == find_strategy(settings.strategy).name else {}


def stored_swing_length(settings: Settings, scheduled: Trial) -> int:
    """The swing length of the market structure that is stored: the scheduled strategy's, or the settings' where it reads
    none."""
    return scheduled.strategy.structure(scheduled.rules) or settings.swing_length


def parameters_for(settings: Settings, strategy: Strategy, asked: Mapping[str, Any]) -> tuple[Any, EngineParameters]:
    """Parameters of `strategy` and of the engine; a name that both know is the same for both.

    The later of these counts: the defaults, the settings' defaults, the fees of the settings' venue, the exits that belong to
    the strategy, a setting that was set, what is `asked` for. `BadInput` for a name that neither knows, `BadArgument` for a
    value that is not accepted.
    """
    plain, given = parameter_layers(settings, strategy, asked)
    names = [one.name for one in parameters_in(strategy.parameters)]
    rules = parameters_of(strategy.parameters, {name: value for name, value in (plain | given).items() if name in names})
    chosen = {**plain, **strategy.exits(rules), **given}
    return rules, EngineParameters(**{name: value for name, value in chosen.items() if name in ENGINE_PARAMETERS})


def parameter_layers(settings: Settings, strategy: Strategy, asked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """By name, what counts less than the exits that belong to the strategy, and what counts more. `BadInput` for a name that
    neither strategy nor engine knows."""
    names = [one.name for one in parameters_in(strategy.parameters)]
    _check_known(asked, [*names, *ENGINE_PARAMETERS], strategy.name)
    plain = {name: getattr(settings, name) for name in (*names, *ENGINE_PARAMETERS) if name in type(settings).model_fields}
    given = {name: value for name, value in plain.items() if name in settings.model_fields_set} | dict(asked)
    return plain | _fees_of_venue(settings.exchange, given), given


def _fees_of_venue(venue: str, given: Mapping[str, Any]) -> dict[str, float]:
    """What the venue charges, where it is known and no fee is given: a rate of one's own stands for makers, too. A maker's rate
    that is the taker's is not told apart, so that it does not make another trial."""
    if venue not in VENUE_FEES or "fee_rate" in given:
        return {}
    maker, taker = VENUE_FEES[venue]
    return {"fee_rate": taker} | ({} if maker == taker else {"maker_fee_rate": maker})


def _check_known(asked: Mapping[str, Any], known: list[str], strategy: str) -> None:
    for name in asked:
        if name not in known:
            nearest = get_close_matches(name, known, n=3, cutoff=0.5) or sorted(set(known))
            raise BadInput(
                f"parameter {name!r} is none of strategy {strategy!r} or of the engine; accepted: {' '.join(nearest)}"
            )
