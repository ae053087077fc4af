"""The loop of the engine: many symbols on one capital, one step per time of their common clock. Plain functions over arrays and
records, here and in `exits`, `fills` and `sizing`: numba compiles them on first use, and each also runs uncompiled with the
same results to the last bit. Checking arguments and making frames is done elsewhere. The rules in full: docs/backtest.md.

The order of events at one time, each for all symbols that have a bar there:
1. Funding due since the last bar, at the open. 2. Exits at the open: a gap beyond stop or target, what was ordered at a close,
a gap beyond the partial exit. 3. Entries at the open, by priority. 4. Limit entries that the bar reaches, by priority.
5. Exits that the bar reaches. 6. At the close: marks, moves of stops, new orders.

Cash that step 5 sets free is there at the next time at the earliest. A bar that cannot be traded (filled by the fill policy, or
without volume) has steps 1 and 6 only: a market entry meant for it is cancelled, for the price it was made for is gone; a limit
entry grows older; exits wait.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.backtest import exits, fills, sizing
from cryptai_pipelines.backtest.exits import (
    SIGNAL,
    TAKE_PROFIT,
    TIME_STOP,
    exits_by_finer_bars,
    exits_within,
    is_beyond,
    move_stop,
    on_tick,
    reason_at_open,
)
from cryptai_pipelines.backtest.fills import (
    FILLED,
    Bar,
    close_position,
    count_cash,
    equity_now,
    in_lots,
    open_position,
    value_of,
)

# Of records.ExitReason and records.Refusal; numba reads them as constants.
PARTIAL = 8
NOT_TRADABLE, EXPIRED, IN_POSITION, MAX_POSITIONS, COOLDOWN, SHORT = 0, 1, 2, 5, 6, 10
LONG_FLAG, SHORT_FLAG = 1, 2
AMBIGUOUS, TOLD_APART = 1, 2


class MarketArrays(NamedTuple):
    """What the kernel reads of the markets: the rows of all symbols one after the other, `starts[s]` to `starts[s + 1]` those
    of symbol s, ascending. Arrays are read-only and contiguous, so that there is one type to compile for.

    clock: the times at which any symbol has a bar, ascending, int64 ms. tradable: bool. sides: int8, 1 and -1 ask for an entry.
    leave: int8, LONG_FLAG and SHORT_FLAG order to close such a position; empty: never. orders: float64 of five columns, a row
    per row with a side (`order_starts`: the first of each symbol): stop, target, limit, volatility, priority; empty: none.
    finer_starts: int64, two columns per row: where the finer bars of a row begin and end (equal: none); empty: there are none.
    finer: float64, three rows: open, high, low. funding_*: times and rates by symbol.
    """

    clock: np.ndarray
    starts: np.ndarray
    ts: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    tradable: np.ndarray
    sides: np.ndarray
    leave: np.ndarray
    order_starts: np.ndarray
    orders: np.ndarray
    finer_starts: np.ndarray
    finer: np.ndarray
    funding_starts: np.ndarray
    funding_ts: np.ndarray
    funding_rate: np.ndarray


class Carried(NamedTuple):
    """What goes on from bar to bar, changed in place: one book, a position per symbol, counts of refused entries."""

    books: np.ndarray
    positions: np.ndarray
    refused: np.ndarray


class Written(NamedTuple):
    """What a run gives: equity per time; `ledger` as `LEDGER` has it, or no row at all; trades, of which `tally[0]` are filled
    in; `tally[1]`: bars judged ambiguous; `judged`: int8 per row, AMBIGUOUS, TOLD_APART by finer bars, or 0 for a row that by
    itself says all that the book asked of it."""

    equity: np.ndarray
    ledger: np.ndarray
    trades: np.ndarray
    tally: np.ndarray
    judged: np.ndarray


LEDGER = ("cash", "held", "gross", "net", "balance", "unrealised", "open_costs")
"""Columns of the ledger, at the close of every time: free cash, value of the positions, their notional without and with their
sign, start capital and pnl of the closed trades, gain of the open positions by price, their fees less the funding they
received. Equity is cash + held, and balance + unrealised - open_costs."""


def run_bars(
    market: MarketArrays,
    target_first: bool,
    parameters: np.ndarray,
    rules: np.ndarray,
    carried: Carried,
    written: Written,
) -> None:
    """Carry the book over all times of the clock. parameters: one `PARAMETERS_DTYPE` record; rules: one `RULES_DTYPE` record
    per symbol; target_first: an ambiguous bar counts as the gain, not as the stop."""
    book, positions, p = carried.books[0], carried.positions, parameters[0]
    symbols = positions.size
    cursors, orders = market.starts[:symbols].copy(), market.order_starts[:symbols].copy()
    funding = due_funding(market, positions)
    rows, queue = np.empty(symbols, np.int64), np.empty(symbols, np.int64)
    skips = symbols == 1 and market.leave.size + market.funding_ts.size + written.ledger.size == 0
    skips = skips and p["trailing_stop"] + p["break_even_at"] + p["time_stop_bars"] == 0.0
    t = 0
    while t < market.clock.size:
        if skips:
            t = skip_quiet(market, t, book, positions[0], orders, written.equity)
            cursors[0] = t
            if t == market.clock.size:
                break
        find_rows(market, market.clock[t], cursors, rows)
        fold_equity(book)
        if market.funding_ts.size > 0:
            pay_funding(market, rows, funding, book, positions)
        in_market = book["positions"]
        if in_market > 0:
            leave_at_open(market, rows, p, rules, book, positions, written)
        waiting = queue_entries(market, rows, carried, queue)
        if waiting > 0:
            enter(market, rows, queue[:waiting], p, rules, carried, target_first)
            in_market = max(in_market, book["positions"])
        if book["positions"] > 0:
            leave_within(market, rows, target_first, p, rules, book, positions, written)
        at_close(market, rows, orders, p, rules, carried)
        book["bars_in_market"] += 1 if in_market > 0 else 0
        book["last_equity"] = equity_now(book, positions)
        written.equity[t] = book["last_equity"]
        if written.ledger.shape[0] > 0:
            write_ledger(written.ledger[t], book, positions)
        t += 1
    finish(market, book, positions)


def due_funding(market: MarketArrays, positions: np.ndarray) -> np.ndarray:
    """Per symbol the first funding time after its last bar."""
    first = market.funding_starts[: positions.size].copy()
    for s in range(positions.size):
        end = market.funding_starts[s + 1]
        while positions[s]["bars"] > 0 and first[s] < end and market.funding_ts[first[s]] <= positions[s]["last_ts"]:
            first[s] += 1
    return first


def find_rows(market: MarketArrays, now: int, cursors: np.ndarray, rows: np.ndarray) -> None:
    """Write each symbol's row at the time `now`, -1 for none, and go past it."""
    for s in range(rows.size):
        rows[s] = -1
        if cursors[s] < market.starts[s + 1] and market.ts[cursors[s]] == now:
            rows[s] = cursors[s]
            cursors[s] += 1


