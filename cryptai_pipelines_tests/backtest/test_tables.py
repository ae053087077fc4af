"""Tables of trades, months and falls, and rolling metrics, beside loops over what they group."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.backtest.benchmark_metrics import beta
from cryptai_pipelines.backtest.drawdowns import drawdown_table
from cryptai_pipelines.backtest.return_metrics import sharpe_ratio
from cryptai_pipelines.backtest.rolling import rolling_beta, rolling_sharpe
from cryptai_pipelines.backtest.tables import (
    GROUP_COLUMNS,
    crisis_windows,
    exit_reason_table,
    gate_table,
    group_table,
    monthly_returns,
    regime_table,
    worst_drawdowns,
)
from cryptai_pipelines.market.errors import BadInput

from .test_full_metrics import CAPITAL, no_trades, random_backtest


def days(values: list[float], start: str = "2024-01-01") -> pd.Series:
    return pd.Series(values, index=pd.date_range(start, periods=len(values), freq="D", tz="UTC", unit="ms"), dtype="float64")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_groups_are_the_trades_of_their_kind(seed):
    trades = random_backtest(seed)[1]
    for by in ("exit_reason", "side", "tainted"):
        table = group_table(trades, by)
        assert table["trades"].sum() == len(trades) and table.columns.tolist() == list(GROUP_COLUMNS)
        assert table["profit"].sum() == pytest.approx(trades["pnl"].sum())
        for key, row in table.iterrows():
            part = [t for t in trades.to_dict("records") if t[by] == key]
            assert row["trades"] == len(part) and row["share"] == pytest.approx(len(part) / len(trades))
            assert row["win_rate"] == pytest.approx(sum(t["pnl"] > 0 for t in part) / len(part))
            assert row["average_return"] == pytest.approx(sum(t["return_pct"] for t in part) / len(part))


def test_no_trades_make_an_empty_table_and_a_wrong_column_is_named():
    assert exit_reason_table(no_trades()).empty
    with pytest.raises(BadInput, match="no column 'tag'"):
        group_table(no_trades(), "tag")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_drawdowns_cover_exactly_the_time_under_water(seed):
    equity = random_backtest(seed)[0]
    table = drawdown_table(equity, CAPITAL)
    depth = equity / np.maximum(equity.cummax(), CAPITAL) - 1
    inside = pd.Series(False, index=equity.index)
    for one in table.itertuples():
        until = one.end if one.recovered else equity.index[-1] + pd.Timedelta("1ms")
        part = depth[(depth.index > one.peak) & (depth.index < until)]
        if depth.iloc[0] < 0 and one.Index == 0:
            part = depth[depth.index < until]
        assert part.min() == one.depth == depth[one.trough] and (part < 0).all()
        assert one.days == pytest.approx(((one.end if one.recovered else equity.index[-1]) - one.peak).total_seconds() / 86_400)
        inside[part.index] = True
    assert (inside == (depth < 0)).all()
    assert worst_drawdowns(equity, CAPITAL)["depth"].tolist() == sorted(table["depth"])[:5]


def test_what_the_strategy_did_while_the_market_fell():
    market = days([100, 120, 60, 90, 130, 117, 140])
    equity = days([1_000, 1_000, 950, 1_045, 1_100, 1_210, 1_000])
    told = crisis_windows(equity, market, CAPITAL)
    assert told["benchmark_return"].tolist() == pytest.approx([-0.5, -0.1])
    assert told["strategy_return"].tolist() == pytest.approx([-0.05, 0.1])
    assert told["strategy_drawdown"].tolist() == pytest.approx([-0.05, 0.0])
    assert told["start"].tolist() == [market.index[1], market.index[4]]
    worst = worst_drawdowns(equity, CAPITAL, market)
    assert worst["benchmark_return"].tolist() == pytest.approx([140 / 117 - 1, -0.5])
    assert crisis_windows(equity.iloc[:0], market.iloc[:0], CAPITAL).empty


def test_months_by_kind():
    """January +10 %, February -10 %, March +1 %; March moves most from day to day."""
    market = pd.concat(
        [
            days(list(np.linspace(100, 110, 31))),
            days(list(np.linspace(110, 99, 29)), "2024-02-01"),
            days([80, 99.99], "2024-03-30"),
        ]
    )
    equity = pd.Series(np.repeat([1_100.0, 1_045.0, 1_149.5], [31, 29, 2]), index=market.index)
    table = regime_table(equity, market, CAPITAL)
    assert table.loc[["up", "down", "flat"], "strategy_return"].tolist() == pytest.approx([0.1, -0.05, 0.1])
    assert table.loc[["up", "down", "flat"], "benchmark_return"].tolist() == pytest.approx([0.1, -0.1, 0.01])
    assert table.loc["wild", "months"] == 1 and table.loc["calm", "months"] == 2
    assert table.loc["calm", "strategy_return"] == pytest.approx(0.045)
    assert regime_table(equity.iloc[:0], market.iloc[:0], CAPITAL).empty


def test_months_multiply_to_the_years():
    equity = random_backtest(3)[0]
    table = monthly_returns(equity, CAPITAL)
    assert (1 + table["year"]).prod() == pytest.approx(equity.iloc[-1] / CAPITAL)
    assert (1 + table[list(range(1, 13))]).prod(axis=1).tolist() == pytest.approx((1 + table["year"]).tolist())


def test_gates_by_hand():
    gates = pd.DataFrame({"trend": [True, False, None, False], "rsi": [True, True, False, False], "open": [None] * 4})
    told = gate_table(gates.astype("boolean"))
    assert told.loc["trend"].tolist() == pytest.approx([1, 2, 1, 1 / 3, 1])
    assert told.loc["rsi"].tolist() == pytest.approx([2, 2, 0, 0.5, 1])
    assert told.loc["open"].tolist()[:3] == [0, 0, 4] and math.isnan(told.loc["open", "pass_rate"])


@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
@settings(max_examples=40)
def test_rolling_metrics_are_those_of_each_window(seed, window):
    equity, _, benchmark, _ = random_backtest(seed)
    returns, market = (s.pct_change().fillna(0.0) for s in (equity, benchmark))
    sharpe, slope = rolling_sharpe(returns, window, 365.0), rolling_beta(returns, market, window)
    assert sharpe.iloc[: window - 1].isna().all() and slope.iloc[: window - 1].isna().all()
    for end in range(window, len(returns) + 1):
        ours, theirs = returns.to_numpy()[end - window : end], market.to_numpy()[end - window : end]
        assert sharpe.iloc[end - 1] == pytest.approx(sharpe_ratio(ours, 365.0), rel=1e-9)
        assert slope.iloc[end - 1] == pytest.approx(beta(ours, theirs), rel=1e-9, abs=1e-12)


def test_rolling_metrics_where_nothing_moves():
    still = days([0.0] * 10)
    assert rolling_sharpe(still, 5, 365.0).isna().all() and rolling_beta(still, still, 5).isna().all()
    assert rolling_sharpe(still.iloc[:3], 5, 365.0).isna().all()
