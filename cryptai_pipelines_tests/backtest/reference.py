"""A second engine, written for reading: one bar at a time, one dict at a time, from the documented rules of a fill. It shares
no code with the first, and is what the first is compared with."""

from __future__ import annotations

import pandas as pd


def simulate_slowly(
    bars: pd.DataFrame,
    entries: pd.Series,
    take_profit: float,
    stop_loss: float,
    fee_rate: float,
    slippage_bps: float,
    initial_capital: float,
    size: float,
    both_means: str = "stop_loss",
) -> tuple[list[dict], list[float]]:
    """Trades as dicts and equity per bar; `both_means` says what a bar that touches both levels counts as."""
    slip = slippage_bps / 10_000
    rows = bars.reset_index().to_dict("records")
    signals = list(entries)
    equity: list[float] = []
    trades: list[dict] = []
    money = initial_capital
    position = None
    asked = False
    for number, row in enumerate(rows):
        can_trade = row["volume"] > 0 and not row.get("is_filled", False)
        bought_now = False
        if asked and can_trade:
            price = row["open"] * (1 + slip)
            amount = size * money / (price * (1 + fee_rate))
            position = {
                "entry_ts": row["ts"],
                "entry_price": price,
                "quantity": amount,
                "stop": row["open"] * (1 - stop_loss),
                "target": row["open"] * (1 + take_profit),
            }
            bought_now = True
        sold = None
        if position is not None and can_trade:
            sold = find_exit(row, position, bought_now, both_means)
        if position is not None and sold is None and number == len(rows) - 1:
            sold = ("end", row["close"], False)
        if sold is not None:
            trade = close(position, row["ts"], *sold, fee_rate=fee_rate, slip=slip)
            trades.append(trade)
            money += trade["pnl"]
            position = None
        if position is None:
            equity.append(money)
        else:
            paid = position["quantity"] * position["entry_price"] * (1 + fee_rate)
            equity.append(money - paid + position["quantity"] * row["close"])
        asked = signals[number] and position is None
    return trades, equity


def find_exit(row: dict, position: dict, bought_now: bool, both_means: str) -> tuple[str, float, bool] | None:
    if not bought_now:
        if row["open"] <= position["stop"]:
            return "stop_loss", row["open"], False
        if row["open"] >= position["target"]:
            return "take_profit", row["open"], False
    touched = []
    if row["low"] <= position["stop"]:
        touched.append(("stop_loss", position["stop"]))
    if row["high"] >= position["target"]:
        touched.append(("take_profit", position["target"]))
    if len(touched) == 2:
        return both_means, dict(touched)[both_means], True
    if touched:
        return touched[0][0], touched[0][1], False
    return None


def close(position: dict, ts: object, reason: str, price: float, both: bool, *, fee_rate: float, slip: float) -> dict:
    got = price * (1 - slip)
    amount = position["quantity"]
    fees = amount * position["entry_price"] * fee_rate + amount * got * fee_rate
    pnl = amount * (got - position["entry_price"]) - fees
    return {
        "entry_ts": position["entry_ts"],
        "entry_price": position["entry_price"],
        "exit_ts": ts,
        "exit_price": got,
        "exit_reason": reason,
        "quantity": amount,
        "fees": fees,
        "pnl": pnl,
        "return_pct": pnl / (amount * position["entry_price"]),
        "ambiguous": both,
    }


def worst_drawdown(values: list[float], start: float) -> float:
    """Smallest value over the highest before it, minus 1, the start included."""
    peak, worst = start, 0.0
    for value in values:
        peak = max(peak, value)
        worst = min(worst, value / peak - 1)
    return worst
