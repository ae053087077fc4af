"""Many pairs of target and stop over the same bars and long orders: the rules of a fill as in `kernel`, from position to
position instead of from bar to bar. Plain functions over arrays; numba compiles them on first use. Arguments are checked in
`exit_grid`.

A position depends on the bars only where it is entered and where it ends. `extremes` finds the end, so the cost of a pair is
that of its positions, not of its bars, and results equal those of the bar-by-bar engine to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.backtest import exits, extremes, fills
from cryptai_pipelines.backtest.exits import on_tick
from cryptai_pipelines.backtest.extremes import Extremes, deepest_fall, first_touch
from cryptai_pipelines.backtest.fills import in_lots

_TAKE_PROFIT, _STOP_LOSS, _END, _SIGNAL = 1, 2, 3, 7  # of records.ExitReason; numba reads them as constants

TOTALS_DTYPE = np.dtype(
    [
        ("cash", "<f8"),
        ("peak", "<f8"),
        ("max_drawdown", "<f8"),
        ("gross_profit", "<f8"),
        ("gross_loss", "<f8"),
        ("fees", "<f8"),
        ("trades", "<i8"),
        ("wins", "<i8"),
        ("losses", "<i8"),
        ("ambiguous", "<i8"),
        ("bars_in_market", "<i8"),
    ]
)
"""What one pair has come to, all positions closed. Equity counts in `peak` and `max_drawdown` at the close of every bar."""

POSITION_DTYPE = np.dtype(
    [
        ("entry_ts", "<i8"),
        ("entry_price", "<f8"),
        ("exit_ts", "<i8"),
        ("exit_price", "<f8"),
        ("exit_reason", "<i8"),
        ("quantity", "<f8"),
        ("fees", "<f8"),
        ("pnl", "<f8"),
        ("return_pct", "<f8"),
        ("ambiguous", "<i8"),
    ]
)
"""One position of a pair, as in `records.trades_frame`; `exit_reason` is a number of `records.ExitReason`."""


class Market(NamedTuple):
    """What the pairs share. ts int64, prices float64 per bar; `touched`: extremes of open, low and high of the bars that can
    be traded; `closes`: extremes of the closes; `next_entry`: int64 per bar and one more, the first bar from there on at whose
    open a signal can be filled, the number of bars where none is left; `day_ends`: the last bar of every UTC day.

    Of no length where nothing of the kind is asked for: `leave_at`, int64 per bar, the bar at whose open a position that is
    entered there has to be left, the number of bars for never; `stop_levels`, `target_levels`, float64 per bar, levels of a
    position entered there, NaN for none."""

    ts: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    touched: Extremes
    closes: Extremes
    next_entry: np.ndarray
    day_ends: np.ndarray
    leave_at: np.ndarray
    stop_levels: np.ndarray
    target_levels: np.ndarray


class Charges(NamedTuple):
    """Costs, capital and the rules of the market, the same for every pair; slippage is a share, not basis points; a rule of 0
    is none."""

    fee_rate: float
    slippage: float
    initial_capital: float
    size: float
    tick: float
    lot: float
    min_notional: float


def run_pairs(
    market: Market,
    charges: Charges,
    take_profits: np.ndarray,
    stop_losses: np.ndarray,
    target_first: bool,
    totals: np.ndarray,
    day_values: np.ndarray,
    positions: np.ndarray,
) -> None:
    """Write a `TOTALS_DTYPE` record and a row of equity at the end of each day (float64; of no length: not wanted) per pair.

    positions: of no length, or for a single pair as many `POSITION_DTYPE` records as there are entries, to be written."""
    for pair in range(take_profits.size):
        days = day_values[pair] if day_values.shape[0] > 0 else day_values.ravel()
        run_pair(market, charges, take_profits[pair], stop_losses[pair], target_first, totals[pair], days, positions)


def run_pair(
    market: Market,
    charges: Charges,
    take_profit: float,
    stop_loss: float,
    target_first: bool,
    total: np.void,
    day_values: np.ndarray,
    positions: np.ndarray,
) -> None:
    """One pair: its totals, its equity per day, its positions."""
    bars, day = market.open.size, 0
    cash = peak = charges.initial_capital
    worst = gross_profit = gross_loss = fees_paid = 0.0
    trades = wins = losses = ambiguities = in_market = 0
    entered = market.next_entry[0]
    while entered < bars:
        stop, target, sound = levels_of(market, charges, entered, take_profit, stop_loss)
        paid, quantity, entry_fee = bought(charges, cash, market.open[entered])
        # Without a quantity: less than a lot, or ruined beyond what a float can hold.
        if not sound or quantity == 0.0 or quantity * paid < charges.min_notional:
            entered = market.next_entry[entered + 1]
            continue
        left, reason, exit_price, ambiguous = exit_of(market, entered, stop, target, target_first)
        held = cash - quantity * paid - entry_fee
        day = fill_days(market, day_values, day, entered, cash, 0.0)
        day = fill_days(market, day_values, day, left, held, quantity)
        peak, worst = deepest_fall(market.closes, entered, left, held, quantity, peak, worst)
        got, fees, pnl = sold(charges, quantity, paid, entry_fee, exit_price)
        cash = cash + pnl
        peak = max(peak, cash)
        worst = min(worst, cash / peak - 1.0)
        if positions.size > 0:
            position = positions[trades]
            position["entry_ts"], position["entry_price"] = market.ts[entered], paid
            position["exit_ts"], position["exit_price"], position["exit_reason"] = market.ts[left], got, reason
            position["quantity"], position["fees"], position["pnl"] = quantity, fees, pnl
            position["return_pct"], position["ambiguous"] = pnl / (quantity * paid), 1 if ambiguous else 0
        trades += 1
        in_market += left - entered + 1
        ambiguities += 1 if ambiguous else 0
        fees_paid += fees
        if pnl > 0.0:
            wins += 1
            gross_profit += pnl
        elif pnl < 0.0:
            losses += 1
            gross_loss += pnl
        entered = market.next_entry[left + 1]
    fill_days(market, day_values, day, bars, cash, 0.0)
    total["cash"], total["peak"], total["max_drawdown"] = cash, peak, worst
    total["gross_profit"], total["gross_loss"], total["fees"] = gross_profit, gross_loss, fees_paid
    total["trades"], total["wins"], total["losses"] = trades, wins, losses
    total["ambiguous"], total["bars_in_market"] = ambiguities, in_market


def bought(charges: Charges, cash: float, price: float) -> tuple[float, float, float]:
    """Price paid, quantity and fee of a position for a share of `cash`, entered at the market `price`."""
    paid = price * (1.0 + charges.slippage)
    quantity = in_lots(charges.size * cash / (paid * (1.0 + charges.fee_rate)), charges.lot)
    return paid, quantity, quantity * paid * charges.fee_rate


def sold(charges: Charges, quantity: float, paid: float, entry_fee: float, price: float) -> tuple[float, float, float]:
    """Price got, fees of both sides and profit of a position that is closed at the market `price`."""
    got = price * (1.0 - charges.slippage)
    cost = quantity * paid
    fees = entry_fee + quantity * got * charges.fee_rate
    return got, fees, quantity * got - cost - fees


def levels_of(
    market: Market, charges: Charges, entered: int, take_profit: float, stop_loss: float
) -> tuple[float, float, bool]:
    """Stop and target of a position entered at the open of a bar, of share and level the nearer; and whether both levels are
    on their side of that price."""
    price = market.open[entered]
    stop, target, sound = price * (1.0 - stop_loss), price * (1.0 + take_profit), True
    # What is compared with NaN is false, which leaves the share.
    if market.stop_levels.size > 0:
        level = market.stop_levels[entered]
        sound = not level >= price
        stop = level if level > stop else stop
    if market.target_levels.size > 0:
        level = market.target_levels[entered]
        sound = sound and not level <= price
        target = level if level < target else target
    if charges.tick > 0.0:
        stop, target = on_tick(stop, charges.tick, -1), on_tick(target, charges.tick, -1)
        sound = sound and target > price
    return stop, target, sound


def exit_of(market: Market, entered: int, stop: float, target: float, target_first: bool) -> tuple[int, int, float, bool]:
    """Bar, reason, market price and ambiguity of the exit of a position."""
    bars = market.open.size
    left = first_touch(market.touched, entered, stop, target)
    ordered = market.leave_at[entered] if market.leave_at.size > 0 else bars
    if ordered <= left and ordered < bars and stop < market.open[ordered] < target:
        return ordered, _SIGNAL, market.open[ordered], False
    if left == bars:
        return bars - 1, _END, market.close[bars - 1], False
    open_ = market.open[left]
    if open_ <= stop:
        return left, _STOP_LOSS, open_, False
    if open_ >= target:
        return left, _TAKE_PROFIT, open_, False
    stopped, reached = market.low[left] <= stop, market.high[left] >= target
    if stopped and not (reached and target_first):
        return left, _STOP_LOSS, stop, reached
    return left, _TAKE_PROFIT, target, stopped


def fill_days(market: Market, values: np.ndarray, day: int, before: int, base: float, quantity: float) -> int:
    """Equity `base + quantity * close` of the days from number `day` on that end before the bar `before`; the next number."""
    while day < values.size and market.day_ends[day] < before:
        values[day] = base + quantity * market.close[market.day_ends[day]]
        day += 1
    return day


@cache
def compiled() -> Callable[..., None]:
    """`run_pairs` as machine code that lets other threads run. The first call on a machine compiles it."""
    from numba import njit
    from numba.extending import register_jitable

    for function in (
        on_tick,
        in_lots,
        first_touch,
        deepest_fall,
        levels_of,
        exit_of,
        bought,
        sold,
        fill_days,
        run_pair,
        run_pairs,
    ):
        register_jitable(function)
    # Numba's cache looks at the file of the compiled function alone. What a function closes over is part of the key, too.
    parts = (extremes, exits, fills)
    source = hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module in parts)).hexdigest()

    def run(market, charges, take_profits, stop_losses, target_first, totals, day_values, positions):
        assert source
        run_pairs(market, charges, take_profits, stop_losses, target_first, totals, day_values, positions)

    return njit(cache=True, nogil=True)(run)
