"""Many combinations of target and stop at once against one backtest for each of them, to the last bit."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest import SimulationResult, simulate
from cryptai_pipelines.backtest.daily import daily_rows
from cryptai_pipelines.backtest.exit_grid import (
    charges_of,
    exit_grid,
    grid_trades,
    known_to_grid,
    market_of,
    orders_known_to_grid,
    pair_trades,
    run_grid,
)
from cryptai_pipelines.backtest.exit_grid_kernel import POSITION_DTYPE, TOTALS_DTYPE, run_pairs
from cryptai_pipelines.backtest.inputs import bar_arrays, decision_arrays
from cryptai_pipelines.backtest.parameters import EngineParameters, MarketRules
from cryptai_pipelines.backtest.point_metrics import POINT_METRICS
from cryptai_pipelines.backtest.portfolio import simulate_portfolio
from cryptai_pipelines.backtest.records import ExitReason
from cryptai_pipelines.backtest.return_metrics import return_metrics
from cryptai_pipelines.market.errors import BadArgument

from .conftest import random_arguments, random_market

SEEDS = st.integers(0, 2**32 - 1)
TARGETS = np.array([0.005, 0.01, 0.05, 0.15, 0.5, math.inf, 0.05, 0.02])
STOPS = np.array([0.01, 0.005, 0.05, 0.08, 0.5, 0.05, 0.9, 0.02])
# Of one engine, both as a metric and as a sum over bars or trades in the same order.
EQUAL_TO_THE_BIT = (
    "total_return max_drawdown win_rate profit_factor average_win average_loss expectancy exposure fees_paid trade_count "
    "ambiguous_count final_equity"
).split()


def costs_of(seed: int) -> dict[str, float]:
    arguments = random_arguments(seed)
    return {name: arguments[name] for name in ("fee_rate", "slippage_bps", "initial_capital", "size")}


def as_positions(trades: pd.DataFrame) -> np.ndarray:
    codes = {reason.code: reason.value for reason in ExitReason}
    found = np.zeros(len(trades), dtype=POSITION_DTYPE)
    for name in POSITION_DTYPE.names:
        column = trades[name]
        if name.endswith("_ts"):
            column = pd.DatetimeIndex(column).as_unit("ms").asi8
        found[name] = [codes[reason] for reason in column] if name == "exit_reason" else column
    return found


def assert_equal(result: SimulationResult, point: dict[str, float], costs: dict[str, float]) -> None:
    """Every metric of a point against the backtest's, those of returns over its days."""
    for name in EQUAL_TO_THE_BIT:
        np.testing.assert_equal(point[name], result.metrics[name], err_msg=name)
    assert point["optimistic_total_return"] == result.optimistic["total_return"]
    days = daily_rows(result.equity, costs["initial_capital"])["total_value"].to_numpy()
    index = result.equity.index
    span = (index[-1] - index[0]) / pd.Timedelta("1D")
    expected = return_metrics(days, costs["initial_capital"], 365.0, span)
    for name, value in expected.items():
        np.testing.assert_equal(point[name], value, err_msg=name)


def test_equals_one_backtest_for_each_combination_on_random_markets():
    seen = np.zeros(4, dtype=int)
    entered_on_exit_bars = 0
    for seed in range(250):
        bars, entries = random_market(seed)
        costs = costs_of(seed)
        table = exit_grid(bars, entries, TARGETS, STOPS, **costs).metrics
        for row, (target, stop) in enumerate(zip(TARGETS, STOPS, strict=True)):
            result = simulate(bars, entries, target, stop, **costs)
            assert_equal(result, table.iloc[row].to_dict(), costs)
            positions = grid_trades(bars, entries, EngineParameters(target, stop, **costs))
            assert positions.tobytes() == as_positions(result.trades).tobytes()
            seen += np.bincount(positions["exit_reason"], minlength=4)
            entered_on_exit_bars += int(np.count_nonzero(positions["entry_ts"] == positions["exit_ts"]))
    assert min(seen[1:]) > 600 and entered_on_exit_bars > 600, "the markets no longer reach every kind of exit"