def fold_equity(book: np.void) -> None:
    """Make `last_equity` part of the peak and the maximum drawdown (a share, at most 0)."""
    if book["last_equity"] > book["peak"]:
        book["peak"] = book["last_equity"]
    drawdown = book["last_equity"] / book["peak"] - 1.0
    if drawdown < book["max_drawdown"]:
        book["max_drawdown"] = drawdown


def skip_quiet(market: MarketArrays, t: int, book: np.void, position: np.void, orders: np.ndarray, equity: np.ndarray) -> int:
    """Of a single symbol, go over the bars on which nothing is ordered and nothing filled, just as the steps would; the first
    one that needs them."""
    if position["quantity"] == 0.0:
        if position["asked"] != 0 or position["cooling"] > 0:
            return t
        before = t
        while t < market.clock.size and market.sides[t] == 0:
            equity[t] = book["cash"]
            t += 1
        if t > before:
            fold_equity(book)
            book["last_equity"] = book["cash"]
        return t
    if position["leaving"] != 0:
        return t
    return skip_held(market, t, book, position, orders, equity)


def skip_held(market: MarketArrays, t: int, book: np.void, position: np.void, orders: np.ndarray, equity: np.ndarray) -> int:
    """`skip_quiet` while a position is open and no level is reached. Signals are ignored then."""
    is_long = position["side"] > 0
    gain = min(position["target"], position["partial"]) if is_long else max(position["target"], position["partial"])
    above, below = (gain, position["stop"]) if is_long else (position["stop"], gain)
    quantity, twice, cash = position["quantity"], 2.0 * position["entry_price"], book["cash"]
    lowest, highest = position["lowest"], position["highest"]
    last, peak, deepest = book["last_equity"], book["peak"], book["max_drawdown"]
    before = t
    while t < market.clock.size:
        high, low, open_, close = market.high[t], market.low[t], market.open[t], market.close[t]
        if market.tradable[t] and (high >= above or low <= below or open_ >= above or open_ <= below):
            break
        if last > peak:
            peak = last
        deepest = min(deepest, last / peak - 1.0)
        lowest, highest = min(lowest, low), max(highest, high)
        last = cash + (quantity * close if is_long else quantity * (twice - close))
        equity[t] = last
        orders[0] += market.sides[t] != 0
        t += 1
    if t > before:
        position["mark"] = market.close[t - 1]
        position["lowest"], position["highest"] = lowest, highest
        position["held"] += t - before
        book["bars_in_market"] += t - before
        book["last_equity"], book["peak"], book["max_drawdown"] = last, peak, deepest
    return t


