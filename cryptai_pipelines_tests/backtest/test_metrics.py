"""Metrics against formulas written out again, hand-made cases, and the edges that libraries disagree on."""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.engine import advance, settle, start
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.metrics import METRICS, bars_per_year, summary
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.return_metrics import return_metrics, sharpe_ratio, sortino_ratio
from cryptai_pipelines.market.timeframe import TIMEFRAMES

from .conftest import random_market

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
LONG = 1000.0  # days


def by_the_book(returns: list[float], periods: float) -> dict[str, float]:
    """The same metrics from the standard library, term by term."""
    n = len(returns)
    mean = math.fsum(returns) / n
    growth = math.prod(1 + r for r in returns)
    downside = math.sqrt(math.fsum(min(r, 0.0) ** 2 for r in returns) / n)
    rank = 0.05 * (n - 1)
    below, ranked = math.floor(rank), sorted(returns)
    above = ranked[min(below + 1, n - 1)]
    return {
        "cagr": growth ** (periods / n) - 1,
        "volatility": statistics.stdev(returns) * math.sqrt(periods),
        "sharpe": mean / statistics.stdev(returns) * math.sqrt(periods),
        "sortino": mean / downside * math.sqrt(periods),
        "var_95": ranked[below] + (above - ranked[below]) * (rank - below),
    }


@pytest.mark.parametrize("periods", [365.0, 8760.0])
def test_return_metrics_on_1000_series(periods):
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        values = 1e4 * np.cumprod(1 + rng.normal(0.0005, 0.02, int(rng.integers(30, 400))))
        returns = (values / np.concatenate(([1e4], values[:-1])) - 1).tolist()
        expected = by_the_book(returns, periods)
        actual = return_metrics(values, 1e4, periods, LONG)
        for name, value in expected.items():
            # Relative to 1 too: a mean of +0.02 and -0.02 that is almost 0 has lost its digits before it gets here.
            assert actual[name] == pytest.approx(value, rel=1e-11, abs=1e-11), (name, seed)


def test_hand_made_series():
    values = np.array([110.0, 99.0, 118.8])
    returns = [0.1, -0.1, 0.2]
    assert sharpe_ratio(np.array(returns), 365) == pytest.approx((0.2 / 3) / statistics.stdev(returns) * math.sqrt(365))
    assert sortino_ratio(np.array(returns), 365) == pytest.approx((0.2 / 3) / math.sqrt(0.01 / 3) * math.sqrt(365))
    assert return_metrics(values, 100.0, 365, LONG)["var_95"] == pytest.approx(-0.1 + 0.1 * 0.2)


@pytest.mark.parametrize(("count", "days"), [(29, LONG), (30, 13.9)])
def test_too_little_history_is_not_annualised(count, days):
    values = 100 * np.cumprod(1 + np.random.default_rng(0).normal(0, 0.01, count))
    metrics = return_metrics(values, 100.0, 365, days)
    assert all(math.isnan(metrics[name]) for name in ("cagr", "volatility", "sharpe", "sortino"))
    assert math.isfinite(metrics["var_95"])


def test_edges_of_ratios():
    flat, rising = np.zeros(50), np.full(50, 0.01)
    assert math.isnan(sharpe_ratio(flat, 365)) and math.isnan(sharpe_ratio(rising, 365))
    assert math.isnan(sortino_ratio(flat, 365)) and sortino_ratio(rising, 365) == math.inf
    assert math.isnan(sharpe_ratio(np.array([0.1]), 365)) and math.isnan(sortino_ratio(np.array([]), 365))
    ruined = return_metrics(np.array([100.0] * 40 + [0.0]), 100.0, 365, LONG)
    assert ruined["cagr"] == -1.0
    assert return_metrics(np.full(40, 1e150), 1.0, 1e6, LONG)["cagr"] == math.inf


def market_of(closes: list[float], entry_rows: list[int]) -> tuple[pd.DataFrame, pd.Series]:
    index = pd.date_range("2024-01-01", periods=len(closes), freq="D", tz="UTC", unit="ms")
    bars = pd.DataFrame({name: closes for name in ("open", "high", "low", "close")}, index=index).assign(volume=1.0)
    return bars, pd.Series(np.isin(np.arange(len(closes)), entry_rows), index=index)