def test_equals_on_long_markets_where_most_bars_are_skipped():
    for seed in range(6):
        bars, entries = random_market(seed, 20_000)
        costs = costs_of(seed)
        table = exit_grid(bars, entries, TARGETS, STOPS, **costs).metrics
        for row, (target, stop) in enumerate(zip(TARGETS, STOPS, strict=True)):
            result = simulate(bars, entries, target, stop, **costs)
            assert_equal(result, table.iloc[row].to_dict(), costs)
            positions = grid_trades(bars, entries, EngineParameters(target, stop, **costs))
            assert positions.tobytes() == as_positions(result.trades).tobytes()


def random_decisions(bars: pd.DataFrame, entries: pd.Series, seed: int) -> pd.DataFrame:
    """Entries with levels on either side of the price, near enough to be touched, and orders to leave."""
    rng = np.random.default_rng([seed, 2])
    count, close = len(bars), bars["close"].to_numpy()
    columns: dict[str, object] = {"side": entries.astype("int8")}
    if rng.random() < 0.7:
        columns["exit_long"] = rng.random(count) < rng.choice([0.02, 0.3])
    for name, sign in (("stop_level", -1), ("target_level", 1)):
        if rng.random() < 0.7:
            distance = rng.normal(0.02, 0.03, count)
            columns[name] = np.where(rng.random(count) < 0.3, math.nan, close * (1 + sign * distance))
    return pd.DataFrame(columns, index=bars.index)


def random_rules(bars: pd.DataFrame, capital: float, seed: int) -> MarketRules:
    """None, or some that are coarse for the market: a tick of up to 2 % of the price, a lot that is a good part of what the
    capital buys, a least notional that a loss comes to."""
    rng = np.random.default_rng([seed, 3])
    price = float(bars["close"].iloc[0])
    return MarketRules(
        rng.choice([0.0, 0.01, price * 0.003, price * 0.02]),
        rng.choice([0.0, 1e-5, capital / price * 0.07]),
        rng.choice([0.0, 5.0, capital * 0.6]),
    )


def test_levels_orders_to_leave_and_rules_equal_the_engine_on_random_markets():
    seen = np.zeros(8, dtype=int)
    refused = too_small = 0
    for seed in range(150):
        bars, entries = random_market(seed)
        decisions, costs = random_decisions(bars, entries, seed), costs_of(seed)
        rules = random_rules(bars, costs["initial_capital"], seed)
        arrays = decision_arrays(bars, decisions, "X")
        assert orders_known_to_grid(arrays)
        grid = run_grid(arrays, np.column_stack((TARGETS, STOPS)), EngineParameters(**costs), rules).metrics
        for row, (target, stop) in enumerate(zip(TARGETS, STOPS, strict=True)):
            parameters = EngineParameters(target, stop, **costs)
            result = simulate_portfolio({"X": bars}, {"X": decisions}, parameters, {"X": rules})
            positions = pair_trades(arrays, parameters, rules)
            assert positions.tobytes() == as_positions(result.trades).tobytes()
            for name in EQUAL_TO_THE_BIT:
                np.testing.assert_equal(grid[name][row], result.metrics[name], err_msg=name)
            assert grid["optimistic_total_return"][row] == result.optimistic.metrics["total_return"]
            seen += np.bincount(positions["exit_reason"], minlength=8)
            refused += int(result.refused["wrong_side"])
            too_small += int(result.refused["too_small"])
    assert min(seen[[1, 2, 3, 7]]) > 150 and min(refused, too_small) > 200, "the markets no longer reach every kind of exit"


def test_what_the_grid_does_not_know_is_told():
    bars, entries = random_market(3, 100)
    plain = pd.DataFrame({"side": entries.astype("int8")})
    for column, value, known in (("limit_price", 100.0, False), ("side", -1, False), ("stop_level", 90.0, True)):
        changed = plain.assign(**{column: value})
        assert orders_known_to_grid(decision_arrays(bars, changed, "X")) is known
    assert known_to_grid(EngineParameters(0.1, 0.2, 0.0, 3.0, 5.0, 0.5)) is True
    assert known_to_grid(EngineParameters(trailing_stop=0.1)) is False


def test_equals_on_recorded_bars(real_hours):
    bars = real_hours(0, 12_000)
    entries = pd.Series(np.random.default_rng(7).random(len(bars)) < 0.02, index=bars.index)
    costs = {"fee_rate": 0.001, "slippage_bps": 2.0, "initial_capital": 10_000.0, "size": 1.0}
    table = exit_grid(bars, entries, TARGETS, STOPS, **costs).metrics
    for row, (target, stop) in enumerate(zip(TARGETS, STOPS, strict=True)):
        result = simulate(bars, entries, target, stop, **costs)
        assert_equal(result, table.iloc[row].to_dict(), costs)
        positions = grid_trades(bars, entries, EngineParameters(target, stop, **costs))
        assert positions.tobytes() == as_positions(result.trades).tobytes()