def pay_funding(market: MarketArrays, rows: np.ndarray, due: np.ndarray, book: np.void, positions: np.ndarray) -> None:
    """Funding times up to the open: what is held there pays rate x notional at the open, or receives it when short."""
    paid = False
    for s in range(rows.size):
        i, position = rows[s], positions[s]
        while i >= 0 and due[s] < market.funding_starts[s + 1] and market.funding_ts[due[s]] <= market.ts[i]:
            if position["quantity"] > 0.0:
                notional = position["side"] * position["quantity"] * market.open[i]
                position["funding"] -= market.funding_rate[due[s]] * notional
                paid = True
            due[s] += 1
    if paid:
        count_cash(book, positions)


def leave_at_open(
    market: MarketArrays,
    rows: np.ndarray,
    p: np.void,
    rules: np.ndarray,
    book: np.void,
    positions: np.ndarray,
    written: Written,
) -> None:
    """Exits at the open, of all symbols."""
    for s in range(rows.size):
        i, position = rows[s], positions[s]
        if i < 0 or position["quantity"] == 0.0 or not market.tradable[i]:
            continue
        open_ = market.open[i]
        reason = reason_at_open(position, open_)
        if reason != 0:
            leave(market, i, s, open_, reason, False, p, rules[s], book, positions, written)
        elif is_beyond(position["side"], open_, position["partial"]):
            leave(market, i, s, open_, PARTIAL, False, p, rules[s], book, positions, written)


def leave_within(
    market: MarketArrays,
    rows: np.ndarray,
    target_first: bool,
    p: np.void,
    rules: np.ndarray,
    book: np.void,
    positions: np.ndarray,
    written: Written,
) -> None:
    """Exits at levels that the bars reach, of all symbols."""
    for s in range(rows.size):
        i, position = rows[s], positions[s]
        if i < 0 or position["quantity"] == 0.0 or not market.tradable[i]:
            continue
        partly, reason, ambiguous = exits_within(position, market.high[i], market.low[i], target_first)
        if ambiguous:
            written.judged[i] = TOLD_APART
        if ambiguous and market.finer_starts.size > 0 and market.finer_starts[i, 1] > market.finer_starts[i, 0]:
            within = market.finer[:, market.finer_starts[i, 0] : market.finer_starts[i, 1]]
            partly, reason, ambiguous = exits_by_finer_bars(
                position, market.high[i], market.low[i], within, target_first, partly, reason
            )
        if ambiguous:
            position["doubt"] = 1
            written.judged[i] = AMBIGUOUS
            written.tally[1] += 1
        if partly:
            leave(market, i, s, position["partial"], PARTIAL, ambiguous, p, rules[s], book, positions, written)
        if reason != 0 and position["quantity"] > 0.0:
            level = position["target"] if reason == TAKE_PROFIT else position["stop"]
            leave(market, i, s, level, reason, ambiguous, p, rules[s], book, positions, written)


def leave(
    market: MarketArrays,
    i: int,
    s: int,
    price: float,
    reason: int,
    ambiguous: bool,
    p: np.void,
    rule: np.void,
    book: np.void,
    positions: np.ndarray,
    written: Written,
) -> None:
    """Close the position of symbol s at `price` in row i, or of it what the bar's volume takes: the rest goes at the next open.
    Of a partial exit nothing is left to do."""
    position = positions[s]
    bar = Bar(market.ts[i], market.high[i] - market.low[i], market.volume[i])
    wanted = position["quantity"]
    if reason == PARTIAL:
        wanted = in_lots(wanted * p["partial_take_profit"], rule["lot"])
        position["partial"] = math.inf * position["side"]
    quantity = min(wanted, in_lots(p["volume_share"] * bar.volume, rule["lot"]))
    if reason != PARTIAL and quantity < wanted:
        position["leaving"] = reason
    if quantity > 0.0:
        trade = written.trades[written.tally[0]]
        doubtful = ambiguous or position["doubt"] == 1
        close_position(book, position, p, bar, price, quantity, reason, doubtful, trade)
        trade["symbol"] = s
        written.tally[0] += 1
        count_cash(book, positions)
        if position["quantity"] == 0.0:
            position["cooling"] = p["cooldown_bars"]