def test_trade_metrics_by_hand():
    """Three trades without costs from 1,000: +20 % (gap over the target), -10 % (gap under the stop), 0 % at the end."""
    bars, entries = market_of([100, 100, 120, 120, 108, 108, 108, 108], [0, 2, 5])
    metrics = simulate(bars, entries, take_profit=0.1, stop_loss=0.05, fee_rate=0.0, initial_capital=1000.0).metrics
    expected = {
        "total_return": 0.08,
        "win_rate": 1 / 3,
        "profit_factor": 200 / 120,
        "average_win": 200.0,
        "average_loss": -120.0,
        "expectancy": 80 / 3,
        "max_drawdown": -0.1,
        "exposure": 6 / 8,
        "fees_paid": 0.0,
        "trade_count": 3,
        "ambiguous_count": 0,
        "ambiguous_share": 0.0,
        "buy_and_hold_return": 0.08,
        "final_equity": 1080.0,
        "periods_per_year": 365.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_buy_and_hold_pays_the_same_costs():
    bars, entries = market_of([100, 150], [])
    metrics = simulate(bars, entries, fee_rate=0.01, slippage_bps=100.0).metrics
    assert metrics["buy_and_hold_return"] == pytest.approx(1.5 * (0.99 * 0.99) / (1.01 * 1.01) - 1)


@pytest.mark.parametrize("length", [0, 1])
def test_nothing_to_measure(length):
    bars, entries = market_of([100.0] * length, [])
    result = simulate(bars, entries)
    assert len(result.trades) == 0 and len(result.equity) == length
    assert list(result.metrics) == list(METRICS)
    assert result.metrics["total_return"] == 0 and result.metrics["max_drawdown"] == 0
    assert all(math.isnan(result.metrics[name]) for name in ("sharpe", "win_rate", "profit_factor", "expectancy"))


def test_no_trades():
    bars, entries = market_of([100.0, 101.0] * 30, [])
    metrics = simulate(bars, entries).metrics
    assert (metrics["total_return"], metrics["exposure"], metrics["volatility"], metrics["cagr"]) == (0, 0, 0, 0)
    assert math.isnan(metrics["sharpe"]) and math.isnan(metrics["sortino"])


def test_all_wins_have_an_infinite_profit_factor():
    bars, entries = market_of([100, 100, 120, 120], [0])
    metrics = simulate(bars, entries).metrics
    assert metrics["profit_factor"] == math.inf and metrics["win_rate"] == 1 and math.isnan(metrics["average_loss"])


def test_near_ruin():
    bars, entries = market_of([100.0, 100.0] + [1e-12] * 40, [0])
    metrics = simulate(bars, entries).metrics
    assert metrics["total_return"] == pytest.approx(-1) and metrics["max_drawdown"] == pytest.approx(-1)
    assert metrics["cagr"] == pytest.approx(-1) and all(not math.isinf(value) for value in metrics.values())


@given(st.integers(0, 2**32 - 1))
def test_trade_metrics_follow_from_the_trades(seed):
    result = simulate(*random_market(seed, 200), take_profit=0.03, stop_loss=0.02)
    pnl = result.trades["pnl"]
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    metrics = result.metrics
    assert metrics["trade_count"] == len(pnl) and metrics["ambiguous_count"] == result.trades["ambiguous"].sum()
    if len(pnl):
        assert metrics["win_rate"] == len(wins) / len(pnl)
        assert metrics["expectancy"] == pytest.approx(pnl.mean())
    if len(losses):
        assert metrics["profit_factor"] == pytest.approx(wins.sum() / -losses.sum())
        assert metrics["average_loss"] == pytest.approx(losses.mean())


def test_bars_per_year_of_every_timeframe_even_with_holes():
    for timeframe in TIMEFRAMES:
        opens = np.delete(timeframe.opens(0, 400 * timeframe.ms), [3, 4, 50])
        assert bars_per_year(opens) == timeframe.bars_per_year
    assert bars_per_year(np.array([0, 5, 10, 13, 16, 19])) == pytest.approx(365 * 86_400_000 / 3)
    assert math.isnan(bars_per_year(np.array([0])))


def test_scheduled_summary_differs_only_where_its_periods_do():
    """Days instead of bars: what is taken from trades and bars is the same, what is taken from returns uses the days."""
    bars, _ = random_market(3, 2_000)
    always = pd.Series(True, index=bars.index)
    wide = {"take_profit": 0.9, "stop_loss": 0.5, "fee_rate": 0.02}
    run = advance(start(EngineParameters(**wide)), bar_arrays(bars, always))
    assert run.state.book["positions"] == 1, "a position must be open at the end, for its costs to show"
    final = settle(run.state)[0]
    by_bar = simulate(bars, always, **wide).metrics
    daily = pd.Series(run.equity, index=bars.index).resample("D").last().dropna()
    by_day = summary(final, daily.to_numpy(), 365.0)
    other = {"cagr", "volatility", "sharpe", "sortino", "var_95", "periods_per_year"}
    for name in set(METRICS) - other:
        np.testing.assert_equal(by_day[name], by_bar[name], err_msg=name)
    values = np.append(daily.to_numpy()[:-1], by_bar["final_equity"])
    returns = (values / np.concatenate(([10_000.0], values[:-1])) - 1).tolist()
    expected = by_the_book(returns, 365.0)
    assert {name: by_day[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_every_metric_is_documented():
    documented = [line.split("`")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert set(METRICS) <= set(documented)
