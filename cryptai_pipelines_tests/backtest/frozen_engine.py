"""The first engine, kept as it was: one symbol, one long position, a target and a stop. Later engines must give its numbers to
the last bit where nothing else is asked for. Plain Python over plain floats; do not mend it."""

from __future__ import annotations

import numpy as np
import pandas as pd

_TAKE_PROFIT, _STOP_LOSS, _END = 1, 2, 3
_REASONS = {_TAKE_PROFIT: "take_profit", _STOP_LOSS: "stop_loss", _END: "end"}


def simulate_frozen(
    bars: pd.DataFrame, entries: pd.Series, arguments: dict[str, float], *, target_first: bool = False
) -> tuple[pd.DataFrame, np.ndarray]:
    """Trades and equity per bar before the last position is closed; `arguments` are those of `simulate`."""
    charged = {**arguments, "slippage": arguments["slippage_bps"] * 1e-4}
    book = {"cash": arguments["initial_capital"], "quantity": 0.0, "pending": 0}
    tradable = (bars["volume"] > 0) & ~bars["is_filled"]
    trades, equity = [], []
    rows = bars[["open", "high", "low", "close"]].to_numpy().tolist()
    for ts, (open_, high, low, close), can_trade, entry in zip(bars.index, rows, tradable, entries, strict=True):
        if book["pending"] == 1 and can_trade:
            open_position(book, charged, ts, open_)
        book["pending"] = 0
        if book["quantity"] > 0.0 and can_trade:
            reason, price, ambiguous = exit_of(book, open_, high, low, target_first)
            if reason != 0:
                trades.append(close_position(book, charged, ts, price, reason, ambiguous))
        if entry and book["quantity"] == 0.0:
            book["pending"] = 1
        equity.append(book["cash"] + book["quantity"] * close)
    if book["quantity"] > 0.0:
        trades.append(close_position(book, charged, ts, close, _END, False))
    return pd.DataFrame(trades), np.array(equity)


def open_position(book: dict, charged: dict, ts: object, price: float) -> None:
    paid = price * (1.0 + charged["slippage"])
    book["quantity"] = charged["size"] * book["cash"] / (paid * (1.0 + charged["fee_rate"]))
    book["entry_price"] = paid
    book["entry_fee"] = book["quantity"] * paid * charged["fee_rate"]
    book["entry_ts"] = ts
    book["stop"] = price * (1.0 - charged["stop_loss"])
    book["target"] = price * (1.0 + charged["take_profit"])
    book["cash_before"] = book["cash"]
    book["cash"] = book["cash"] - book["quantity"] * paid - book["entry_fee"]


def exit_of(book: dict, open_: float, high: float, low: float, target_first: bool) -> tuple[int, float, bool]:
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


def close_position(book: dict, charged: dict, ts: object, price: float, reason: int, ambiguous: bool) -> dict:
    got = price * (1.0 - charged["slippage"])
    cost = book["quantity"] * book["entry_price"]
    fees = book["entry_fee"] + book["quantity"] * got * charged["fee_rate"]
    pnl = book["quantity"] * got - cost - fees
    trade = {
        "entry_ts": book["entry_ts"],
        "entry_price": book["entry_price"],
        "exit_ts": ts,
        "exit_price": got,
        "exit_reason": _REASONS[reason],
        "quantity": book["quantity"],
        "fees": fees,
        "pnl": pnl,
        "return_pct": pnl / cost,
        "ambiguous": ambiguous,
    }
    book["cash"] = book["cash_before"] + pnl
    book["quantity"] = 0.0
    return trade
