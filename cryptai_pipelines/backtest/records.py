"""The records of the engine: the book that it carries from bar to bar, and its trades. Their bytes are stored and hashed, so
every dtype is little-endian and unpadded. The arithmetic on them is in `kernel`."""

from __future__ import annotations

import enum

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import ts_index

BOOK_DTYPE = np.dtype(
    [
        ("cash", "<f8"),  # outside the position
        ("cash_before", "<f8"),  # at the entry of the open position, before it was paid
        ("quantity", "<f8"),  # of the open position; 0 without one
        ("entry_price", "<f8"),  # paid, slippage included
        ("entry_fee", "<f8"),
        ("stop", "<f8"),  # levels of the market price
        ("target", "<f8"),
        ("last_equity", "<f8"),  # at the close of the last bar, not yet part of peak and max_drawdown
        ("peak", "<f8"),
        ("max_drawdown", "<f8"),
        ("gross_profit", "<f8"),
        ("gross_loss", "<f8"),
        ("fees", "<f8"),
        ("first_open", "<f8"),
        ("last_close", "<f8"),
        ("entry_ts", "<i8"),
        ("first_ts", "<i8"),
        ("last_ts", "<i8"),
        ("pending", "<i8"),  # 1 when the last bar asked for an entry at the next open
        ("bars", "<i8"),
        ("bars_in_market", "<i8"),
        ("trades", "<i8"),
        ("wins", "<i8"),
        ("losses", "<i8"),
        ("ambiguous", "<i8"),
    ]
)

TRADE_DTYPE = np.dtype(
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


class ExitReason(enum.IntEnum):
    """Why a position was closed. The numbers are part of the fingerprint of trades."""

    TAKE_PROFIT = 1
    STOP_LOSS = 2
    END = 3

    @property
    def code(self) -> str:
        """As written in tables: `take_profit`, `stop_loss` or `end`."""
        return self.name.lower()


def trades_frame(trades: np.ndarray) -> pd.DataFrame:
    """`TRADE_DTYPE` records as a frame, one row per trade in order of entry.

    entry_ts, exit_ts: open time of the bar of the fill, datetime64[ms, UTC]. Prices include slippage. quantity: in the base
    currency. fees (both sides) and pnl (after fees): in the quote currency. return_pct: pnl over quantity x entry price, a
    share (0.05 is 5 %). exit_reason: take_profit, stop_loss or end. ambiguous: bool.
    """
    frame = pd.DataFrame({name: trades[name] for name in TRADE_DTYPE.names})
    for name in ("entry_ts", "exit_ts"):
        frame[name] = ts_index(trades[name])
    names = {reason.value: reason.code for reason in ExitReason}
    frame["exit_reason"] = pd.Series([names[code] for code in trades["exit_reason"].tolist()], dtype="str")
    frame["ambiguous"] = trades["ambiguous"].astype(bool)
    return frame


def trade_records(frame: pd.DataFrame) -> np.ndarray:
    """The inverse of `trades_frame`, for trades read back from a table; `KeyError` when a column is absent."""
    trades = np.zeros(len(frame), dtype=TRADE_DTYPE)
    codes = {reason.code: reason.value for reason in ExitReason}
    for name in TRADE_DTYPE.names:
        column = frame[name]
        if name in ("entry_ts", "exit_ts"):
            trades[name] = pd.DatetimeIndex(column).as_unit("ms").asi8
        elif name == "exit_reason":
            trades[name] = [codes[reason] for reason in column]
        else:
            trades[name] = column.to_numpy()
    return trades
