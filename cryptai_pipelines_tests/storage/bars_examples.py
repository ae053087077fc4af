"""Wire rows and bars for storage tests, made without any rule of the product."""

from __future__ import annotations

import itertools

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, WIRE_DTYPES, Columns
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe

HOUR = 3_600_000
START = 1_600_000_000_000 // HOUR * HOUR
_numbers = itertools.count(1)


def fresh_series(timeframe: Timeframe = Timeframe.H1) -> Series:
    """A series that no other test of the process uses."""
    return Series(f"T{next(_numbers)}-USDT", timeframe)


def wire_rows(ts: np.ndarray, seed: int = 1) -> Columns:
    """Consistent wire rows at the open times `ts`, which depend on `seed` and on each ts only."""
    ts = np.asarray(ts, dtype="int64")
    noise = np.array([np.random.default_rng((seed, int(t))).random(8) for t in ts]).reshape(-1, 8)
    opened, closed = 100 + noise[:, 0], 100 + noise[:, 1]
    rows = {
        "ts": ts,
        "open": opened,
        "high": np.maximum(opened, closed) + noise[:, 2],
        "low": np.minimum(opened, closed) - noise[:, 3],
        "close": closed,
        "volume": noise[:, 4],
        "close_ts": ts + HOUR - 1,
        "quote_volume": noise[:, 5],
        "trades": (noise[:, 6] * 1000).astype("int64"),
        "taker_buy_base": noise[:, 7],
        "taker_buy_quote": noise[:, 5] / 2,
        "unused": np.zeros(len(ts), "float32"),
    }
    return {name: rows[name].astype(dtype) for name, dtype in WIRE_DTYPES.items()}


def bar_rows(ts: np.ndarray, seed: int = 1) -> Columns:
    """The part of `wire_rows` that `market_data` keeps."""
    rows = wire_rows(ts, seed)
    return {name: rows[name] for name in ("ts", *BAR_COLUMNS)}


def opens(count: int, start: int = START) -> np.ndarray:
    """`count` consecutive hourly open times."""
    return start + HOUR * np.arange(count, dtype="int64")
