"""Which parameters a trial has: whose word counts when settings, strategy and a person each have one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.backtest.subject import Subject
from cryptai_pipelines.backtest.subject import parameters_of as engine_parameters_of
from cryptai_pipelines.market.errors import BadArgument, BadInput
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial, parameters_for, scheduled_trial
from cryptai_pipelines.settings import Settings, load_settings
from cryptai_pipelines.strategy.parameters import parameter, parameters_in
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import STRATEGIES, find_strategy


@dataclass(frozen=True)
class _Parameters:
    take_profit: float = parameter(0.3, above=0.0)
    period: int = parameter(20, low=2)


def _exits(parameters: object) -> Mapping[str, float]:
    return {"take_profit": math.inf, "stop_loss": 0.5}


_OWN = Strategy("own", decide=lambda inputs, parameters: inputs.bars, parameters=_Parameters, exits=_exits)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TAKE_PROFIT", "STOP_LOSS", "PARAMETERS", "STRATEGY", "EXCHANGE", "FEE_RATE"):
        monkeypatch.delenv(f"CRYPTAI_{name}", raising=False)


def test_the_exits_of_a_strategy_stand_before_what_nobody_set() -> None:
    rules, engine = parameters_for(Settings(), _OWN, {})
    assert (rules.take_profit, engine.take_profit, engine.stop_loss) == (0.15, math.inf, 0.5)
    assert engine.slippage_bps == Settings().slippage_bps == 2.0


def test_a_setting_that_was_set_stands_before_the_strategys_exits() -> None:
    rules, engine = parameters_for(Settings(take_profit=0.2), _OWN, {})
    assert (rules.take_profit, engine.take_profit, engine.stop_loss) == (0.2, 0.2, 0.5)


def test_what_a_person_asks_for_stands_before_all() -> None:
    asked = {"take_profit": 0.1, "stop_loss": 0.04, "period": 30, "size": 0.5}
    rules, engine = parameters_for(Settings(take_profit=0.2, stop_loss=0.3), _OWN, asked)
    assert (rules.take_profit, rules.period) == (0.1, 30)
    assert (engine.take_profit, engine.stop_loss, engine.size) == (0.1, 0.04, 0.5)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
@pytest.mark.parametrize("directions", ["long", "short", "both"])
def test_whoever_asks_for_shorts_may_have_them(name: str, directions: str) -> None:
    """Where it is scheduled, tried by hand or searched; unless a person says otherwise."""
    strategy = STRATEGIES[name]
    if "directions" not in {one.name for one in parameters_in(strategy.parameters)}:
        return
    asked, wanted = {"directions": directions}, directions != "long"
    assert chosen_trial(Settings(), name, asked).engine.short is wanted
    assert scheduled_trial(Settings(strategy=name, parameters=asked)).engine.short is wanted
    subject = Subject(pd.DataFrame(), Timeframe.H1, name, {}, {})
    assert engine_parameters_of(subject, asked)[1].short is wanted
    assert chosen_trial(Settings(), name, {**asked, "short": not wanted}).engine.short is not wanted
    assert engine_parameters_of(subject, {**asked, "short": not wanted})[1].short is not wanted


def test_the_settings_parameters_are_those_of_the_settings_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRYPTAI_PARAMETERS", '{"rsi_window": 5, "size": 0.5}')
    settings = load_settings()
    for trial in (scheduled_trial(settings), chosen_trial(settings, settings.strategy, {})):
        assert (trial.rules.rsi_window, trial.engine.size) == (5, 0.5)
    assert chosen_trial(settings, settings.strategy, {"rsi_window": 7}).rules.rsi_window == 7


def test_unknown_names_and_values_are_told_with_what_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        BadInput, match="parameter 'rsi_windo' is none of strategy 'trend_rsi_macd' or of the engine; .*rsi_window"
    ):
        chosen_trial(Settings(), "trend_rsi_macd", {"rsi_windo": 5})
    with pytest.raises(BadArgument, match="rsi_window 0 is not accepted; accepted: a whole number from 1 to 50"):
        chosen_trial(Settings(), "trend_rsi_macd", {"rsi_window": 0})
    with pytest.raises(BadArgument, match="strategy 'none_such'"):
        chosen_trial(Settings(), "none_such", {})
    for wrong in ("{broken", "[1]", "3"):
        monkeypatch.setenv("CRYPTAI_PARAMETERS", wrong)
        with pytest.raises(BadInput, match="CRYPTAI_PARAMETERS=.*accepted: a JSON object"):
            load_settings()


def test_another_strategy_keeps_its_own_defaults() -> None:
    settings = Settings(parameters={"rsi_window": 5})
    other = replace(find_strategy(settings.strategy), name="other")
    assert parameters_for(settings, other, {})[0].rsi_window == 3


def fees(settings: Settings, asked: Mapping[str, float]) -> tuple[float, float, float | None]:
    """Those that the strategy reckons with and those of the engine."""
    rules, engine = parameters_for(settings, find_strategy("trend_structure"), asked)
    return rules.fee_rate, engine.fee_rate, engine.maker_fee_rate


def test_fees_that_nobody_gave_are_those_of_the_venue() -> None:
    assert fees(Settings(exchange="kraken"), {}) == (0.0026, 0.0026, 0.0016)
    assert fees(Settings(exchange="kraken"), {"maker_fee_rate": 0.0}) == (0.0026, 0.0026, 0.0)
    # One's own rate is not mixed with the venue's.
    assert fees(Settings(exchange="kraken", fee_rate=0.001), {}) == (0.001, 0.001, None)
    assert fees(Settings(exchange="kraken"), {"fee_rate": 0.002}) == (0.002, 0.002, None)
    scheduled = scheduled_trial(Settings(exchange="kraken", parameters={"fee_rate": 0.003})).engine
    assert (scheduled.fee_rate, scheduled.maker_fee_rate) == (0.003, None)
    assert fees(Settings(exchange="udf:mine"), {}) == (0.001, 0.001, None)


def test_a_trial_on_binance_is_called_what_it_was() -> None:
    engine = scheduled_trial(Settings()).config["engine"]
    assert engine["fee_rate"] == 0.001 and "maker_fee_rate" not in engine
    assert scheduled_trial(Settings()).config == scheduled_trial(Settings(exchange="udf:mine")).config
