"""Fees of a point of a search are those of the same backtest by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.backtest.search import Plan
from cryptai_pipelines.backtest.search_space import Dimension
from cryptai_pipelines.backtest.subject import parameters_of
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.sweep import Request, read_subject, run_sweep
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store

SERIES = Series("BTC-USDT", Timeframe.H1)
RESTING = """
import numpy as np
import pandas as pd
from cryptai_pipelines.strategy.protocol import Strategy

def decide(inputs, parameters):
    close = inputs.bars["close"]
    return pd.DataFrame({"side": np.ones(len(close), dtype="int8"), "limit_price": close * 0.998}, index=close.index)

resting = Strategy(name="resting", decide=decide, code_version="1")
"""


def test_a_point_pays_what_the_same_backtest_pays(database: Database, tmp_path: Path) -> None:
    """Orders that rest pay the maker's fee: the venue's where nobody gives a rate, else one's own."""
    store(database, SERIES, hourly(400))
    (tmp_path / "resting.py").write_text(RESTING)
    name, settings = str(tmp_path / "resting.py"), settings_for("http://127.0.0.1:1", tmp_path, exchange="kraken")
    levels = tuple(Dimension(one, (0.02,)) for one in ("take_profit", "stop_loss"))
    for asked, rates in (
        ({}, (0.0026, 0.0016)),
        ({"fee_rate": 0.004}, (0.004, None)),
        ({"maker_fee_rate": 0.0}, (0.0026, 0.0)),
        ({"fee_rate": 0.004, "maker_fee_rate": 0.001}, (0.004, 0.001)),
    ):
        request = Request(SERIES, name, Plan((*levels, *(Dimension(one, (rate,)) for one, rate in asked.items()))), jobs=1)
        [point] = run_sweep(database, settings, request, lambda *_: None)["best"]
        trial = chosen_trial(settings, name, point["point"])
        engine = parameters_of(read_subject(database, settings, request)[0], point["point"])[1]
        assert engine == trial.engine and (engine.fee_rate, engine.maker_fee_rate) == rates
        told = run_trial(database, settings, SERIES, trial, "test", ignore_progress)
        assert told["metrics"]["trade_count"] > 10
        for metric in ("fees_paid", "total_return", "final_equity"):
            assert point["metrics"][metric] == pytest.approx(told["metrics"][metric], rel=1e-12), (asked, metric)
