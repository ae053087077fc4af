"""Series for the tests of signals: random bars with holes and fills, and the indicators that go with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy import higher_timeframe

NEEDS = ("rsi_14", "macd", "macd_signal", "macd_histogram")
MONDAY_MS = 1_704_067_200_000  # 2024-01-01, the first open time of its day and of its week


def random_bars(seed: int, timeframe: Timeframe, n: int) -> pd.DataFrame:
    """`n` bars from a random open time on, about one slot in 40 missing and one in 50 filled."""
    rng = np.random.default_rng(seed)
    first = timeframe.ceil(MONDAY_MS + int(rng.integers(0, 40)) * timeframe.ms)
    slots = np.cumsum(np.where(rng.random(n) < 0.025, rng.integers(2, 30, n), 1)) - 1
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    open_ = np.concatenate(([100.0], close[:-1]))
    frame = pd.DataFrame(index=ts_index(first + slots * timeframe.ms))
    frame["open"], frame["close"] = open_, close
    frame["high"], frame["low"] = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    frame["volume"] = rng.uniform(1, 2, n)
    frame["is_filled"] = rng.random(n) < 0.02
    return frame


def random_indicators(seed: int, bars: pd.DataFrame) -> pd.DataFrame:
    """Values per row that are in the range of the real ones and depend on nothing but the row; some are unknown."""
    rng = np.random.default_rng([seed, 2])
    n = len(bars)
    rsi = np.clip(50 + np.cumsum(rng.normal(0, 6, n)) % 60 - 30, 0, 100)
    macd, signal = rng.normal(0, 1, n), rng.normal(0, 1, n)
    frame = pd.DataFrame(dict(zip(NEEDS, (rsi, macd, signal, macd - signal), strict=True)), index=bars.index)
    return frame.mask(rng.random(frame.shape) < 0.02)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> int:
    """Chunks of 64 bars and a warm-up of 60 higher bars, so that few bars cross many borders."""
    monkeypatch.setattr(chunks, "CHUNK_BARS", 64)
    monkeypatch.setattr(higher_timeframe, "CHUNK_BARS", 64)
    monkeypatch.setattr(higher_timeframe, "_HIGHER_WARMUP", 60)
    return 64


@pytest.fixture(scope="session")
def recorded(real_data) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recorded Binance BTCUSDT 1h bars and their indicators."""
    import talib

    bars = pd.read_parquet(real_data / "binance" / "BTCUSDT_1h.parquet").set_index("ts").iloc[:40_000]
    bars["is_filled"] = False
    close = bars["close"].to_numpy()
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    values = dict(zip(NEEDS, (talib.RSI(close, 14), macd, signal, histogram), strict=True))
    return bars, pd.DataFrame(values, index=bars.index)
