"""A hash of trades by which two backtests are told apart on any machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.records import TRADE_DTYPE, trade_records

_VERSION = b"trades 1\n"


def trades_sha256(trades: np.ndarray | pd.DataFrame) -> str:
    """SHA-256 in hex over the trades in order: `TRADE_DTYPE` records or the frame made of them.

    Each row enters as the little-endian float64 and int64 bytes of its fields in the order of `TRADE_DTYPE`, times as epoch
    milliseconds; negative zero as zero.
    """
    records = trade_records(trades) if isinstance(trades, pd.DataFrame) else trades
    canonical = np.zeros(len(records), dtype=TRADE_DTYPE)
    for name in TRADE_DTYPE.names:
        canonical[name] = records[name] + 0
    return hashlib.sha256(_VERSION + canonical.tobytes()).hexdigest()
