"""The asset `strategy_trial` on a real instance: the launchpad offers typed parameters, and a run is the trial that a person
would have made from the command line."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import dagster as dg
import pytest

from cryptai_pipelines.definitions import build_defs
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial, scheduled_trial
from cryptai_pipelines.orchestration.partitions import add_symbols
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.orchestration.trial_config import read_asked, scheduled_config
from cryptai_pipelines.storage import backtests
from cryptai_pipelines.strategy import user_strategies
from cryptai_pipelines.strategy.parameters import parameters_in
from cryptai_pipelines.strategy.signals import STRATEGIES
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store

SERIES = Series("BTC-USDT", Timeframe.H1)
KEY = dg.MultiPartitionKey({"symbol": "BTC-USDT", "timeframe": "1h"})
OF_A_FILE = '''
from dataclasses import dataclass

import pandas as pd

from cryptai_pipelines.strategy import as_strategy, parameter


@dataclass(frozen=True)
class Parameters:
    lookback: int = parameter(24, low=2, high=500, help="Bars.")


@as_strategy(parameters=Parameters)
def breakout(inputs, parameters):
    """The highest close of some time."""
    close = inputs.bars["close"]
    return pd.DataFrame({"side": (close >= close.rolling(parameters.lookback).max()).astype("int8")})
'''


def told_schema(defs: dg.Definitions) -> dict[str, dg.Field]:
    """The fields of the config as the launchpad knows them."""
    return defs.resolve_assets_def(dg.AssetKey("strategy_trial")).op.config_schema.config_type.fields


def run(defs: dg.Definitions, instance: dg.DagsterInstance, config: dict[str, object], key: str = KEY) -> object:
    add_symbols(instance, ["BTC-USDT", "ETH-USDT"])
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}, "ops": {"strategy_trial": {"config": config}}}
    return defs.resolve_job_def("__ASSET_JOB").execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey("strategy_trial")],
        partition_key=key,
        run_config=quiet,
        raise_on_error=False,
    )


def test_every_parameter_of_every_strategy_is_offered_in_its_type():
    schema = told_schema(build_defs())
    offered = schema["strategy"].config_type.fields
    kinds = {int: "Int", float: "Float", bool: "Bool"}
    for name, strategy in STRATEGIES.items():
        fields = offered[name].config_type.fields
        for one in parameters_in(strategy.parameters):
            assert fields[one.name].config_type.given_name == kinds.get(one.type, f"{name}_{one.name}")
            assert str(one.default) in fields[one.name].description and one.accepted in fields[one.name].description
        assert set(fields) == {one.name for one in parameters_in(strategy.parameters)}
    assert {"stop_loss", "sizing", "trailing_stop", "max_positions"} <= set(schema["engine"].config_type.fields)


def test_a_run_is_the_trial_of_the_command_line(database, instance, tmp_path):
    store(database, SERIES, hourly(1_500))
    settings = settings_for("http://127.0.0.1:9", tmp_path)
    config = {"strategy": {"ema_crossover": {"fast": 10, "slow": 30}}, "engine": {"stop_loss": 0.05}, "start": "2020-09-20"}
    result = run(definitions_for(database, settings), instance, config)
    assert result.success
    [event] = result.asset_materializations_for_node("strategy_trial")
    told = {name: value.value for name, value in event.metadata.items()}
    assert event.partition == KEY and Path(told["report"]).is_file() and told["picture"].startswith("![equity")
    asked = {"fast": 10, "slow": 30, "stop_loss": 0.05}
    trial = chosen_trial(settings, "ema_crossover", asked, Interval(*told["config"]["window"]))
    again = run_trial(database, settings, SERIES, trial, "test", ignore_progress)
    assert (again["backtest_id"], again["trades_sha256"]) == (told["backtest_id"], told["trades_sha256"])
    assert told["trade_count"] == again["trade_count"] > 0
    checks = {one.check_name: one.passed for one in result.get_asset_check_evaluations()}
    stored = backtests.read_review(database, told["backtest_id"])[1]
    assert checks == {f"review_{one['code']}": not one["holds"] for one in stored} and not all(checks.values())


def test_one_series_without_bars_fails_alone_and_says_so(database, instance, tmp_path):
    store(database, SERIES, hourly(600))
    defs = definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path))
    add_symbols(instance, ["BTC-USDT", "ETH-USDT"])
    tags = {"dagster/asset_partition_range_start": "BTC-USDT|1h", "dagster/asset_partition_range_end": "ETH-USDT|1h"}
    job = defs.resolve_job_def("__ASSET_JOB")
    result = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey("strategy_trial")], tags=tags, raise_on_error=False
    )
    assert not result.success
    assert [event.partition for event in result.asset_materializations_for_node("strategy_trial")] == [KEY]
    failure = result.failure_data_for_node("strategy_trial")
    assert "1 of 2 series failed: ETH-USDT 1h: no validated bars of ETH-USDT 1h are stored" in str(
        failure.user_failure_data or failure.error
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"strategy": {"ema_crossover": {"fast": 10.5}}}, 'Value "10.5" of type .* is not valid for expected type "Int"'),
        ({"strategy": {"ema_crossover": {"swift": 10}}}, 'Received unexpected config entry "swift"'),
        ({"strategy": {"ema_crossover": {}, "buy_and_hold": {}}}, "You can only specify a single field"),
        ({"engine": {"sizing": "all in"}}, "not in enum type sizing got all in"),
    ],
)
def test_what_is_of_another_type_is_refused_before_a_run(database, instance, tmp_path, config, message):
    defs = definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path))
    with pytest.raises(dg.DagsterInvalidConfigError, match=message):
        run(defs, instance, config)


def test_where_nobody_looked_no_check_is_green(database, instance, tmp_path):
    result = run(definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path)), instance, {})
    assert not result.success and not result.get_asset_check_evaluations()


def test_a_value_outside_what_is_accepted_is_named(database, instance, tmp_path):
    store(database, SERIES, hourly(100))
    defs = definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path))
    result = run(defs, instance, {"strategy": {"ema_crossover": {"fast": 0}}})
    assert (
        "fast 0 is not accepted; accepted: a whole number from"
        in result.failure_data_for_node("strategy_trial").error.cause.message
    )


def test_a_file_of_the_settings_is_offered_and_run(database, instance, tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    path.write_text(OF_A_FILE)
    monkeypatch.setenv("CRYPTAI_STRATEGY", str(path))
    store(database, SERIES, hourly(600))
    defs = definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path, strategy=str(path)))
    assert (
        told_schema(defs)["strategy"].config_type.fields["breakout"].config_type.fields["lookback"].config_type.given_name
        == "Int"
    )
    result = run(defs, instance, {"strategy": {"breakout": {"lookback": 48}}})
    [event] = result.asset_materializations_for_node("strategy_trial")
    assert event.metadata["strategy"].value == "breakout"
    assert event.metadata["config"].value["rules"] == {"lookback": 48}


def test_what_cannot_be_loaded_takes_nothing_else_with_it(monkeypatch, tmp_path, caplog):
    sys.modules.pop("no_such_module", None)
    broken = EntryPoint("theirs", "no_such_module:mine", user_strategies.GROUP)
    monkeypatch.setattr(user_strategies, "entry_points", lambda group: [broken])
    monkeypatch.setenv("CRYPTAI_STRATEGY", str(tmp_path / "nowhere.py"))
    offered = told_schema(build_defs())["strategy"].config_type.fields
    assert set(offered) == set(STRATEGIES)
    assert "strategy theirs is not offered in the launchpad" in caplog.text and "nowhere.py" in caplog.text


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_the_launchpad_begins_with_is_what_the_schedule_follows(monkeypatch, tmp_path, strategy):
    monkeypatch.setenv("CRYPTAI_STRATEGY", strategy)
    monkeypatch.setenv("CRYPTAI_TAKE_PROFIT", "0.21")
    settings = settings_for("http://127.0.0.1:9", tmp_path, strategy=strategy, take_profit=0.21)
    asked = read_asked(scheduled_config())
    assert asked.strategy == strategy
    begun = chosen_trial(settings, asked.strategy, asked.parameters)
    assert (begun.rules, begun.engine) == (scheduled_trial(settings).rules, scheduled_trial(settings).engine)
