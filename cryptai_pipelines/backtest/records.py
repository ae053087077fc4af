"""The records of the engine: the book and the positions that it carries from bar to bar, and its trades. Their bytes are stored
and hashed, so every dtype is little-endian and unpadded. The arithmetic on them is in `kernel` and the modules it is made
of."""

from __future__ import annotations

import enum

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import ts_index

BOOK_DTYPE = np.dtype(
    [
        ("cash", "<f8"),  # free: the balance less what the open positions have taken
        ("balance", "<f8"),  # start capital and what closed trades made
        ("last_equity", "<f8"),  # at the close of the last bar, not yet part of peak and max_drawdown
        ("peak", "<f8"),
        ("max_drawdown", "<f8"),
        ("gross_profit", "<f8"),
        ("gross_loss", "<f8"),
        ("fees", "<f8"),
        ("first_open", "<f8"),  # of several symbols 1
        ("last_close", "<f8"),  # of several symbols the mean of last close over first open
        ("first_ts", "<i8"),
        ("last_ts", "<i8"),
        ("bars", "<i8"),  # of several symbols the times of their common clock
        ("bars_in_market", "<i8"),
        ("positions", "<i8"),  # open
        ("trades", "<i8"),
        ("wins", "<i8"),
        ("losses", "<i8"),
        ("ambiguous", "<i8"),
    ]
)

POSITION_DTYPE = np.dtype(
    [
        ("side", "<i8"),  # 1 long, -1 short
        ("quantity", "<f8"),  # 0 without a position; what stands above `mark` then has no meaning
        ("entry_ts", "<i8"),
        ("entry_price", "<f8"),  # paid, slippage included
        ("entry_market", "<f8"),  # the market price of the entry
        ("entry_fee", "<f8"),
        ("funding", "<f8"),  # received less paid so far
        ("stop", "<f8"),  # levels of the market price
        ("stop_reason", "<i8"),
        ("target", "<f8"),
        ("partial", "<f8"),  # level of the partial exit; beyond every price once it was taken
        ("lowest", "<f8"),  # market prices since entry
        ("highest", "<f8"),
        ("held", "<i8"),  # completed bars, that of the entry included
        ("leaving", "<i8"),  # the reason for which it is to be closed at the next open; 0 none
        ("inside", "<i8"),  # 1 while the bar is simulated within which a limit order opened it
        ("doubt", "<i8"),  # 1 when it is open because an ambiguous bar was judged so
        ("mark", "<f8"),  # the last close
        ("mark_range", "<f8"),  # high - low and volume of the last bar
        ("mark_volume", "<f8"),
        ("last_ts", "<i8"),
        ("first_open", "<f8"),
        ("bars", "<i8"),
        ("cooling", "<i8"),  # bars for which signals are still ignored
        ("asked", "<i8"),  # side of the entry that waits; 0 none, and what follows has no meaning then
        ("asked_stop", "<f8"),
        ("asked_target", "<f8"),
        ("asked_limit", "<f8"),  # NaN for an entry at the market
        ("asked_volatility", "<f8"),
        ("asked_priority", "<f8"),
        ("asked_age", "<i8"),  # bars that a limit order has waited
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
        ("side", "<i8"),
        ("funding", "<f8"),
        ("slippage_cost", "<f8"),
        ("max_adverse", "<f8"),
        ("max_favourable", "<f8"),
        ("symbol", "<i8"),  # place among the symbols
    ]
)

CANONICAL = TRADE_DTYPE.names[:10]
"""The fields that make the fingerprint of trades, in order."""


class ExitReason(enum.IntEnum):
    """Why a position was closed. The numbers are part of the fingerprint of trades."""

    TAKE_PROFIT = 1
    STOP_LOSS = 2
    END = 3
    TRAILING_STOP = 4
    BREAK_EVEN = 5
    TIME_STOP = 6
    SIGNAL = 7
    PARTIAL_TAKE_PROFIT = 8

    @property
    def code(self) -> str:
        """As written in tables, such as `take_profit`."""
        return self.name.lower()


class Refusal(enum.IntEnum):
    """Why an entry that was asked for did not happen; the place of its count."""

    NOT_TRADABLE = 0  # the bar of a market entry was filled or without volume
    EXPIRED = 1  # a limit order that was never reached
    IN_POSITION = 2  # the position to be closed before it could not be
    WRONG_SIDE = 3  # a stop or target level on the wrong side of the price
    CASH = 4
    MAX_POSITIONS = 5
    COOLDOWN = 6
    TOO_SMALL = 7  # less than a lot or than the least notional
    NO_STOP = 8  # nothing to size by risk from
    VOLATILITY = 9  # nothing to size by volatility from
    SHORT = 10  # shorts are not allowed
    VOLUME = 11  # more than the bar can take: its impact would bring the price to 0

    @property
    def code(self) -> str:
        """As written in tables, such as `not_tradable`."""
        return self.name.lower()


def refused_counts(refused: np.ndarray) -> pd.Series:
    """Refused entries by reason, int64; reasons that did not occur are 0."""
    return pd.Series(refused, index=[reason.code for reason in Refusal], name="refused")


def refused_entries(refused: np.ndarray) -> dict[str, int]:
    """Those of `refused_counts` that occurred."""
    return {reason: int(count) for reason, count in refused_counts(refused).items() if count}


def trades_frame(trades: np.ndarray) -> pd.DataFrame:
    """`TRADE_DTYPE` records as a frame, one row per exit in order.

    entry_ts, exit_ts: open time of the bar of the fill, datetime64[ms, UTC]. Prices include slippage. quantity: in the base
    currency, above 0. fees (both sides), funding (received, negative when paid), pnl (after both) and slippage_cost (contained
    in the prices): in the quote currency. return_pct: pnl over quantity x entry price, a share (0.05 is 5 %). exit_reason: the
    codes of `ExitReason`. ambiguous: bool. side: int16, 1 long, -1 short. max_adverse, max_favourable: how far the market price
    went against and for the position while it was held, as shares of the entry price, at least 0; of the bar of the exit only
    the price of the exit counts. A partial exit is a row of its own, with the entry of the position."""
    frame = pd.DataFrame({name: trades[name] for name in TRADE_DTYPE.names if name != "symbol"})
    for name in ("entry_ts", "exit_ts"):
        frame[name] = ts_index(trades[name])
    names = {reason.value: reason.code for reason in ExitReason}
    frame["exit_reason"] = pd.Series([names[code] for code in trades["exit_reason"].tolist()], dtype="str")
    frame["ambiguous"] = trades["ambiguous"].astype(bool)
    frame["side"] = trades["side"].astype("int16")
    return frame


def trade_records(frame: pd.DataFrame) -> np.ndarray:
    """The inverse of `trades_frame`, for trades read back from a table; `KeyError` when one of the `CANONICAL` columns is
    absent. Without the others a trade is long and its funding, slippage_cost and extremes are 0."""
    trades = np.zeros(len(frame), dtype=TRADE_DTYPE)
    trades["side"] = 1
    codes = {reason.code: reason.value for reason in ExitReason}
    for name in TRADE_DTYPE.names:
        if name not in CANONICAL and (name not in frame or name == "symbol"):
            continue
        column = frame[name]
        if name in ("entry_ts", "exit_ts"):
            trades[name] = pd.DatetimeIndex(column).as_unit("ms").asi8
        elif name == "exit_reason":
            trades[name] = [codes[reason] for reason in column]
        else:
            trades[name] = column.to_numpy()
    return trades
