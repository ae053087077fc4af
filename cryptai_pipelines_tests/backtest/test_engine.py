"""The engine against the readable one, and the properties that hold for every market."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.engine import EngineState, advance, is_readable, settle, start
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.records import BOOK_DTYPE, POSITION_DTYPE, TRADE_DTYPE, trades_frame
from cryptai_pipelines.market.errors import BadArgument

from .conftest import random_arguments, random_market
from .frozen_engine import simulate_frozen
from .reference import simulate_slowly, worst_drawdown

SEEDS = st.integers(0, 2**32 - 1)
HOUR = pd.Timedelta("1h")


def assert_same_trades(frame: pd.DataFrame, expected: list[dict]) -> None:
    assert len(frame) == len(expected)
    if not expected:
        return
    wanted = pd.DataFrame(expected)
    assert list(frame.columns)[:10] == list(wanted.columns)
    for name in ("entry_ts", "exit_ts", "exit_reason", "ambiguous"):
        assert frame[name].tolist() == wanted[name].tolist(), name
    for name in ("entry_price", "exit_price", "quantity", "fees"):
        np.testing.assert_allclose(frame[name], wanted[name], rtol=1e-9, atol=1e-12, err_msg=name)
    notional = frame["quantity"] * frame["entry_price"]
    assert (abs(frame["pnl"] - wanted["pnl"]) <= 1e-9 * notional).all()
    np.testing.assert_allclose(frame["return_pct"], wanted["return_pct"], rtol=0, atol=1e-9)


def test_equals_the_readable_engine_on_500_markets():
    reasons = dict.fromkeys(("take_profit", "stop_loss", "end"), 0)
    ambiguous = 0
    for seed in range(500):
        bars, entries = random_market(seed)
        arguments = random_arguments(seed)
        result = simulate(bars, entries, **arguments)
        trades, equity = simulate_slowly(bars, entries, **arguments)
        assert_same_trades(result.trades, trades)
        capital = arguments["initial_capital"]
        np.testing.assert_allclose(result.equity, equity, rtol=1e-9)
        assert result.metrics["max_drawdown"] == pytest.approx(worst_drawdown(equity, capital), rel=1e-9, abs=1e-12)
        ambiguous += sum(trade["ambiguous"] for trade in trades)
        for trade in trades:
            reasons[trade["exit_reason"]] += 1
    assert min(reasons.values()) > 100 and ambiguous > 100, "the markets no longer reach every kind of exit"


@pytest.mark.parametrize("target_first", [False, True])
def test_gives_the_first_engine_s_numbers_to_the_last_bit(target_first):
    closed = 0
    for seed in range(300):
        bars, entries = random_market(seed)
        arguments = random_arguments(seed)
        run = advance(start(EngineParameters(**arguments)), bar_arrays(bars, entries))
        _, last, optimistic_last = settle(run.state)
        trades, equity = simulate_frozen(bars, entries, arguments, target_first=target_first)
        mine = (run.optimistic_trades, optimistic_last) if target_first else (run.trades, last)
        frame = trades_frame(np.concatenate(mine))
        assert (run.optimistic_equity if target_first else run.equity).tobytes() == equity.tobytes()
        assert len(frame) == len(trades)
        closed += len(trades)
        for name in trades:
            assert frame[name].tolist() == trades[name].tolist(), name
    assert closed > 700


def test_optimistic_book_equals_the_readable_engine():
    seen = 0
    for seed in range(300):
        bars, entries = random_market(seed)
        arguments = random_arguments(seed)
        result = simulate(bars, entries, **arguments)
        trades, equity = simulate_slowly(bars, entries, **arguments, both_means="take_profit")
        seen += result.metrics["ambiguous_count"] > 0
        assert result.optimistic["final_equity"] == pytest.approx(equity[-1], rel=1e-9)
        assert result.optimistic["trade_count"] == len(trades)
        assert result.optimistic["max_drawdown"] == pytest.approx(
            worst_drawdown(equity, arguments["initial_capital"]), rel=1e-9, abs=1e-12
        )
    assert seen > 30


def test_equals_the_readable_engine_on_recorded_bars(real_hours):
    bars = real_hours(0, 12_000)
    entries = pd.Series(np.random.default_rng(7).random(len(bars)) < 0.02, index=bars.index)
    arguments = dict(take_profit=0.15, stop_loss=0.08, fee_rate=0.001, slippage_bps=2.0, initial_capital=10_000.0, size=1.0)
    result = simulate(bars, entries, **arguments)
    trades, equity = simulate_slowly(bars, entries, **arguments)
    assert len(trades) > 30
    assert_same_trades(result.trades, trades)
    np.testing.assert_allclose(result.equity, equity, rtol=1e-9)


@given(SEEDS, st.lists(st.integers(0, 200), max_size=8))
def test_any_split_gives_the_same_bits(seed, cuts):
    bars, entries = random_market(seed, 200)
    arrays = bar_arrays(bars, entries)
    parameters = EngineParameters(**random_arguments(seed))
    whole = advance(start(parameters), arrays)
    state, trades, equity = start(parameters), [], []
    for begin, end in itertools.pairwise([0, *sorted(cuts), 200]):
        step = advance(EngineState.from_bytes(state.to_bytes()), arrays.rows(begin, end))
        state = step.state
        trades.append(step.trades)
        equity.append(step.equity)
    assert state.to_bytes() == whole.state.to_bytes()
    assert np.concatenate(trades).tobytes() == whole.trades.tobytes()
    assert np.concatenate(equity).tobytes() == whole.equity.tobytes()
    assert [part.tobytes() for part in settle(state)[1:]] == [part.tobytes() for part in settle(whole.state)[1:]]


@given(SEEDS)
def test_every_bar_adds_up(seed):
    bars, entries = random_market(seed, 120)
    arguments = random_arguments(seed)
    result = simulate(bars, entries, **arguments)
    capital = arguments["initial_capital"]
    expected = np.full(len(bars), capital)
    for trade in result.trades.itertuples():
        held = (bars.index >= trade.entry_ts) & (bars.index < trade.exit_ts)
        entry_fee = trade.quantity * trade.entry_price * arguments["fee_rate"]
        expected[held] += trade.quantity * (bars["close"].to_numpy()[held] - trade.entry_price) - entry_fee
        expected[bars.index >= trade.exit_ts] += trade.pnl
        gross = trade.quantity * (trade.exit_price - trade.entry_price)
        assert trade.pnl == pytest.approx(gross - trade.fees, abs=1e-9 * capital)
    np.testing.assert_allclose(result.equity, expected, rtol=1e-9)
    assert result.metrics["final_equity"] == pytest.approx(capital + result.trades["pnl"].sum(), rel=1e-9)
    assert result.metrics["fees_paid"] == pytest.approx(result.trades["fees"].sum(), rel=1e-9)


@given(SEEDS, st.integers(1, 119))
def test_nothing_that_comes_later_changes_what_was_closed(seed, known):
    bars, entries = random_market(seed, 120)
    arguments = random_arguments(seed)
    whole = simulate(bars, entries, **arguments)
    prefix = simulate(bars.iloc[:known], entries.iloc[:known], **arguments)
    last = bars.index[known - 1]
    settled = whole.trades[(whole.trades["exit_ts"] <= last) & (whole.trades["exit_reason"] != "end")]
    assert prefix.trades[prefix.trades["exit_reason"] != "end"].equals(settled)
    assert prefix.equity.iloc[:-1].equals(whole.equity.iloc[: known - 1])


@given(SEEDS)
def test_pessimistic_is_never_above_optimistic(seed):
    bars, entries = random_market(seed, 120)
    result = simulate(bars, entries, **random_arguments(seed))
    for name in ("total_return", "win_rate", "profit_factor", "expectancy"):
        low, high = result.metrics[name], result.optimistic[name]
        assert np.isnan(low) or low <= high + 1e-12 * abs(high), name
    if result.metrics["ambiguous_count"] == 0:
        np.testing.assert_equal(result.optimistic, result.metrics)


@given(SEEDS, st.floats(0, 0.05), st.floats(0, 200), st.floats(0, 0.05), st.floats(0, 200))
def test_higher_costs_never_help(seed, fee, slippage, more_fee, more_slippage):
    bars, entries = random_market(seed, 120)
    arguments = random_arguments(seed) | {"fee_rate": fee, "slippage_bps": slippage}
    cheap = simulate(bars, entries, **arguments)
    dear = simulate(bars, entries, **arguments | {"fee_rate": fee + more_fee, "slippage_bps": slippage + more_slippage})
    assert dear.metrics["total_return"] <= cheap.metrics["total_return"] + 1e-12
    assert (dear.trades["return_pct"].to_numpy() <= cheap.trades["return_pct"].to_numpy() + 1e-12).all()
    for name in ("entry_ts", "exit_ts", "exit_reason", "ambiguous"):
        assert dear.trades[name].equals(cheap.trades[name]), f"costs moved {name}"


def bars_of(*rows: tuple[float, float, float, float], **columns: list) -> pd.DataFrame:
    """Hourly bars from (open, high, low, close)."""
    index = pd.date_range("2024-01-01", periods=len(rows), freq="h", tz="UTC", unit="ms", name="ts")
    return pd.DataFrame(list(rows), columns=["open", "high", "low", "close"], index=index).assign(volume=1.0, **columns)


def signal_at(bars: pd.DataFrame, *rows: int) -> pd.Series:
    return pd.Series(np.isin(np.arange(len(bars)), rows), index=bars.index)


FLAT = (100.0, 100.0, 100.0, 100.0)
FREE = dict(take_profit=0.15, stop_loss=0.08, fee_rate=0.0)


def only_trade(bars: pd.DataFrame, *signals: int, **arguments: float) -> pd.Series:
    trades = simulate(bars, signal_at(bars, *signals), **FREE | arguments).trades
    assert len(trades) == 1
    return trades.iloc[0]


def test_entry_is_at_the_open_after_the_signal():
    trade = only_trade(bars_of(FLAT, (101, 102, 100, 101), FLAT), 0)
    assert (trade.entry_price, trade.entry_ts) == (101.0, pd.Timestamp("2024-01-01T01:00Z"))
    assert (trade.exit_reason, trade.exit_price) == ("end", 100.0)


def test_a_gap_below_the_stop_fills_at_the_open():
    trade = only_trade(bars_of(FLAT, FLAT, (80, 120, 79, 85)), 0)
    assert (trade.exit_reason, trade.exit_price, trade.ambiguous) == ("stop_loss", 80.0, False)


def test_a_gap_above_the_target_fills_at_the_open():
    trade = only_trade(bars_of(FLAT, FLAT, (130, 131, 80, 120)), 0)
    assert (trade.exit_reason, trade.exit_price, trade.ambiguous) == ("take_profit", 130.0, False)


def test_the_bar_of_entry_can_stop_but_not_gap():
    trade = only_trade(bars_of(FLAT, (100, 101, 90, 95), FLAT), 0)
    assert trade.exit_ts == trade.entry_ts
    assert (trade.exit_reason, trade.exit_price) == ("stop_loss", 92.0)


def test_a_bar_that_touches_both_is_the_stop_and_is_counted():
    bars = bars_of(FLAT, FLAT, (100, 120, 90, 100))
    result = simulate(bars, signal_at(bars, 0), **FREE)
    assert (result.trades.exit_reason[0], result.trades.exit_price[0], result.trades.ambiguous[0]) == ("stop_loss", 92.0, True)
    assert (result.metrics["ambiguous_count"], result.metrics["ambiguous_share"]) == (1, 1.0)
    assert (result.metrics["total_return"], result.optimistic["total_return"]) == pytest.approx((-0.08, 0.15))


def test_levels_are_touched_by_equality():
    assert only_trade(bars_of(FLAT, FLAT, (100, 100, 92.0, 100)), 0).exit_reason == "stop_loss"
    assert only_trade(bars_of(FLAT, FLAT, (100, 100 * (1 + 0.15), 100, 100)), 0).exit_reason == "take_profit"


@pytest.mark.parametrize("blocked", [{"is_filled": [False, True, False, False]}, {"volume": [1.0, 0.0, 1.0, 1.0]}])
def test_an_entry_is_cancelled_when_the_next_bar_cannot_be_traded(blocked):
    bars = bars_of(FLAT, FLAT, FLAT, FLAT).assign(**blocked)
    assert simulate(bars, signal_at(bars, 0), **FREE).trades.empty


@pytest.mark.parametrize("blocked", [{"is_filled": [False, False, True, False]}, {"volume": [1.0, 1.0, 0.0, 1.0]}])
def test_an_exit_waits_for_a_bar_that_can_be_traded(blocked):
    bars = bars_of(FLAT, FLAT, (90, 90, 80, 85), (85, 86, 84, 85)).assign(**blocked)
    trade = only_trade(bars, 0)
    assert (trade.exit_price, trade.exit_ts) == (85.0, bars.index[3])


def test_a_signal_in_a_position_is_ignored_and_one_on_the_bar_of_exit_enters():
    bars = bars_of(FLAT, FLAT, FLAT, (100, 101, 90, 95), (95, 96, 94, 95), (95, 96, 94, 95))
    assert len(simulate(bars, signal_at(bars, 0, 1, 2), **FREE).trades) == 1
    trades = simulate(bars, signal_at(bars, 0, 3), **FREE).trades
    assert trades.entry_ts.tolist() == [bars.index[1], bars.index[4]]


def test_across_a_data_gap_the_next_bar_that_exists_fills():
    bars = bars_of(FLAT, (70, 71, 69, 70), FLAT).drop(pd.Timestamp("2024-01-01T01:00Z"))
    assert only_trade(bars, 0).entry_ts == pd.Timestamp("2024-01-01T02:00Z")


def test_costs_by_hand():
    bars = bars_of(FLAT, FLAT, (100, 130, 99, 120))
    trade = only_trade(bars, 0, fee_rate=0.01, slippage_bps=100.0, size=0.5)
    quantity = 5000 / (101 * 1.01)
    assert trade.quantity == pytest.approx(quantity)
    assert trade.exit_price == pytest.approx(115 * 0.99)
    assert trade.fees == pytest.approx(quantity * (101 + 113.85) * 0.01)
    assert trade.pnl == pytest.approx(quantity * (113.85 - 101) - trade.fees)


def test_a_signal_on_the_last_bar_does_nothing():
    bars = bars_of(FLAT, FLAT)
    assert simulate(bars, signal_at(bars, 1)).trades.empty


def test_state_of_another_version_or_kind_is_refused():
    data = start(EngineParameters()).to_bytes()
    with pytest.raises(BadArgument, match="version 9"):
        EngineState.from_bytes(data[:16] + b"\x09\0\0\0" + data[20:])
    with pytest.raises(BadArgument, match="not written by this engine"):
        EngineState.from_bytes(b"{}")
    with pytest.raises(BadArgument, match="bytes instead of"):
        EngineState.from_bytes(data + b"x")


def test_a_state_says_whether_it_can_be_read():
    data = start(EngineParameters()).to_bytes()
    assert is_readable(data)
    assert not any(map(is_readable, (b"", b"{}", data[:16], data[:16] + b"\x01\0\0\0" + data[20:])))


def test_bars_that_were_simulated_already_are_refused(market_arrays):
    arrays = market_arrays(1)
    state = advance(start(EngineParameters()), arrays).state
    with pytest.raises(BadArgument, match="at or before the last simulated bar"):
        advance(state, arrays.rows(199, 200))


def test_records_have_no_padding():
    assert all(dtype.itemsize == 8 * len(dtype.names) for dtype in (BOOK_DTYPE, POSITION_DTYPE, TRADE_DTYPE))
