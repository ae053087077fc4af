"""Faults that are planted in stored bars and parameters, and what the review of the stored result says of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.portfolio import Portfolio, run_portfolio
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.protocol import Inputs, Strategy
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import store
from cryptai_pipelines_tests.quality.samples import good_rows

BARS = 600
SERIES = Series("BTC-USDT", Timeframe.H1)


def rising() -> Columns:
    """Prices that rise by 0.06 % an hour."""
    rows = good_rows(BARS, seed=1)
    close = 100 * np.exp(np.cumsum(np.random.default_rng(5).normal(0.0006, 0.002, BARS)))
    opens = np.concatenate(([100.0], close[:-1]))
    rows["open"], rows["close"] = opens, close
    rows["high"], rows["low"] = np.maximum(opens, close) * 1.0005, np.minimum(opens, close) * 0.9995
    rows["quote_volume"] = rows["volume"] * close
    rows["taker_buy_quote"] = rows["quote_volume"] / 2
    return rows


def decide(inputs: Inputs, parameters: object) -> pd.DataFrame:
    """Short trades at first, then one that nothing closes."""
    at = np.arange(len(inputs.bars))
    early = at < 150
    side = ((at % 10 == 1) & early) | (at == 200)
    return pd.DataFrame({"side": side.astype("int8"), "exit_long": (at % 10 == 5) & early}, index=inputs.bars.index)


HOLDS_ON = Strategy("holds_on", decide=decide, code_version="1")


@pytest.fixture
def reviewed(database: Database, tmp_path: Path) -> Any:
    """The findings that hold of a result and of a portfolio with these costs."""
    store(database, SERIES, rising())
    settings = settings_for("http://127.0.0.1:1", tmp_path)

    def findings(**costs: float) -> tuple[set[str], set[str]]:
        engine = EngineParameters(take_profit=math.inf, stop_loss=math.inf, **costs)
        trial = Trial("trial", HOLDS_ON, HOLDS_ON.parameters(), engine)
        alone = run_trial(database, settings, SERIES, trial, "test", ignore_progress)
        portfolio = Portfolio(Trial("portfolio", *(trial.strategy, trial.rules, trial.engine)), (SERIES,))
        together = run_portfolio(database, settings, portfolio, "test", ignore_progress)
        assert alone["metrics"]["trade_count"] == 16
        return tuple({one["code"] for one in told["findings"]} for told in (alone, together))

    return findings


def test_profit_of_a_position_that_no_rule_closed_is_told(reviewed) -> None:
    for found in reviewed():
        assert "profit_at_the_end" in found
        # The others are about closed trades, of which there are 15.
        assert "few_trades" in found and "win_rate_too_good" not in found


@pytest.mark.parametrize(
    "costs", [{"fee_rate": 0.001}, {"slippage_bps": 1.0}, {"slippage_range_share": 0.1}, {"volume_impact": 1e-4}], ids=str
)
def test_whatever_was_charged_is_a_cost(reviewed, costs: dict[str, float]) -> None:
    for found in reviewed(**{"fee_rate": 0.0, **costs}):
        assert "no_costs" not in found


def test_nothing_charged_is_told(reviewed) -> None:
    for found in reviewed(fee_rate=0.0):
        assert "no_costs" in found
