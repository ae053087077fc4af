"""Weekly bars give one value a week: what is told per year of them is held against the numbers written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.backtest.search import Plan
from cryptai_pipelines.backtest.search_space import Dimension
from cryptai_pipelines.backtest.walk_forward import Length
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.portfolio import chosen_portfolio, run_portfolio
from cryptai_pipelines.orchestration.sweep import Request, run_sweep
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.orchestration.walk_forward import run_walk_forward
from cryptai_pipelines.storage import backtests, portfolios, sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import store
from cryptai_pipelines_tests.quality.samples import good_rows

WEEKS, CAPITAL = 160, 10_000.0
YEARLY = 365 / 7
SERIES = Series("BTC-USDT", Timeframe.W1)
HELD = "buy_and_hold"


def ratio(values: np.ndarray) -> float:
    returns = values / np.concatenate(([CAPITAL], values[:-1])) - 1
    return float(returns.mean() / returns.std(ddof=1))


def test_a_year_has_as_many_values_as_there_are() -> None:
    told = {one.code: one.values_per_year for one in Timeframe}
    assert told.pop("1w") == pytest.approx(YEARLY, rel=1e-15) and set(told.values()) == {365.0}


def test_a_year_of_weeks_is_a_year(database: Database, tmp_path: Path) -> None:
    store(database, SERIES, good_rows(WEEKS, Timeframe.W1, seed=3))
    settings = settings_for("http://127.0.0.1:1", tmp_path, fee_rate=0.0, slippage_bps=0.0)
    told = run_trial(database, settings, SERIES, chosen_trial(settings, HELD, {}), "test", ignore_progress)
    days = backtests.read_daily(database, told["backtest_id"])
    values = days["total_value"].to_numpy()
    growth = (values[-1] / CAPITAL) ** (365 / (7 * WEEKS)) - 1
    deviation = np.std(np.diff(values) / values[:-1], ddof=1)
    for metrics in (told["metrics"], told["all_metrics"]):
        assert metrics["periods_per_year"] == pytest.approx(YEARLY)
        assert metrics["cagr"] == pytest.approx(growth, rel=1e-9)
        assert metrics["sharpe"] == pytest.approx(ratio(values) * YEARLY**0.5, rel=1e-9)
        assert metrics["volatility"] == pytest.approx(deviation * YEARLY**0.5, rel=0.01)
    assert days["rolling_sharpe"].iloc[60] == pytest.approx(ratio(values[:61]) * YEARLY**0.5, rel=1e-9)
    assert sweeps.trial_sharpes(database, HELD, SERIES) == pytest.approx([ratio(values)], rel=1e-9)

    request = Request(SERIES, HELD, Plan((Dimension("size", (0.5, 1.0)),)), jobs=1)
    best = {one["point"]["size"]: one["metrics"] for one in run_sweep(database, settings, request, lambda *_: None)["best"]}
    for name in ("cagr", "volatility", "sharpe", "sortino"):
        assert best[1.0][name] == pytest.approx(told["metrics"][name], rel=1e-9), name
    per_week = sorted(one["sharpe"] / YEARLY**0.5 for one in best.values())
    assert sorted(sweeps.trial_sharpes(database, HELD, SERIES)) == pytest.approx(per_week, rel=1e-9)

    together = run_portfolio(database, settings, chosen_portfolio(settings, HELD, {}, [SERIES]), "test", ignore_progress)
    for name in ("cagr", "volatility", "sharpe", "periods_per_year"):
        assert together["metrics"][name] == pytest.approx(told["metrics"][name], rel=1e-9), name
    of_all = portfolios.trial_sharpes(database, HELD, Timeframe.W1, ["BTC-USDT"])
    assert sorted(set(of_all.round(12))) == pytest.approx(per_week, rel=1e-9)

    lengths = (Length(60, "b"), Length(50, "b"), None)
    walked = run_walk_forward(database, settings, request, lengths, False, lambda *_: None)["metrics"]
    assert walked["cagr"] == pytest.approx((1 + walked["total_return"]) ** (YEARLY / walked["periods"]) - 1, rel=1e-9)
