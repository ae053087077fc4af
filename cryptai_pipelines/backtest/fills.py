"""Fills: at which price, with which costs and of which quantity, and what they do to book and position. Part of the kernel:
plain functions over records, see `kernel`. Which order fills when is decided there and in `exits`."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.backtest.exits import set_levels
from cryptai_pipelines.backtest.sizing import LEAST_SHARE, affordable, most_money

# Of records.Refusal; numba reads them as constants.
WRONG_SIDE, CASH, TOO_SMALL, NO_STOP, VOLATILITY, VOLUME = 3, 4, 7, 8, 9, 11
FILLED = -1


class Bar(NamedTuple):
    """The bar of a fill; range: high - low."""

    ts: int
    range: float
    volume: float


def slippage_share(p: np.void, bar: Bar, price: float, quantity: float) -> float:
    """By which share of the market price a fill is worse than it: basis points, half the spread, and the impact of the
    quantity by the square-root law."""
    share = p["slippage"] + p["slippage_range_share"] * bar.range / price
    if p["volume_impact"] > 0.0 and bar.volume > 0.0:
        share += p["volume_impact"] * math.sqrt(quantity / bar.volume)
    return share


def paid_price(p: np.void, bar: Bar, side: int, price: float, quantity: float) -> float:
    """The price of a fill that buys (`side` 1) or sells (-1), never below 0."""
    return max(price * (1.0 + side * slippage_share(p, bar, price, quantity)), 0.0)


def in_lots(quantity: float, lot: float) -> float:
    """The largest multiple of `lot` that is not above `quantity`; without a lot `quantity`."""
    if lot == 0.0 or not math.isfinite(quantity):
        return quantity
    lots = math.floor(quantity / lot)
    per_unit = np.rint(1.0 / lot)
    if per_unit >= 1.0 and abs(per_unit * lot - 1.0) < 1e-12:
        return lots / per_unit
    return lots * lot


def open_position(
    book: np.void, position: np.void, p: np.void, rule: np.void, bar: Bar, price: float, rested: bool, equity: float
) -> int:
    """Enter at the market `price` what was asked for; `FILLED` or why not. A limit order that `rested` pays the maker's fee and
    no slippage; one that meets the market at once pays what the market does, but no worse price than its limit."""
    side = position["asked"]
    if not set_levels(position, p, rule, price):
        return WRONG_SIDE
    money = most_money(position, p, equity, book["cash"])
    if math.isnan(money):
        return VOLATILITY
    if not money > LEAST_SHARE * abs(equity):
        return CASH
    fee_rate = p["maker_fee_rate"] if rested else p["fee_rate"]
    paid = price if rested else entry_price(position, p, bar, price, 0.0)
    quantity = affordable(position, p, equity, money, paid, fee_rate)
    if math.isnan(quantity):
        return NO_STOP
    quantity = min(quantity, p["volume_share"] * bar.volume)
    if not rested and p["volume_impact"] > 0.0:
        # The impact is that of the quantity wanted before it, which is at least the one that is filled.
        paid = entry_price(position, p, bar, price, quantity)
        if paid <= 0.0:
            return VOLUME
        quantity = min(quantity, affordable(position, p, equity, money, paid, fee_rate))
    quantity = in_lots(quantity, rule["lot"])
    if not quantity > 0.0 or quantity * paid < rule["min_notional"]:
        return TOO_SMALL
    if side < 0:
        # Twice the entry is where a short has lost what it was given.
        position["stop"] = min(position["stop"], 2.0 * price)
    take(book, position, bar.ts, price, paid, quantity, fee_rate)
    return FILLED


def entry_price(position: np.void, p: np.void, bar: Bar, price: float, quantity: float) -> float:
    """What an entry at the market pays, or one at a limit that meets the market at once."""
    side, limit = position["asked"], position["asked_limit"]
    paid = paid_price(p, bar, side, price, quantity)
    if math.isnan(limit):
        return paid
    return min(paid, limit) if side > 0 else max(paid, limit)


def take(book: np.void, position: np.void, ts: int, price: float, paid: float, quantity: float, fee_rate: float) -> None:
    """Write the new position and take its cost, for a short its margin of the same size, and the fee from the cash."""
    position["side"] = position["asked"]
    position["quantity"] = quantity
    position["entry_ts"] = ts
    position["entry_price"] = paid
    position["entry_market"] = price
    position["entry_fee"] = quantity * paid * fee_rate
    position["lowest"] = price
    position["highest"] = price
    position["mark"] = price
    position["held"] = 0
    position["leaving"] = 0
    position["inside"] = 0
    position["doubt"] = 0
    position["funding"] = 0.0
    book["cash"] = book["cash"] - quantity * paid - position["entry_fee"]
    book["positions"] += 1


def close_position(
    book: np.void,
    position: np.void,
    p: np.void,
    bar: Bar,
    price: float,
    quantity: float,
    reason: int,
    ambiguous: bool,
    trade: np.void,
) -> None:
    """Leave with `quantity` at the market `price` made worse by the slippage; write `trade` and the totals of the book. The
    free cash is counted anew by `count_cash`."""
    side, entry = position["side"], position["entry_price"]
    got = paid_price(p, bar, -side, price, quantity)
    entry_fee, funding = position["entry_fee"], position["funding"]
    if quantity < position["quantity"]:
        entry_fee *= quantity / position["quantity"]
        funding *= quantity / position["quantity"]
    cost = quantity * entry
    fees = entry_fee + quantity * got * p["fee_rate"]
    gross = quantity * got - cost if side > 0 else cost - quantity * got
    pnl = gross - fees + funding
    position["lowest"] = min(position["lowest"], price)
    position["highest"] = max(position["highest"], price)
    trade["entry_ts"] = position["entry_ts"]
    trade["entry_price"] = entry
    trade["exit_ts"] = bar.ts
    trade["exit_price"] = got
    trade["exit_reason"] = reason
    trade["quantity"] = quantity
    trade["fees"] = fees
    trade["pnl"] = pnl
    trade["return_pct"] = pnl / cost
    trade["ambiguous"] = 1 if ambiguous else 0
    trade["side"] = side
    trade["funding"] = funding
    trade["slippage_cost"] = quantity * (abs(entry - position["entry_market"]) + abs(price - got))
    write_extremes(trade, position, entry, side)
    position["quantity"] -= quantity
    position["entry_fee"] -= entry_fee
    position["funding"] -= funding
    book["balance"] += pnl
    book["positions"] -= 1 if position["quantity"] == 0.0 else 0
    count_trade(book, fees, pnl, ambiguous)


def write_extremes(trade: np.void, position: np.void, entry: float, side: int) -> None:
    """How far the market went against and for the position, as shares of what was paid."""
    below, above = (entry - position["lowest"]) / entry, (position["highest"] - entry) / entry
    trade["max_adverse"] = max(below if side > 0 else above, 0.0)
    trade["max_favourable"] = max(above if side > 0 else below, 0.0)


def count_trade(book: np.void, fees: float, pnl: float, ambiguous: bool) -> None:
    """The totals of the book after one more trade."""
    book["fees"] += fees
    book["trades"] += 1
    book["ambiguous"] += 1 if ambiguous else 0
    if pnl > 0.0:
        book["wins"] += 1
        book["gross_profit"] += pnl
    elif pnl < 0.0:
        book["losses"] += 1
        book["gross_loss"] += pnl


def count_cash(book: np.void, positions: np.ndarray) -> None:
    """The free cash from the balance and what the open positions have taken: no error of rounding stays in it."""
    cash = book["balance"]
    if book["positions"] > 0:
        for s in range(positions.size):
            position = positions[s]
            if position["quantity"] > 0.0:
                cash = cash - position["quantity"] * position["entry_price"] - position["entry_fee"] + position["funding"]
    book["cash"] = cash


def value_of(position: np.void, price: float) -> float:
    """What a position is worth at the market `price`: of a short its margin and what it has gained."""
    if position["side"] > 0:
        return position["quantity"] * price
    return position["quantity"] * (2.0 * position["entry_price"] - price)


def equity_now(book: np.void, positions: np.ndarray) -> float:
    """Free cash and all positions at their last closes."""
    equity = book["cash"]
    if book["positions"] > 0:
        for s in range(positions.size):
            if positions[s]["quantity"] > 0.0:
                equity += value_of(positions[s], positions[s]["mark"])
    return equity