def queue_entries(market: MarketArrays, rows: np.ndarray, carried: Carried, queue: np.ndarray) -> int:
    """The symbols whose entries meet a tradable bar, by priority and then by place; how many. Those at the market that meet
    another bar are cancelled."""
    waiting = 0
    for s in range(rows.size):
        i, position = rows[s], carried.positions[s]
        if i < 0 or position["asked"] == 0:
            continue
        if market.tradable[i]:
            place = waiting
            while place > 0 and carried.positions[queue[place - 1]]["asked_priority"] < position["asked_priority"]:
                queue[place] = queue[place - 1]
                place -= 1
            queue[place] = s
            waiting += 1
        elif math.isnan(position["asked_limit"]):
            position["asked"] = 0
            carried.refused[NOT_TRADABLE] += 1
    return waiting


def enter(
    market: MarketArrays,
    rows: np.ndarray,
    queue: np.ndarray,
    p: np.void,
    rules: np.ndarray,
    carried: Carried,
    target_first: bool,
) -> None:
    """Entries at the open, then those that wait at a limit and are reached within the bar."""
    equity = equity_now(carried.books[0], carried.positions)
    for within in range(2):
        for s in queue:
            i, position = rows[s], carried.positions[s]
            side, limit = position["asked"], position["asked_limit"]
            if side == 0:
                continue
            price, rested = market.open[i], not math.isnan(limit) and position["asked_age"] > 0
            if not math.isnan(limit) and not is_beyond(-side, price, limit):
                if within == 0 or not is_beyond(-side, market.low[i] if side > 0 else market.high[i], limit):
                    continue
                price, rested = limit, True
            bar = Bar(market.ts[i], market.high[i] - market.low[i], market.volume[i])
            outcome = try_entry(carried, position, p, rules[s], bar, price, rested, equity)
            position["asked"] = 0
            if outcome == FILLED:
                position["inside"] = within
            else:
                carried.refused[outcome] += 1


def try_entry(
    carried: Carried, position: np.void, p: np.void, rule: np.void, bar: Bar, price: float, rested: bool, equity: float
) -> int:
    """`open_position`, unless the position before is still open, the symbol cools down or there are too many positions."""
    if position["quantity"] > 0.0:
        return IN_POSITION
    if position["cooling"] > 0:
        return COOLDOWN
    if p["max_positions"] > 0 and carried.books[0]["positions"] >= p["max_positions"]:
        return MAX_POSITIONS
    return open_position(carried.books[0], position, p, rule, bar, price, rested, equity)


def at_close(
    market: MarketArrays, rows: np.ndarray, orders: np.ndarray, p: np.void, rules: np.ndarray, carried: Carried
) -> None:
    """Marks, moves of stops and new orders, of all symbols."""
    for s in range(rows.size):
        i, position = rows[s], carried.positions[s]
        if i < 0:
            continue
        position["mark"] = market.close[i]
        flags = market.leave[i] if market.leave.size > 0 else 0
        if position["quantity"] > 0.0:
            hold(market, i, flags, p, rules[s], position)
        if position["asked"] != 0:
            wait(flags, p, position, carried.refused)
        if market.sides[i] != 0:
            order(market, i, orders[s], flags, p, rules[s], position, carried.refused)
            orders[s] += 1
        if position["cooling"] > 0 and position["quantity"] == 0.0:
            position["cooling"] -= 1


def hold(market: MarketArrays, i: int, flags: int, p: np.void, rule: np.void, position: np.void) -> None:
    """One more completed bar of an open position."""
    # Of a bar within which a limit order opened it only what lies against the position was surely seen.
    is_long, inside = position["side"] > 0, position["inside"] == 1
    low = market.close[i] if inside and not is_long else market.low[i]
    high = market.close[i] if inside and is_long else market.high[i]
    position["lowest"] = min(position["lowest"], low)
    position["highest"] = max(position["highest"], high)
    position["inside"] = 0
    position["held"] += 1
    move_stop(position, p, rule)
    if position["leaving"] == 0:
        if flags & (LONG_FLAG if is_long else SHORT_FLAG):
            position["leaving"] = SIGNAL
        elif p["time_stop_bars"] > 0 and position["held"] >= p["time_stop_bars"]:
            position["leaving"] = TIME_STOP


def wait(flags: int, p: np.void, position: np.void, refused: np.ndarray) -> None:
    """One more bar of an entry that waits at its limit: it may be called off, or too old."""
    position["asked_age"] += 1
    if flags & (LONG_FLAG if position["asked"] > 0 else SHORT_FLAG):
        position["asked"] = 0
    elif position["asked_age"] >= p["limit_expiry_bars"]:
        position["asked"] = 0
        refused[EXPIRED] += 1


