"""Daily portfolio rows."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.daily import DAILY_COLUMNS, ROLLING_ROWS, daily_rows, performance_rows
from cryptai_pipelines.backtest.return_metrics import return_metrics
from cryptai_pipelines.backtest.trade_statistics import trade_statistics

from .conftest import random_market


def equity_of(seed: int, n: int = 300) -> pd.Series:
    rng = np.random.default_rng(seed)
    hours = np.cumsum(np.where(rng.random(n) < 0.03, rng.integers(2, 60, n), 1))
    index = (pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h")).as_unit("ms")
    return pd.Series(1000 * np.cumprod(1 + rng.normal(0, 0.01, n)), index=index)


@given(st.integers(0, 2**32 - 1))
def test_equals_pandas(seed):
    equity = equity_of(seed)
    rows = daily_rows(equity, 1000.0)
    last = equity.groupby(equity.index.floor("D")).last()
    assert rows.index.tolist() == last.index.tolist()
    assert rows["total_value"].tolist() == last.tolist()
    with_start = np.concatenate(([1000.0], last))
    np.testing.assert_allclose(rows["daily_return"], np.diff(with_start) / with_start[:-1], atol=1e-15)
    np.testing.assert_allclose(rows["cumulative_return"], last / 1000 - 1, atol=1e-15)
    np.testing.assert_allclose(rows["drawdown"], (with_start / np.maximum.accumulate(with_start) - 1)[1:], atol=1e-15)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 299), max_size=6))
def test_day_by_day_equals_at_once(seed, cuts):
    """Each step sees only its own bars and the rows stored before it; a day that goes on replaces its row."""
    equity = equity_of(seed)
    stored = daily_rows(equity.iloc[:0], 1000.0)
    for begin, end in itertools.pairwise([0, *sorted(cuts), 300]):
        part = equity.iloc[begin:end]
        before = stored[stored.index < part.index[0].floor("D")] if len(part) else stored
        value, peak = (before["total_value"].iloc[-1], before["total_value"].max()) if len(before) else (None, None)
        stored = pd.concat([before, daily_rows(part, 1000.0, value, peak)])
    pd.testing.assert_frame_equal(stored, daily_rows(equity, 1000.0), check_exact=True)


def daily_backtest(seed: int) -> tuple[pd.Series, pd.DataFrame]:
    """Equity and trades over about a year and a half of four-hour bars with holes."""
    bars, entries = random_market(seed, 3_000)
    bars.index = bars.index[0] + (bars.index - bars.index[0]) * 2.3
    bars.index = bars.index.as_unit("ms")
    result = simulate(bars, entries.set_axis(bars.index), take_profit=0.05, stop_loss=0.03)
    return result.equity, result.trades


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 2_999), max_size=6), st.booleans())
@settings(max_examples=25)
def test_performance_day_by_day_equals_at_once(seed, cuts, bounded):
    """Each step sees its own bars, the trades so far (an unfinished one is open), and no more rows than it says it needs."""
    equity, trades = daily_backtest(seed)
    stored = performance_rows(equity.iloc[:0], trades.iloc[:0], 10_000.0)
    for begin, end in itertools.pairwise([0, *sorted(cuts), len(equity)]):
        if begin == end:
            continue
        first_day = equity.index[begin].floor("D")
        part = equity[(equity.index >= first_day) & (equity.index <= equity.index[end - 1])]
        seen = trades[trades["entry_ts"] <= part.index[-1]]
        seen = seen.assign(is_open=seen["exit_ts"] > part.index[-1])
        before = stored[stored.index < first_day]
        peak = before["total_value"].max() if bounded and len(before) else None
        recent = before.iloc[-(ROLLING_ROWS - 1) :] if bounded else before
        stored = pd.concat([before, performance_rows(part, seen, 10_000.0, recent, peak)])
    pd.testing.assert_frame_equal(stored, performance_rows(equity, trades, 10_000.0), check_exact=True)


def test_performance_rows_are_the_metrics_of_their_window():
    equity, trades = daily_backtest(11)
    rows = performance_rows(equity, trades, 10_000.0)
    assert rows.columns.tolist() == list(DAILY_COLUMNS) and len(rows) > 300
    assert rows.iloc[:29][["rolling_volatility", "rolling_sharpe", "var_95"]].isna().all(axis=None)
    values = np.concatenate(([10_000.0], rows["total_value"]))
    for row in (29, 60, 89, 90, 200, len(rows) - 1):
        first = max(0, row + 1 - ROLLING_ROWS)
        expected = return_metrics(values[first + 1 : row + 2], values[first], 365.0, 1_000.0)
        told = rows.iloc[row]
        assert (told["rolling_volatility"], told["rolling_sharpe"]) == pytest.approx(
            (expected["volatility"], expected["sharpe"])
        )
        assert told["var_95"] == pytest.approx(expected["var_95"])
        until = rows.index[row] + pd.Timedelta("1D")
        statistics = trade_statistics(trades[trades["exit_ts"] < until], 10_000.0, 1_000.0)
        for name in ("trade_count", "win_rate", "profit_factor", "expectancy", "fees_paid"):
            assert told[name] == pytest.approx(statistics[name], nan_ok=True), (row, name)


def test_performance_rows_without_trades_or_movement():
    equity, trades = daily_backtest(1)
    rows = performance_rows(equity * 0 + 10_000.0, trades.iloc[:0], 10_000.0)
    assert (rows[["trade_count", "fees_paid", "drawdown"]] == 0).all(axis=None)
    assert rows[["win_rate", "profit_factor", "expectancy", "rolling_sharpe"]].isna().all(axis=None)
    assert (rows["rolling_volatility"].iloc[29:] == 0).all()
    won = trades[trades["pnl"] > 0]
    assert performance_rows(equity, won, 10_000.0)["profit_factor"].iloc[-1] == math.inf


def test_every_column_is_documented():
    page = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    section = page.split("## Daily rows")[1].split("\n## ")[0]
    assert [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")] == list(DAILY_COLUMNS)
