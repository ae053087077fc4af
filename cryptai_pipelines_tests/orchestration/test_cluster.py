"""A search on a Dask cluster of two workers gives what it gives on one process."""

from __future__ import annotations

import sys

import pytest
from distributed import Client, LocalCluster

from cryptai_pipelines.backtest.search import Plan, search
from cryptai_pipelines.backtest.search_space import space_of
from cryptai_pipelines.backtest.subject import Subject
from cryptai_pipelines.backtest.workers import local_workers
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.cluster import cluster_workers
from cryptai_pipelines_tests.backtest.walks import hourly_walk

SPACE = space_of(
    {"rsi_recovery": [45.0, 55.0], "stop_loss": {"low": 0.02, "high": 0.08, "step": 0.005}, "rsi_overbought": [50.0, 70.0]}
)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as running:
        yield running


def test_two_workers_of_a_cluster_give_what_this_process_gives(cluster) -> None:
    """Grid and Optuna, points that cannot be among them; and both workers took part."""
    subject = Subject(hourly_walk(2, 3_000), Timeframe.H1, "trend_rsi_macd", {}, {})
    plans = (Plan(SPACE), Plan(SPACE, "optuna", 32, seed=3))
    with local_workers(subject, 1) as submit:
        here = [search(subject, plan, submit) for plan in plans]
    with cluster_workers(subject, cluster.scheduler_address) as submit:
        there = [search(subject, plan, submit) for plan in plans]
    assert repr(there) == repr(here)
    assert any(isinstance(one.result, str) for one in here[0])
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        made = client.run(lambda: len(sys.modules["cryptai_pipelines.orchestration.cluster"]._evaluators))
    assert sorted(made.values()) == [1, 1], "one of the two workers had nothing to do"


def test_nobody_at_the_address_is_one_line() -> None:
    subject = Subject(hourly_walk(2, 100), Timeframe.H1, "trend_rsi_macd", {}, {})
    with (
        pytest.raises(CryptaiError, match="no Dask scheduler answers at tcp://127.0.0.1:9"),
        cluster_workers(subject, "tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(CryptaiError, match="no Dask scheduler answers at nowhere"), cluster_workers(subject, "nowhere:::1"):
        pass


def test_a_cluster_without_workers_is_one_line() -> None:
    subject = Subject(hourly_walk(2, 100), Timeframe.H1, "trend_rsi_macd", {}, {})
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty:
        with pytest.raises(CryptaiError, match="has no workers"), cluster_workers(subject, empty.scheduler_address):
            pass


def test_without_dask_the_line_says_how_to_install_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    subject = Subject(hourly_walk(2, 100), Timeframe.H1, "trend_rsi_macd", {}, {})
    with (
        pytest.raises(CryptaiError, match=r"pip install 'cryptai-pipelines\[cluster\]'"),
        cluster_workers(subject, "tcp://x:1"),
    ):
        pass
