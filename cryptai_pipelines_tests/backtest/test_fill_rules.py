"""The rules of docs/backtest.md on bars small enough to reckon by hand. Without costs unless they are what is tested."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import EngineParameters, MarketRules, PortfolioResult, simulate_portfolio

FLAT = (100.0, 100.0, 100.0, 100.0)
NO_LEVELS = {"take_profit": np.inf, "stop_loss": np.inf}
FREE = {"fee_rate": 0.0, "initial_capital": 10_000.0, "short": True}


def bars_of(*rows: tuple[float, float, float, float], **columns: object) -> pd.DataFrame:
    """Hourly bars from (open, high, low, close); volume 1,000 unless given."""
    index = pd.date_range("2024-01-01", periods=len(rows), freq="h", tz="UTC", unit="ms", name="ts")
    return pd.DataFrame(list(rows), columns=["open", "high", "low", "close"], index=index).assign(**{"volume": 1e3} | columns)


def decided(bars: pd.DataFrame, orders: dict[int, dict[str, object]]) -> pd.DataFrame:
    """Decisions by row; what an order does not name is nothing."""
    nothing = {"side": 0, "exit_long": False, "exit_short": False, "priority": 0.0}
    nothing |= dict.fromkeys(("stop_level", "target_level", "limit_price", "volatility"), np.nan)
    rows = [nothing | orders.get(row, {}) for row in range(len(bars))]
    return pd.DataFrame(rows, index=bars.index)


def run(
    bars: pd.DataFrame, orders: dict, rules: MarketRules | None = None, funding=None, finer=None, **parameters
) -> PortfolioResult:
    return simulate_portfolio(
        {"COIN": bars},
        {"COIN": decided(bars, orders)},
        EngineParameters(**FREE | parameters),
        {"COIN": rules or MarketRules()},
        {} if funding is None else {"COIN": funding},
        {} if finer is None else {"COIN": finer},
    )


def only(result: PortfolioResult) -> pd.Series:
    assert len(result.trades) == 1
    return result.trades.iloc[0]


LONG, SHORT = {"side": 1}, {"side": -1}


def test_a_short_mirrors_a_long():
    # Sold at 100; the stop of 8 % is 108, the target of 15 % is 85.
    trade = only(run(bars_of(FLAT, FLAT, (100, 101, 84, 90)), {0: SHORT}))
    assert (trade.side, trade.exit_reason, trade.exit_price) == (-1, "take_profit", 85.0)
    assert trade.pnl == pytest.approx(100 * 15)
    assert (trade.max_adverse, trade.max_favourable) == (0.0, 0.15)
    trade = only(run(bars_of(FLAT, FLAT, (100, 109, 99, 105)), {0: SHORT}))
    assert (trade.exit_reason, trade.exit_price, trade.pnl) == ("stop_loss", 108.0, pytest.approx(-800))


def test_a_short_pays_its_margin_and_both_fees():
    # Of 10,000 at a fee of 1 %: 10,000 / (100 x 1.01) = 99.0099 sold. The margin and the fee leave no cash.
    result = run(bars_of(FLAT, FLAT, (90, 90, 90, 90)), {0: SHORT}, fee_rate=0.01, **NO_LEVELS)
    trade = only(result)
    assert trade.quantity == pytest.approx(10_000 / 101)
    assert trade.fees == pytest.approx(trade.quantity * (100 + 90) * 0.01)
    assert trade.pnl == pytest.approx(trade.quantity * 10 - trade.fees)
    assert result.ledger["cash"].iloc[1] == pytest.approx(0.0, abs=1e-9)


def test_a_short_ends_where_its_margin_is_lost():
    # Without a stop; at 200 it has lost 100 %.
    result = run(bars_of(FLAT, FLAT, (150, 210, 150, 190), FLAT), {0: SHORT, 2: LONG}, **NO_LEVELS)
    assert (result.trades.exit_reason[0], result.trades.exit_price[0]) == ("stop_loss", 200.0)
    assert result.equity.iloc[-1] == pytest.approx(0.0, abs=1e-9)
    assert result.refused["cash"] == 1


def test_a_gap_can_cost_a_short_more_than_its_margin_and_then_nothing_is_traded():
    result = run(bars_of(FLAT, FLAT, (250, 250, 250, 250), FLAT), {0: SHORT, 2: LONG}, **NO_LEVELS)
    assert only(result).exit_price == 250.0
    assert result.equity.iloc[-1] == pytest.approx(-5_000)
    assert result.refused["cash"] == 1


def test_shorts_must_be_allowed():
    result = run(bars_of(FLAT, FLAT, FLAT), {0: SHORT}, short=False)
    assert result.trades.empty and result.refused["short"] == 1


def test_the_nearer_of_level_and_share_counts():
    bars = bars_of(FLAT, FLAT, (100, 112, 90, 100))
    assert only(run(bars, {0: LONG | {"stop_level": 95.0}})).exit_price == 95.0
    assert only(run(bars, {0: LONG | {"stop_level": 91.0}})).exit_price == 92.0
    rising = bars_of(FLAT, FLAT, (100, 120, 99, 100))
    assert only(run(rising, {0: LONG | {"target_level": 110.0}})).exit_price == 110.0
    assert only(run(rising, {0: LONG | {"target_level": 119.0}})).exit_price == pytest.approx(115.0)
    assert only(run(bars, {0: SHORT | {"stop_level": 105.0}})).exit_price == 105.0


@pytest.mark.parametrize(
    "order",
    [
        LONG | {"stop_level": 100.0},
        LONG | {"target_level": 99.0},
        SHORT | {"stop_level": 90.0},
        SHORT | {"target_level": 100.0},
    ],
)
def test_a_level_on_the_wrong_side_refuses_the_entry(order):
    result = run(bars_of(FLAT, FLAT, FLAT), {0: order})
    assert result.trades.empty and result.refused["wrong_side"] == 1


def test_a_signal_closes_at_the_next_open():
    trade = only(run(bars_of(FLAT, FLAT, FLAT, (103, 104, 102, 104)), {0: LONG, 2: {"exit_long": True, "exit_short": True}}))
    assert (trade.exit_reason, trade.exit_price) == ("signal", 103.0)


def test_a_position_turns_at_one_open():
    bars = bars_of(FLAT, FLAT, (104, 104, 104, 104), FLAT)
    trades = run(bars, {0: LONG, 1: SHORT | {"exit_long": True}}, **NO_LEVELS).trades
    assert trades[["side", "entry_price", "exit_price"]].values.tolist() == [[1, 100, 104], [-1, 104, 100]]


def test_an_exit_and_an_entry_of_the_same_side_is_no_entry():
    assert run(bars_of(FLAT, FLAT, FLAT), {0: LONG | {"exit_long": True}}).trades.empty


def test_a_time_stop_closes_at_the_open_after_its_bars():
    # Entered in row 1; two bars are rows 1 and 2.
    trade = only(run(bars_of(FLAT, FLAT, FLAT, (101, 101, 101, 101), FLAT), {0: LONG}, time_stop_bars=2))
    assert (trade.exit_reason, trade.exit_price) == ("time_stop", 101.0)


def test_a_cooldown_leaves_its_bars_between_exit_and_entry():
    # Stopped in row 1; rows 2 and 3 lie between; the signal of row 3 enters in row 4.
    bars = bars_of(FLAT, (100, 100, 90, 95), FLAT, FLAT, FLAT, FLAT)
    result = run(bars, {row: LONG for row in range(5)}, cooldown_bars=2)
    assert result.trades.entry_ts.tolist() == [bars.index[1], bars.index[4]]
    assert result.refused["cooldown"] == 2


def test_a_trailing_stop_follows_the_high_of_completed_bars():
    # 5 %: from 100 at 95; after the high of 120 at 114, from the next bar on: row 2 itself falls to 110 unharmed.
    trade = only(
        run(bars_of(FLAT, FLAT, (100, 120, 110, 118), (118, 118, 113, 113)), {0: LONG}, trailing_stop=0.05, **NO_LEVELS)
    )
    assert (trade.exit_reason, trade.exit_price, trade.max_favourable) == ("trailing_stop", 114.0, 0.2)
    trade = only(run(bars_of(FLAT, (100, 100, 94, 96)), {0: LONG}, trailing_stop=0.05, **NO_LEVELS))
    assert (trade.exit_reason, trade.exit_price) == ("trailing_stop", 95.0)


def test_a_break_even_stop_moves_to_the_price_at_entry():
    trade = only(run(bars_of(FLAT, FLAT, (100, 103, 99, 102), (102, 102, 95, 95)), {0: LONG}, break_even_at=0.03))
    assert (trade.exit_reason, trade.exit_price) == ("break_even", 100.0)


def test_a_part_is_closed_at_its_gain_and_the_rest_stays():
    # A quarter of 100 coins at 105; 75 to the end at 102. Fees of 0.1 %: 100.1 for one coin, so 99.9001 coins.
    options = {"partial_take_profit": 0.25, "partial_at": 0.05, "fee_rate": 0.001}
    result = run(bars_of(FLAT, FLAT, (100, 106, 99, 104), (104, 104, 102, 102)), {0: LONG}, **options)
    part, rest = result.trades.itertuples()
    coins = 10_000 / 100.1
    assert (part.exit_reason, part.exit_price, part.entry_ts) == ("partial_take_profit", 105.0, rest.entry_ts)
    assert part.quantity == pytest.approx(coins / 4) and rest.quantity == pytest.approx(coins * 3 / 4)
    assert part.pnl == pytest.approx(coins / 4 * (5 - 0.1 - 0.105))
    assert (rest.exit_reason, rest.pnl) == ("end", pytest.approx(coins * 3 / 4 * (2 - 0.1 - 0.102)))


def test_a_part_before_the_stop_is_the_optimistic_book():
    result = run(bars_of(FLAT, FLAT, (100, 106, 90, 95)), {0: LONG}, partial_take_profit=0.5, partial_at=0.05)
    assert only(result).exit_reason == "stop_loss" and only(result).ambiguous
    assert result.optimistic.trades.exit_reason.tolist() == ["partial_take_profit", "stop_loss"]
    # Half at +5, half at -8, against all at -8.
    assert (result.equity.iloc[-1], result.optimistic.equity.iloc[-1]) == (pytest.approx(9_200), pytest.approx(9_850))


def test_a_limit_entry_waits_pays_the_maker_and_expires():
    bars = bars_of(FLAT, FLAT, (100, 100, 97, 99), FLAT)
    trade = only(
        run(bars, {0: LONG | {"limit_price": 98.0}}, limit_expiry_bars=2, fee_rate=0.002, maker_fee_rate=0.001, slippage_bps=50)
    )
    assert (trade.entry_ts, trade.entry_price) == (bars.index[2], 98.0)
    # The exit at 100 slips to 99.5 and pays the taker.
    assert trade.fees == pytest.approx(trade.quantity * (98 * 0.001 + 99.5 * 0.002))
    result = run(bars, {0: LONG | {"limit_price": 98.0}}, limit_expiry_bars=1)
    assert result.trades.empty and result.refused["expired"] == 1


def test_a_limit_that_meets_the_market_pays_the_taker_but_never_more_than_its_limit():
    bars = bars_of(FLAT, FLAT, FLAT)
    costs = {"fee_rate": 0.002, "maker_fee_rate": 0.0, "slippage_bps": 100}
    trade = only(run(bars, {0: LONG | {"limit_price": 100.5}}, **costs))
    assert trade.entry_price == 100.5
    assert trade.fees == pytest.approx(trade.quantity * (100.5 + 99) * 0.002)
    assert only(run(bars, {0: LONG | {"limit_price": 102.0}}, **costs)).entry_price == pytest.approx(101.0)


def test_a_limit_waits_over_bars_that_cannot_be_traded():
    bars = bars_of(FLAT, (97, 97, 97, 97), (97, 99, 96, 97), FLAT, volume=[1.0, 0.0, 1.0, 1.0])
    assert only(run(bars, {0: LONG | {"limit_price": 98.0}}, limit_expiry_bars=2)).entry_price == 97.0


def test_an_exit_signal_calls_a_waiting_limit_off():
    bars = bars_of(FLAT, FLAT, (90, 90, 90, 90))
    result = run(bars, {0: LONG | {"limit_price": 95.0}, 1: {"exit_long": True}}, limit_expiry_bars=5)
    assert result.trades.empty and result.refused.sum() == 0


def test_what_a_limit_entry_gains_in_its_own_bar_is_in_doubt():
    # Bought at 95 inside the bar; target 95 x 1.15 = 109.25: before or after? The stop at 87.4 was surely later.
    doubtful = bars_of(FLAT, (100, 110, 94, 100), FLAT)
    result = run(doubtful, {0: LONG | {"limit_price": 95.0}})
    assert (only(result).exit_reason, only(result).ambiguous) == ("end", True)
    assert (only(result.optimistic).exit_reason, only(result.optimistic).exit_price) == ("take_profit", pytest.approx(109.25))
    sure = only(run(bars_of(FLAT, (100, 100, 87, 90), FLAT), {0: LONG | {"limit_price": 95.0}}))
    assert (sure.exit_reason, sure.exit_price, sure.ambiguous) == ("stop_loss", pytest.approx(87.4), False)


def test_risk_sizing_loses_the_share_at_the_stop():
    # 1 % of 10,000 over (100 - 95): 20 coins. With costs the loss is still 1 %.
    trade = only(
        run(bars_of(FLAT, FLAT, (100, 100, 94, 94)), {0: LONG | {"stop_level": 95.0}}, sizing="risk", risk_per_trade=0.01)
    )
    assert (trade.quantity, trade.pnl) == (pytest.approx(20), pytest.approx(-100))
    costs = {"fee_rate": 0.002, "slippage_bps": 30}
    for order in (LONG | {"stop_level": 95.0}, SHORT | {"stop_level": 105.0}):
        bars = bars_of(FLAT, FLAT, (100, 106, 94, 94))
        trade = only(run(bars, {0: order}, sizing="risk", risk_per_trade=0.01, take_profit=0.5, **costs))
        assert (trade.exit_reason, trade.pnl) == ("stop_loss", pytest.approx(-100))


def test_risk_sizing_never_borrows_and_needs_a_stop():
    trade = only(run(bars_of(FLAT, FLAT), {0: LONG | {"stop_level": 99.9}}, sizing="risk", risk_per_trade=0.5))
    assert trade.quantity == pytest.approx(100)
    result = run(bars_of(FLAT, FLAT), {0: LONG}, sizing="risk", **NO_LEVELS)
    assert result.trades.empty and result.refused["no_stop"] == 1


def test_volatility_sizing():
    # 1 % per hour is 0.01 x sqrt(8,760) = 93.6 % a year; half of that is wanted: a share of 0.534.
    order = LONG | {"volatility": 0.01}
    trade = only(run(bars_of(FLAT, FLAT), {0: order}, sizing="volatility", target_volatility=0.5))
    assert trade.quantity * 100 / 10_000 == pytest.approx(0.5 / (0.01 * np.sqrt(8_760)))
    assert only(run(bars_of(FLAT, FLAT), {0: order}, sizing="volatility", target_volatility=9.0)).quantity == pytest.approx(100)
    result = run(bars_of(FLAT, FLAT), {0: LONG}, sizing="volatility")
    assert result.trades.empty and result.refused["volatility"] == 1


def test_slippage_by_range_and_by_volume():
    # A tenth of the range of 4 is 0.4 of 100. Exit at 100 in a bar without range.
    bars = bars_of(FLAT, (100, 102, 98, 100), FLAT)
    trade = only(run(bars, {0: LONG}, slippage_range_share=0.1))
    assert (trade.entry_price, trade.exit_price) == (pytest.approx(100.4), 100.0)
    assert trade.slippage_cost == pytest.approx(trade.quantity * 0.4)
    # 100 coins wanted of a volume of 400: 2 % x sqrt(1/4) = 1 %. The exit's quantity is smaller by what that costs.
    trade = only(run(bars_of(FLAT, FLAT, FLAT, volume=400.0), {0: LONG}, volume_impact=0.02))
    assert (trade.entry_price, trade.quantity) == (pytest.approx(101.0), pytest.approx(10_000 / 101))
    assert trade.exit_price == pytest.approx(100 * (1 - 0.02 * np.sqrt(trade.quantity / 400)))


def test_a_fill_takes_no_more_than_its_share_of_the_volume():
    # A tenth of 500: 50 of 100 coins are bought. The stop sells 30 of them in row 2, the rest at the open of row 3.
    bars = bars_of(FLAT, FLAT, (100, 100, 90, 95), (94, 94, 94, 94), volume=[1e3, 500.0, 300.0, 1e3])
    first, rest = run(bars, {0: LONG}, volume_share=0.1).trades.itertuples()
    assert (first.exit_reason, first.quantity, first.exit_price) == ("stop_loss", pytest.approx(30), 92.0)
    assert (rest.exit_reason, rest.quantity, rest.exit_price) == ("stop_loss", pytest.approx(20), 94.0)


def test_tick_lot_and_least_notional():
    # 92 % of 100.3 is 92.276, sold at a stop of 92.0; 10,000 / 100.3 = 99.7 coins are 99.
    start = (100.3, 100.3, 100.3, 100.3)
    trade = only(run(bars_of(FLAT, start, (100, 100, 90, 90)), {0: LONG}, MarketRules(tick=0.5, lot=1.0)))
    assert (trade.exit_price, trade.quantity) == (92.0, 99.0)
    # 100 x 1.15 is 114.99999999999999 to a computer: on the tick all the same.
    assert only(run(bars_of(FLAT, FLAT, (100, 115, 99, 99)), {0: LONG}, MarketRules(tick=0.1))).exit_price == 115.0
    # A short's stop is bought back: 108.324 is rounded up.
    assert only(run(bars_of(FLAT, start, (100, 120, 100, 100)), {0: SHORT}, MarketRules(tick=0.5))).exit_price == 108.5
    result = run(bars_of(FLAT, FLAT, FLAT), {0: LONG}, MarketRules(min_notional=5_000.0), size=0.4)
    assert result.trades.empty and result.refused["too_small"] == 1


def test_funding_is_paid_by_longs_and_received_by_shorts():
    # Held over 02:00, at an open of 110: 0.1 % of 100 coins x 110 = 11. That of 01:00 is before the entry there.
    bars = bars_of(FLAT, FLAT, (110, 110, 110, 110))
    times = pd.DatetimeIndex(["2024-01-01T01:00Z", "2024-01-01T01:30Z"])
    rates = pd.Series([0.5, 0.001], index=times)
    for order, sign in ((LONG, -1), (SHORT, 1)):
        trade = only(run(bars, {0: order}, funding=rates, **NO_LEVELS))
        assert trade.funding == pytest.approx(sign * 11)
        assert trade.pnl == pytest.approx(trade.side * 1_000 + sign * 11)


def both_touched(first_high: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """An hour that reaches target and stop, and its quarters of which one side comes first."""
    bars = bars_of(FLAT, FLAT, (100, 120, 90, 100), FLAT)
    index = pd.date_range("2024-01-01T02:00Z", periods=4, freq="15min", unit="ms", name="ts")
    up, down, calm = (100, 120, 100, 100), (100, 100, 90, 100), FLAT
    rows = [calm, up, down, calm] if first_high else [calm, down, up, calm]
    return bars, pd.DataFrame(rows, columns=["open", "high", "low", "close"], index=index).assign(volume=1.0)


@pytest.mark.parametrize(("first_high", "reason", "price"), [(True, "take_profit", 115.0), (False, "stop_loss", 92.0)])
def test_finer_bars_tell_what_came_first(first_high, reason, price):
    bars, finer = both_touched(first_high)
    result = run(bars, {0: LONG}, finer=finer)
    trade = only(result)
    assert (trade.exit_reason, trade.exit_price, trade.ambiguous) == (reason, pytest.approx(price), False)
    assert result.equity.equals(result.optimistic.equity)


@pytest.mark.parametrize("how", ["incomplete", "filled", "both in one", "contradicting"])
def test_finer_bars_that_cannot_tell_leave_the_bar_as_it_was(how):
    bars, finer = both_touched(True)
    if how == "incomplete":
        finer = finer.drop(finer.index[0])
    elif how == "filled":
        finer = finer.assign(is_filled=[False, False, False, True])
    elif how == "both in one":
        finer.iloc[1] = [100, 120, 90, 100, 1.0]
    else:
        finer.iloc[1:3] = [100, 101, 99, 100, 1.0]
    trade = only(run(bars, {0: LONG}, finer=finer))
    assert (trade.exit_reason, trade.exit_price, trade.ambiguous) == ("stop_loss", 92.0, True)


def market(symbols: int, *rows: tuple[float, float, float, float]) -> dict[str, pd.DataFrame]:
    return {f"COIN{place}": bars_of(*rows) for place in range(symbols)}


def together(bars: dict[str, pd.DataFrame], orders: dict[str, dict], **parameters) -> PortfolioResult:
    decisions = {symbol: decided(frame, orders.get(symbol, {})) for symbol, frame in bars.items()}
    return simulate_portfolio(bars, decisions, EngineParameters(**FREE | parameters))


def test_symbols_share_the_capital_by_priority():
    # 60 % of equity each: the first takes 6,000, the second the 4,000 that are left, the third nothing.
    bars = market(3, FLAT, FLAT, FLAT)
    orders = {symbol: {0: LONG | {"priority": float(place)}} for place, symbol in enumerate(bars)}
    result = together(bars, orders, size=0.6, **NO_LEVELS)
    assert dict(zip(result.trades.symbol, result.trades.quantity, strict=True)) == pytest.approx({"COIN2": 60, "COIN1": 40})
    assert result.refused["cash"] == 1
    assert result.exposure["gross"].tolist() == pytest.approx([0.0, 1.0, 1.0])


def test_ties_of_priority_go_by_the_order_of_symbols():
    result = together(market(3, FLAT, FLAT), {f"COIN{place}": {0: LONG} for place in range(3)}, size=0.2, max_positions=2)
    assert result.trades.symbol.tolist() == ["COIN0", "COIN1"]
    assert result.refused["max_positions"] == 1


def test_cash_set_free_at_an_open_is_there_at_that_open_and_inside_a_bar_at_the_next():
    bars = market(2, FLAT, FLAT, FLAT, FLAT)
    left_at_open = {"COIN0": {0: LONG, 1: {"exit_long": True}}, "COIN1": {1: LONG}}
    assert len(together(bars, left_at_open).trades) == 2
    bars["COIN0"].iloc[2] = [100, 100, 80, 90, 1e3]
    stopped_inside = {"COIN0": {0: LONG}, "COIN1": {1: LONG}}
    result = together(bars, stopped_inside)
    assert result.trades.symbol.tolist() == ["COIN0"] and result.refused["cash"] == 1


def test_a_symbol_without_a_bar_keeps_its_mark_and_waits():
    bars = market(2, FLAT, FLAT, (90, 90, 90, 90), (80, 80, 80, 80))
    bars["COIN0"] = bars["COIN0"].drop(bars["COIN0"].index[2])
    result = together(bars, {"COIN0": {0: LONG}}, **NO_LEVELS)
    assert result.equity.tolist() == pytest.approx([10_000, 10_000, 10_000, 8_000])


def test_long_and_short_are_told_apart_in_the_exposure():
    result = together(market(2, FLAT, FLAT, FLAT), {"COIN0": {0: LONG}, "COIN1": {0: SHORT}}, size=0.3, **NO_LEVELS)
    assert result.exposure.iloc[1].tolist() == pytest.approx([0.6, 0.0], abs=1e-9)
