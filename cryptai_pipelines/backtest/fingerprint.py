"""A hash of trades by which two backtests are told apart on any machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.records import CANONICAL, TRADE_DTYPE, trade_records

_VERSION = b"trades 1\n"
_PORTFOLIO_VERSION = b"portfolio trades 1\n"
_CANONICAL_DTYPE = np.dtype([(name, TRADE_DTYPE[name]) for name in CANONICAL])


def trades_sha256(trades: np.ndarray | pd.DataFrame) -> str:
    """SHA-256 in hex over the trades of one series in order: `TRADE_DTYPE` records or the frame made of them.

    Each row enters as the little-endian float64 and int64 bytes of its `CANONICAL` fields in their order, times as epoch
    milliseconds; the quantity of a short negative; negative zero as zero.
    """
    return hashlib.sha256(_VERSION + _canonical(trades).tobytes()).hexdigest()


def portfolio_sha256(trades: np.ndarray, symbols: Sequence[str]) -> str:
    """SHA-256 in hex over the trades of several symbols in order: another first line, the symbols in order with a line each,
    the place of each trade's symbol as int64, and the rows as in `trades_sha256`."""
    names = "".join(f"{symbol}\n" for symbol in symbols).encode()
    places = trades["symbol"].astype("<i8").tobytes()
    return hashlib.sha256(_PORTFOLIO_VERSION + names + places + _canonical(trades).tobytes()).hexdigest()


def _canonical(trades: np.ndarray | pd.DataFrame) -> np.ndarray:
    records = trade_records(trades) if isinstance(trades, pd.DataFrame) else trades
    canonical = np.zeros(len(records), dtype=_CANONICAL_DTYPE)
    for name in CANONICAL:
        canonical[name] = records[name] + 0
    canonical["quantity"] = canonical["quantity"] * np.where(records["side"] < 0, -1.0, 1.0)
    return canonical
