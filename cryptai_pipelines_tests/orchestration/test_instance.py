"""What a stopped or killed predecessor left in Dagster's records does not hold up its successor."""

from __future__ import annotations

import os

import dagster as dg
import pytest

from cryptai_pipelines.orchestration.instance import end_lost_runs, register_symbols


@dg.op
def work() -> None:
    """Never executed here."""


@dg.job
def some_job() -> None:
    work()


@pytest.mark.parametrize("status", ["STARTED", "CANCELING", "SUCCESS", "FAILURE"])
def test_runs_without_a_process_are_failed_and_others_left_alone(instance, status):
    run = instance.create_run_for_job(some_job, status=dg.DagsterRunStatus[status])
    environment = {name: os.environ[name] for name in ("DAGSTER_HOME", "CRYPTAI_DAGSTER_URL")}
    lost = end_lost_runs(environment)
    under_way = status in ("STARTED", "CANCELING")
    assert lost == ([run.run_id] if under_way else [])
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus["FAILURE" if under_way else status]
    assert end_lost_runs(environment) == []


def test_symbols_join_the_grid_once(instance):
    environment = {name: os.environ[name] for name in ("DAGSTER_HOME", "CRYPTAI_DAGSTER_URL")}
    assert register_symbols(environment, ["BTC-USDT", "ETH-USDT"]) == ["BTC-USDT", "ETH-USDT"]
    assert register_symbols(environment, ["ETH-USDT", "SOL-USDT"]) == ["SOL-USDT"]
    assert instance.get_dynamic_partitions("symbols") == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
