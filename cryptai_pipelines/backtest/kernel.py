"""The bar-by-bar arithmetic of the engine. Plain functions over arrays and records: numba compiles them on first use, and each
also runs uncompiled with the same results to the last bit. Checking arguments and making frames is done elsewhere.

Rules of a fill:
- A signal known at the close of a bar buys at the open of the next existing bar. When that bar cannot be traded (filled by
  the fill policy, or without volume) the order is cancelled: the price it was made for is gone.
- Stop and target are levels of the market price, set from the open at which the position was entered. Costs never move
  them, so higher costs never change which bars are touched.
- From the bar after entry, an open at or beyond a level fills at that open. Otherwise a low at or below the stop, or a high
  at or above the target, fills at the level; on the entry bar too. A bar that touches both is ambiguous and counts as the
  stop, or as the target in the optimistic book.
- On a bar that cannot be traded nothing is filled. The next one that can is judged by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

_TAKE_PROFIT, _STOP_LOSS = 1, 2  # of records.ExitReason; numba reads them as constants


def run_bars(
    ts: np.ndarray,
    open_: np.ndarray,
    high: np.ndarray,
    low: np.ndarray,
    close: np.ndarray,
    tradable: np.ndarray,
    entries: np.ndarray,
    target_first: bool,
    parameters: np.ndarray,
    books: np.ndarray,
    equity: np.ndarray,
    trades: np.ndarray,
) -> int:
    """Carry the one record of `books` over all bars, write `equity` per bar and closed `trades`; the number of trades.

    ts: int64; prices: float64; tradable, entries: bool; all of one length, as is `equity` (float64, written).
    parameters, books: one record each (`PARAMETERS_DTYPE`, `BOOK_DTYPE`); `trades`: at least entries + 1 records.
    """
    book = books[0]
    charged = parameters[0]
    closed = 0
    for i in range(ts.size):
        fold_equity(book)
        if book["pending"] == 1 and tradable[i]:
            open_position(book, charged, ts[i], open_[i])
        book["pending"] = 0
        if book["quantity"] > 0.0:
            book["bars_in_market"] += 1
            if tradable[i]:
                reason, price, ambiguous = exit_of(book, open_[i], high[i], low[i], target_first)
                if reason != 0:
                    close_position(book, charged, ts[i], price, reason, ambiguous, trades[closed])
                    closed += 1
        if entries[i] and book["quantity"] == 0.0:
            book["pending"] = 1
        book["last_equity"] = book["cash"] + book["quantity"] * close[i]
        equity[i] = book["last_equity"]
    if ts.size > 0:
        if book["bars"] == 0:
            book["first_ts"] = ts[0]
            book["first_open"] = open_[0]
        book["bars"] += ts.size
        book["last_ts"] = ts[-1]
        book["last_close"] = close[-1]
    return closed


def fold_equity(book: np.void) -> None:
    """Make `last_equity` part of the peak and the maximum drawdown (a share, at most 0)."""
    if book["last_equity"] > book["peak"]:
        book["peak"] = book["last_equity"]
    drawdown = book["last_equity"] / book["peak"] - 1.0
    if drawdown < book["max_drawdown"]:
        book["max_drawdown"] = drawdown


def open_position(book: np.void, charged: np.void, ts: int, price: float) -> None:
    """Buy for a share of the cash, fee included, at the market `price` made worse by the slippage."""
    paid = price * (1.0 + charged["slippage"])
    book["quantity"] = charged["size"] * book["cash"] / (paid * (1.0 + charged["fee_rate"]))
    book["entry_price"] = paid
    book["entry_fee"] = book["quantity"] * paid * charged["fee_rate"]
    book["entry_ts"] = ts
    book["stop"] = price * (1.0 - charged["stop_loss"])
    book["target"] = price * (1.0 + charged["take_profit"])
    book["cash_before"] = book["cash"]
    book["cash"] = book["cash"] - book["quantity"] * paid - book["entry_fee"]


def exit_of(book: np.void, open_: float, high: float, low: float, target_first: bool) -> tuple[int, float, bool]:
    """Reason (0: none), market price and ambiguity of the exit within one bar."""
    # On the bar of entry neither holds: both levels are set apart from this very open.
    if open_ <= book["stop"]:
        return _STOP_LOSS, open_, False
    if open_ >= book["target"]:
        return _TAKE_PROFIT, open_, False
    stopped = low <= book["stop"]
    reached = high >= book["target"]
    if stopped and not (reached and target_first):
        return _STOP_LOSS, book["stop"], reached
    if reached:
        return _TAKE_PROFIT, book["target"], stopped
    return 0, 0.0, False


def close_position(
    book: np.void, charged: np.void, ts: int, price: float, reason: int, ambiguous: bool, trade: np.void
) -> None:
    """Sell everything at the market `price` made worse by the slippage; write `trade` and the totals of the book."""
    got = price * (1.0 - charged["slippage"])
    cost = book["quantity"] * book["entry_price"]
    fees = book["entry_fee"] + book["quantity"] * got * charged["fee_rate"]
    pnl = book["quantity"] * got - cost - fees
    trade["entry_ts"] = book["entry_ts"]
    trade["entry_price"] = book["entry_price"]
    trade["exit_ts"] = ts
    trade["exit_price"] = got
    trade["exit_reason"] = reason
    trade["quantity"] = book["quantity"]
    trade["fees"] = fees
    trade["pnl"] = pnl
    trade["return_pct"] = pnl / cost
    trade["ambiguous"] = 1 if ambiguous else 0
    book["cash"] = book["cash_before"] + pnl
    book["quantity"] = 0.0
    book["fees"] += fees
    book["trades"] += 1
    book["ambiguous"] += trade["ambiguous"]
    if pnl > 0.0:
        book["wins"] += 1
        book["gross_profit"] += pnl
    elif pnl < 0.0:
        book["losses"] += 1
        book["gross_loss"] += pnl


@cache
def compiled() -> Callable[..., int]:
    """`run_bars` as machine code. The first call on a machine compiles it, later processes load it from numba's cache."""
    from numba import njit
    from numba.extending import register_jitable

    for function in (fold_equity, open_position, exit_of, close_position):
        register_jitable(function)
    return njit(cache=True)(run_bars)
