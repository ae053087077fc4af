"""Equity told from trades and closes alone. It knows nothing of the engine, so that the two can be checked on each other."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms


def equity_at_closes(trades: pd.DataFrame, closes: pd.Series, initial_capital: float, fee_rate: float) -> pd.Series:
    """Equity at the close of each bar of `closes` (index UTC open times, ascending): float64, same index.

    trades: one position at a time, in order of entry, all from the start of the history on; columns entry_ts, exit_ts,
    entry_price, quantity, pnl and is_open. A closed trade counts with its pnl from the close of its exit bar on; one that is
    held counts at the market price less the fee of its entry, and `is_open` is held to the end whatever its exit columns say.
    """
    ts = index_ms(closes.index)
    closed = trades[~trades["is_open"]]
    realised = np.concatenate(([0.0], np.cumsum(closed["pnl"].to_numpy(dtype="float64"))))
    equity = initial_capital + realised[np.searchsorted(_ms(closed["exit_ts"]), ts, side="right")]
    if not len(trades):
        return pd.Series(equity, index=closes.index)
    exits = np.where(trades["is_open"].to_numpy(dtype=bool), np.iinfo(np.int64).max, _ms(trades["exit_ts"]))
    last = np.searchsorted(_ms(trades["entry_ts"]), ts, side="right") - 1
    held = (last >= 0) & (ts < exits[last])
    position = last[held]
    quantity = trades["quantity"].to_numpy(dtype="float64")[position]
    paid = trades["entry_price"].to_numpy(dtype="float64")[position]
    equity[held] += quantity * (closes.to_numpy(dtype="float64")[held] - paid) - fee_rate * quantity * paid
    return pd.Series(equity, index=closes.index)


def _ms(times: pd.Series) -> np.ndarray:
    return index_ms(pd.DatetimeIndex(times))
