"""All metrics of the page: beside a slow program in plain Python, by hand, at the edges, and none missing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.metrics import FULL_METRICS, METRICS, METRICS_VERSION, full_metrics
from cryptai_pipelines.backtest.significance import per_period_sharpe, student_tail
from cryptai_pipelines.market.errors import BadInput

from .conftest import random_market
from .reference_metrics import metrics_by_the_book

CAPITAL = 1_000.0
GROWTHS = {"cagr", "alpha", "total_return"}
COLUMNS = (
    "entry_ts",
    "entry_price",
    "exit_ts",
    "exit_price",
    "exit_reason",
    "quantity",
    "fees",
    "pnl",
    "return_pct",
    "ambiguous",
)


def random_backtest(seed: int) -> tuple[pd.Series, pd.DataFrame, pd.Series, pd.DataFrame]:
    """Equity, trades, benchmark and exposure that have nothing to do with each other, of every size."""
    random = np.random.default_rng(seed)
    n, step = int(random.integers(10, 130)), str(random.choice(["h", "4h", "D"]))
    index = pd.date_range("2023-12-20", periods=n, freq=step, tz="UTC", unit="ms", name="ts")
    index = index[np.sort(random.permutation(n)[: max(8, n - 5)])]
    equity = pd.Series(CAPITAL * np.cumprod(1 + random.normal(0.001, 0.02, len(index))), index=index)
    benchmark = pd.Series(50 * np.cumprod(1 + random.normal(0.001, 0.03, len(index))), index=index)
    gross = random.uniform(0, 1.5, len(index))
    exposure = pd.DataFrame({"gross": gross, "net": gross * random.choice([-1, 1], len(index))}, index=index)
    return equity, random_trades(random, index, int(random.integers(0, 60))), benchmark, exposure


def random_trades(random: np.random.Generator, index: pd.DatetimeIndex, count: int) -> pd.DataFrame:
    first, length = random.integers(0, len(index), count), random.integers(0, 6, count)
    entry, moved = random.uniform(10, 90, count), random.normal(0, 0.05, count)
    side = random.choice([-1, 1], count)
    pnl = np.where(random.random(count) < 0.1, 0.0, random.normal(1, 8, count))
    return pd.DataFrame(
        {
            "side": side,
            "entry_ts": index[first],
            "entry_price": entry,
            "exit_ts": index[np.minimum(first + length, len(index) - 1)],
            "exit_price": entry * (1 + moved),
            "exit_reason": random.choice(["stop_loss", "take_profit"], count),
            "quantity": random.uniform(0.1, 2, count),
            "fees": random.uniform(0, 1, count),
            "funding": random.normal(0, 1, count),
            "slippage_cost": random.uniform(0, 1, count),
            "pnl": pnl,
            "return_pct": pnl / 100,
            "ambiguous": random.random(count) < 0.2,
            "tainted": random.random(count) < 0.2,
            "max_adverse": np.minimum(side * moved, 0) - random.uniform(0, 0.1, count),
            "max_favourable": np.maximum(side * moved, 0) + random.uniform(0, 0.1, count),
            "entry_volume": random.uniform(1e3, 1e6, count),
        }
    )


def agrees(name: str, actual: float, expected: float) -> bool:
    if math.isnan(expected) or math.isinf(expected):
        return actual == expected or (math.isnan(actual) and math.isnan(expected))
    if name in GROWTHS:
        actual, expected = actual + 1, expected + 1
    # A mean of gains and losses that almost vanishes has lost its digits before it gets here.
    return actual == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_1000_backtests_by_the_book():
    for seed in range(1000):
        equity, trades, benchmark, exposure = random_backtest(seed)
        periods = {"h": 8760.0, "4h": 2190.0, "D": 365.0}[equity.index.freqstr] if equity.index.freqstr else 365.0
        sharpe = per_period_sharpe(np.diff(equity, prepend=CAPITAL) / np.concatenate(([CAPITAL], equity[:-1])))
        actual = full_metrics(equity, trades, benchmark, CAPITAL, periods, exposure, trial_sharpes=np.array([sharpe]))
        expected = metrics_by_the_book(
            list(equity.index.to_pydatetime()),
            equity.tolist(),
            trades.to_dict("records"),
            benchmark.tolist(),
            CAPITAL,
            periods,
            list(exposure.itertuples(index=False, name=None)),
        )
        wrong = {name: (actual[name], value) for name, value in expected.items() if not agrees(name, actual[name], value)}
        assert not wrong, (seed, wrong)
        assert set(actual) - set(expected) == {"t_test_p", "metrics_version"}


def test_trades_by_hand():
    """Long +30 (3 hours), long -10, short +20, break-even, long -10, -10: of 1,000."""
    frame = hand_made_trades()
    metrics = full_metrics(flat_equity(40), frame, None, 1_000.0, 365.0)
    expected = {
        "trade_count": 6,
        "long_count": 5,
        "short_count": 1,
        "long_profit": 0.0,
        "short_return": 0.02,
        "win_rate": 2 / 6,
        "average_win": 25.0,
        "average_loss": -10.0,
        "payoff": 2.5,
        "profit_factor": 50 / 30,
        "expectancy": 20 / 6,
        "expectancy_ratio": 2 / 6,
        "kelly": 2 / 6 - (4 / 6) / 2.5,
        "sqn": math.sqrt(6) * (20 / 6) / math.sqrt((900 + 100 + 400 + 100 + 100 - 400 / 6) / 5),
        "win_streak": 1,
        "loss_streak": 2,
        "average_trade_hours": 0.5,
        "longest_trade_hours": 3.0,
        "worst_mae": -0.2,
        "best_mfe": 0.5,
        "max_end_trade_drawdown": -0.2,
        # The first trade at its best moment, 1,050, and then at its worst, where it was entered; the second comes to 1,010.
        "max_intratrade_drawdown": 1_000 / 1_050 - 1,
        "fees_paid": 6.0,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert math.isnan(metrics["capacity"]) and math.isnan(metrics["trade_sharpe"]) and math.isnan(metrics["beta"])


def hand_made_trades() -> pd.DataFrame:
    start = pd.date_range("2024-01-01", periods=6, freq="D", tz="UTC", unit="ms")
    pnl = np.array([30.0, -10.0, 20.0, 0.0, -10.0, -10.0])
    return pd.DataFrame(
        {
            "side": [1, 1, -1, 1, 1, 1],
            "entry_ts": start,
            "exit_ts": start + pd.to_timedelta([3, 0, 0, 0, 0, 0], unit="h"),
            "entry_price": 100.0,
            "exit_price": [130.0, 90.0, 80.0, 100.0, 90.0, 90.0],
            "exit_reason": "signal",
            "quantity": 1.0,
            "fees": 1.0,
            "pnl": pnl,
            "return_pct": pnl / 100,
            "ambiguous": False,
            "max_adverse": [0.0, -0.2, -0.1, -0.1, -0.1, -0.1],
            "max_favourable": [0.5, 0.1, 0.2, 0.0, 0.0, 0.0],
        }
    )


def flat_equity(days: int, value: float = 1_000.0) -> pd.Series:
    index = pd.date_range("2024-01-01", periods=days, freq="D", tz="UTC", unit="ms")
    return pd.Series(value, index=index, dtype="float64")


def test_capacity_by_hand():
    """5 % of equity into a bar that trades 100,000: 1 % of it is 1,000, which is 5 % of 20,000."""
    trades = hand_made_trades().assign(pnl=0.0, quantity=0.5, entry_volume=100_000.0)
    assert full_metrics(flat_equity(3), trades, None, 1_000.0, 365.0)["capacity"] == pytest.approx(20_000.0)
    nothing = full_metrics(flat_equity(3), trades.assign(entry_volume=0.0), None, 1_000.0, 365.0)
    assert nothing["capacity"] == 0.0


def test_drawdowns_by_hand():
    """From 1,000: 900, 1,100 (up again after two days), 880, 990, 1,100, 1,045."""
    values = [1_000.0, 900.0, 1_100.0, 880.0, 990.0, 1_100.0, 1_045.0]
    metrics = full_metrics(flat_equity(7) * 0 + values, no_trades(), None, 1_000.0, 365.0)
    expected = {
        "max_drawdown": -0.2,
        "max_drawdown_amount": -220.0,
        "average_drawdown": -(0.1 + 0.2 + 0.05) / 3,
        "current_drawdown": -0.05,
        "drawdown_count": 3,
        "max_drawdown_days": 3.0,
        "average_drawdown_days": 2.0,
        "recovery_days": 2.0,
        "current_underwater_days": 1.0,
        "underwater_share": 4 / 7,
        "ulcer_index": math.sqrt((0.01 + 0.04 + 0.01 + 0.0025) / 7),
        "recovery_factor": 45 / 220,
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-12)


def no_trades() -> pd.DataFrame:
    return simulate(*random_market(0, 0)).trades


@pytest.mark.parametrize("periods", [0, 1])
def test_next_to_nothing(periods):
    equity = flat_equity(periods)
    metrics = full_metrics(equity, no_trades(), equity, 1_000.0, 365.0)
    assert list(metrics) == list(FULL_METRICS)
    assert (metrics["total_return"], metrics["max_drawdown"], metrics["trade_count"]) == (0, 0, 0)
    for name in ("cagr", "sharpe", "kurtosis", "psr", "win_rate", "profit_factor", "capacity", "turnover", "calmar", "beta"):
        assert math.isnan(metrics[name]), name


def test_all_zero():
    metrics = full_metrics(flat_equity(60), no_trades(), flat_equity(60), 1_000.0, 365.0)
    zero = (
        "cagr",
        "volatility",
        "downside_volatility",
        "max_drawdown",
        "ulcer_index",
        "var_99",
        "cvar_95",
        "exposure",
        "turnover",
    )
    assert all(metrics[name] == 0 for name in zero)
    undefined = (
        "sharpe",
        "sortino",
        "smart_sharpe",
        "omega",
        "tail_ratio",
        "skewness",
        "calmar",
        "serenity",
        "beta",
        "alpha",
        "psr",
    )
    assert all(math.isnan(metrics[name]) for name in undefined)


def test_all_wins():
    wins = hand_made_trades()[lambda trades: trades["pnl"] > 0]
    equity = flat_equity(60) * np.cumprod(np.where(np.arange(60) % 2, 1.01, 1.02))
    metrics = full_metrics(equity, wins, None, 1_000.0, 365.0)
    assert metrics["profit_factor"] == metrics["omega"] == metrics["sortino"] == math.inf
    assert metrics["win_rate"] == 1 and metrics["loss_streak"] == 0 and metrics["max_drawdown"] == 0
    for name in ("average_loss", "payoff", "kelly", "expectancy_ratio", "calmar", "recovery_days", "largest_loss"):
        assert math.isnan(metrics[name]), name


@pytest.mark.parametrize("rest", [0.0, -50.0])
def test_ruin_is_final(rest):
    equity = flat_equity(60)
    equity.iloc[40:] = rest
    equity.iloc[50:] = 700.0
    metrics = full_metrics(equity, no_trades(), None, 1_000.0, 365.0)
    assert (metrics["total_return"], metrics["cagr"], metrics["max_drawdown"]) == (-1, -1, -1)
    assert (metrics["final_equity"], metrics["lowest_equity"], metrics["worst_day"]) == (0, 0, -1)
    assert metrics["cvar_99"] == -1 and metrics["best_period"] == 0 and metrics["recovery_factor"] == -1


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_names_of_the_summary_mean_the_same(seed):
    bars, entries = random_market(seed, 400)
    result = simulate(bars, entries, take_profit=0.03, stop_loss=0.02)
    full = full_metrics(result.equity, result.trades, bars["close"], 10_000.0, result.metrics["periods_per_year"])
    for name in set(METRICS) - {"buy_and_hold_return"}:
        assert full[name] == pytest.approx(result.metrics[name], rel=1e-12, abs=1e-13, nan_ok=True), name


def test_older_trades_without_the_new_columns_are_long():
    frame = hand_made_trades().drop(columns=["side", "max_adverse", "max_favourable"])
    metrics = full_metrics(flat_equity(40), frame, None, 1_000.0, 365.0)
    assert (metrics["long_count"], metrics["short_count"]) == (6, 0)
    for name in (
        "average_mae",
        "best_mfe",
        "max_intratrade_drawdown",
        "tainted_share",
        "funding",
        "average_gross_exposure",
    ):
        assert math.isnan(metrics[name]), name
    still_open = full_metrics(flat_equity(40), frame.assign(is_open=[False] * 5 + [True]), None, 1_000.0, 365.0)
    assert still_open["trade_count"] == 5 and still_open["exposure"] == 1.0


def test_bad_input_is_named():
    equity, trades = flat_equity(40), hand_made_trades()
    late = equity.copy()
    late.index = late.index + pd.Timedelta("1h")
    cases = (
        ("2024-01-03 .* is nan", (equity.where(np.arange(40) != 2), trades, None, 1_000.0)),
        ("not after the time before it", (equity.iloc[[0, 2, 1]], trades, None, 1_000.0)),
        ("times with a zone", (equity.tz_localize(None), trades, None, 1_000.0)),
        ("initial_capital 0", (equity, trades, None, 0.0)),
        ("benchmark of 40 times", (equity, trades, late, 1_000.0)),
        ("benchmark at 2024-01-01 .* is 0.0", (equity, trades, equity * 0, 1_000.0)),
        ("no column 'pnl'", (equity, trades.drop(columns="pnl"), None, 1_000.0)),
        ("trade 0 has the profit nan", (equity, trades.assign(pnl=np.nan), None, 1_000.0)),
    )
    for message, (values, frame, benchmark, capital) in cases:
        with pytest.raises(BadInput, match=message):
            full_metrics(values, frame, benchmark, capital, 365.0)
    with pytest.raises(BadInput, match="exposure of 1 times"):
        full_metrics(equity, trades, None, 1_000.0, 365.0, pd.DataFrame({"gross": [0.0], "net": [0.0]}))


def test_p_values_are_those_of_scipy():
    from scipy import stats

    for freedom in (1, 2, 5, 29, 199, 200, 365, 399, 400, 2_190, 100_000):
        for statistic in (-30.0, -3.0, -0.1, 0.0, 0.01, 0.3, 1.0, 2.0, 5.0, 12.0):
            assert student_tail(statistic, freedom) == pytest.approx(stats.t.sf(statistic, freedom), rel=1e-11)
    assert (student_tail(math.inf, 3), student_tail(-math.inf, 3)) == (0.0, 1.0)


def test_page_and_code_have_the_same_names(documented):
    assert set(documented) == {*FULL_METRICS, "buy_and_hold_return", "filled_share"}
    assert len(set(FULL_METRICS)) == len(FULL_METRICS)
    returned = full_metrics(flat_equity(40), hand_made_trades(), None, 1_000.0, 365.0)
    assert list(returned) == list(FULL_METRICS) and returned["metrics_version"] == METRICS_VERSION
    assert set(METRICS) - {"buy_and_hold_return"} <= set(FULL_METRICS)
    for name, row in documented.items():
        assert len(row) == 4 and row[1].strip(), name