@given(SEEDS)
def test_the_optimistic_book_has_the_trades_of_the_optimistic_engine(seed):
    bars, entries = random_market(seed, 60)
    costs = costs_of(seed)
    result = simulate(bars, entries, 0.01, 0.01, **costs)
    positions = grid_trades(bars, entries, EngineParameters(0.01, 0.01, **costs), target_first=True)
    assert len(positions) == result.optimistic["trade_count"]
    assert costs["initial_capital"] + positions["pnl"].sum() == pytest.approx(result.optimistic["final_equity"], rel=1e-9)


def test_threads_and_the_number_of_combinations_do_not_show_in_the_results():
    bars, entries = random_market(5, 2_000)
    rng = np.random.default_rng(1)
    targets, stops = rng.uniform(0.001, 0.3, 700), rng.uniform(0.001, 0.3, 700)
    one = exit_grid(bars, entries, targets, stops, threads=1, keep_returns=True)
    many = exit_grid(bars, entries, targets, stops, threads=5, keep_returns=True)
    assert one.metrics.equals(many.metrics) and one.daily_returns.tobytes() == many.daily_returns.tobytes()
    alone = exit_grid(bars, entries, targets[321:322], stops[321:322], keep_returns=True)
    assert alone.metrics.iloc[0].equals(one.metrics.iloc[321].rename(0))
    assert alone.daily_returns[0].tobytes() == one.daily_returns[321].tobytes()
    assert list(one.metrics.columns) == list(POINT_METRICS)


def test_daily_returns_are_those_of_the_equity():
    bars, entries = random_market(8, 800)
    grid = exit_grid(bars, entries, [0.05], [0.03], keep_returns=True)
    days = daily_rows(simulate(bars, entries, 0.05, 0.03).equity, 10_000.0)
    assert grid.daily_returns[0].tobytes() == days["daily_return"].to_numpy().tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_runs_uncompiled_with_the_same_bits(seed):
    bars, entries = random_market(seed, 400)
    arrays, costs = bar_arrays(bars, entries), costs_of(seed)
    charges = charges_of(EngineParameters(**costs))
    totals, positions = np.zeros(len(TARGETS), dtype=TOTALS_DTYPE), np.zeros(0, dtype=POSITION_DTYPE)
    run_pairs(market_of(arrays), charges, TARGETS, STOPS, False, totals, np.empty((0, 0)), positions)
    compiled = exit_grid(bars, entries, TARGETS, STOPS, **costs).metrics
    assert totals["cash"].tobytes() == compiled["final_equity"].to_numpy().tobytes()
    assert totals["max_drawdown"].tobytes() == compiled["max_drawdown"].to_numpy().tobytes()


def test_no_bars_and_no_entries_give_no_trades():
    bars, entries = random_market(1, 50)
    assert exit_grid(bars.iloc[:0], entries.iloc[:0], [0.1], [0.1]).metrics["trade_count"].tolist() == [0.0]
    quiet = exit_grid(bars, entries & False, [0.1], [0.1]).metrics.iloc[0]
    assert quiet["trade_count"] == 0 and quiet["total_return"] == 0 and math.isnan(quiet["win_rate"])


@pytest.mark.parametrize(
    ("targets", "stops", "message"),
    [
        ([0.1, -0.1], [0.1, 0.1], "take_profits is -0.1 in row 1"),
        ([0.1, 0.1], [0.1, 1.0], "stop_losses is 1.0 in row 1"),
        ([0.1, math.nan], [0.1, 0.1], "take_profits is nan in row 1"),
        ([0.1], [0.1, 0.2], "take_profits has 1 values and stop_losses 2"),
        ([], [], "at least 1"),
        (["much"], [0.1], "not a list of numbers"),
    ],
)
def test_levels_that_make_no_sense_are_named(targets, stops, message):
    bars, entries = random_market(1, 50)
    with pytest.raises(BadArgument, match=message):
        exit_grid(bars, entries, targets, stops)
