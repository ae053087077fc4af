"""Wire rows for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns
from cryptai_pipelines.market.timeframe import Timeframe

SAMPLE = Path(__file__).resolve().parents[2] / "cryptai_pipelines" / "sample" / "binance" / "BTCUSDT_1h.parquet"


def good_rows(count: int, timeframe: Timeframe = Timeframe.H1, seed: int = 0) -> Columns:
    """`count` consecutive rows that no rule objects to."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    opening = close * (1 + rng.normal(0, 0.01, count))
    ts = timeframe.ceil(1_600_000_000_000) + np.arange(count) * timeframe.ms
    volume = rng.lognormal(0, 1, count)
    values = {
        "ts": ts,
        "open": opening,
        "high": np.maximum(opening, close) * (1 + rng.random(count) / 50),
        "low": np.minimum(opening, close) * (1 - rng.random(count) / 50),
        "close": close,
        "volume": volume,
        "close_ts": ts + timeframe.ms - 1,
        "quote_volume": volume * close,
        "trades": rng.integers(1, 1_000, count),
        "taker_buy_base": volume / 2,
        "taker_buy_quote": volume * close / 2,
        "unused": np.zeros(count),
    }
    return {name: np.asarray(values[name]).astype(dtype) for name, dtype in WIRE_DTYPES.items()}


def closed_at(rows: Columns, timeframe: Timeframe = Timeframe.H1) -> int:
    """A moment by which every row of `good_rows` has closed."""
    return int(rows["ts"].max()) + timeframe.ms


def recorded_rows(path: Path) -> Columns:
    """A recorded file as wire rows; what it does not hold is 0, as a source hands it over."""
    frame = pd.read_parquet(path)
    frame["ts"] = frame["ts"].dt.as_unit("ms").astype("int64")
    return {
        name: (frame[name].to_numpy() if name in frame else np.zeros(len(frame))).astype(dtype)
        for name, dtype in WIRE_DTYPES.items()
    }