def order(
    market: MarketArrays, i: int, k: int, flags: int, p: np.void, rule: np.void, position: np.void, refused: np.ndarray
) -> None:
    """An entry asked for at the close of row i, with the levels of row k of `orders`, in place of one that still waits. In a
    position it is ignored, unless the position is about to be closed and the other side is asked for."""
    side = market.sides[i]
    if flags & (LONG_FLAG if side > 0 else SHORT_FLAG):
        return
    if position["quantity"] > 0.0 and (position["leaving"] == 0 or position["side"] == side):
        return
    if position["quantity"] == 0.0 and position["cooling"] > 0:
        refused[COOLDOWN] += 1
        return
    if side < 0 and p["short"] == 0:
        refused[SHORT] += 1
        return
    position["asked"] = side
    position["asked_age"] = 0
    given = market.orders.shape[0] > 0
    position["asked_stop"] = market.orders[k, 0] if given else math.nan
    position["asked_target"] = market.orders[k, 1] if given else math.nan
    position["asked_limit"] = on_tick(market.orders[k, 2], rule["tick"], side) if given else math.nan
    position["asked_volatility"] = market.orders[k, 3] if given else math.nan
    position["asked_priority"] = market.orders[k, 4] if given else 0.0


def write_ledger(row: np.ndarray, book: np.void, positions: np.ndarray) -> None:
    """The columns of `LEDGER` at the close of one time."""
    row[:] = 0.0
    row[0] = book["cash"]
    row[4] = book["balance"]
    for s in range(positions.size):
        position = positions[s]
        if position["quantity"] > 0.0:
            notional = position["quantity"] * position["mark"]
            row[1] += value_of(position, position["mark"])
            row[2] += notional
            row[3] += position["side"] * notional
            row[5] += position["side"] * position["quantity"] * (position["mark"] - position["entry_price"])
            row[6] += position["entry_fee"] - position["funding"]


def finish(market: MarketArrays, book: np.void, positions: np.ndarray) -> None:
    """What book and positions keep of the bars themselves."""
    growth, seen = 0.0, 0
    for s in range(positions.size):
        position, first, end = positions[s], market.starts[s], market.starts[s + 1]
        if end > first:
            if position["bars"] == 0:
                position["first_open"] = market.open[first]
            position["bars"] += end - first
            position["last_ts"] = market.ts[end - 1]
            position["mark"] = market.close[end - 1]
            position["mark_range"] = market.high[end - 1] - market.low[end - 1]
            position["mark_volume"] = market.volume[end - 1]
        if position["bars"] > 0:
            growth += position["mark"] / position["first_open"]
            seen += 1
    if market.clock.size == 0:
        return
    if book["bars"] == 0:
        book["first_ts"] = market.clock[0]
    book["bars"] += market.clock.size
    book["last_ts"] = market.clock[-1]
    single = positions.size == 1
    book["first_open"] = positions[0]["first_open"] if single else 1.0
    book["last_close"] = positions[0]["mark"] if single else growth / seen


_PARTS = (
    (sizing, ("most_money", "loss_at_stop", "affordable")),
    (
        exits,
        ("is_beyond", "on_tick", "tighten", "set_levels", "move_stop", "reason_at_open", "exits_within", "exits_by_finer_bars"),
    ),
    (
        fills,
        ("slippage_share", "paid_price", "in_lots", "entry_price", "take", "open_position", "write_extremes", "count_trade")
        + ("close_position", "count_cash", "value_of", "equity_now"),
    ),
)
_STEPS = (due_funding, find_rows, fold_equity, skip_held, skip_quiet, pay_funding, leave, leave_at_open, leave_within)
_STEPS += (queue_entries, try_entry, enter, wait, order, hold, at_close, write_ledger, finish, run_bars)


@cache
def compiled() -> Callable[..., None]:
    """`run_bars` as machine code. The first call on a machine compiles it, later processes load it from numba's cache."""
    from numba import njit
    from numba.extending import register_jitable

    for module, names in _PARTS:
        for name in names:
            register_jitable(getattr(module, name))
    for step in _STEPS:
        register_jitable(step)
    # Numba's cache looks at the file of the compiled function alone. What a function closes over is part of the key, too.
    sources = hashlib.sha256(b"".join(Path(module.__file__).read_bytes() for module, _ in _PARTS)).hexdigest()

    def run(market, target_first, parameters, rules, carried, written):
        assert sources
        run_bars(market, target_first, parameters, rules, carried, written)

    return njit(cache=True)(run)
