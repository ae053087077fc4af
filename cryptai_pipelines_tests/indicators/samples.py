"""Bars for the tests of this room: recorded series and random ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.timeframe import Timeframe

RECORDED = {
    "binance/BTCUSDT_1h": Timeframe.H1,
    "binance/BTCUSDT_5m": Timeframe.M5,
    "binance/ETHUSDT_1h": Timeframe.H1,
    "kraken/BTCUSD_1h": Timeframe.H1,
}


def recorded_bars(folder: Path, name: str) -> pd.DataFrame:
    path = folder / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"no recorded series {path}")
    return pd.read_parquet(path).set_index("ts")


def random_bars(
    seed: int, count: int, timeframe: Timeframe, missing: float = 0.0, volatility: float = 0.01, price: float = 100.0
) -> pd.DataFrame:
    """A random walk of `count` open times, of which the share `missing` has no bar."""
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, volatility, count)))
    opening = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opening, close) * (1 + np.abs(rng.normal(0, volatility / 2, count)))
    low = np.minimum(opening, close) / (1 + np.abs(rng.normal(0, volatility / 2, count)))
    columns = {"open": opening, "high": high, "low": low, "close": close, "volume": rng.lognormal(0, 1, count)}
    ts = timeframe.ceil(1_500_000_000_000) + np.arange(count) * timeframe.ms
    frame = pd.DataFrame(columns, index=ts_index(ts))
    return frame[rng.random(count) >= missing]


def settled(values: np.ndarray, spec: IndicatorSpec) -> np.ndarray:
    """Values of a whole series without those that may still depend on where it begins."""
    values = np.array(values, dtype="float64")
    if spec.carry is None:
        values[: spec.settled] = np.nan
    return values


def bits(frame: pd.DataFrame) -> bytes:
    """The frame as bytes, times included: equal only when every bit is."""
    return frame.index.asi8.tobytes() + np.ascontiguousarray(frame.to_numpy()).tobytes()
