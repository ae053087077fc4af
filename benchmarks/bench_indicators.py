"""The default indicators over a million bars against the same TA-Lib calls made directly on the whole arrays."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.registry import DEFAULT_SET
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.timeframe import Timeframe

BARS = 1_000_000
REPEATS = 5
GOAL = 1.2


def random_bars(count: int) -> pd.DataFrame:
    """One-minute bars of a random walk."""
    rng = np.random.default_rng(7)
    close = 30_000 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    opening = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opening, close) * (1 + np.abs(rng.normal(0, 5e-4, count)))
    low = np.minimum(opening, close) * (1 - np.abs(rng.normal(0, 5e-4, count)))
    columns = {"open": opening, "high": high, "low": low, "close": close, "volume": rng.lognormal(0, 1, count)}
    return pd.DataFrame(columns, index=ts_index(1_600_000_020_000 + np.arange(count) * Timeframe.M1.ms))


def direct_calls(close: np.ndarray, high: np.ndarray, low: np.ndarray) -> list[np.ndarray | tuple[np.ndarray, ...]]:
    """TA-Lib as anyone would call it, every result kept."""
    import talib

    return [
        talib.SMA(close, 20),
        talib.SMA(close, 50),
        talib.SMA(close, 200),
        talib.EMA(close, 12),
        talib.EMA(close, 26),
        talib.EMA(close, 50),
        talib.EMA(close, 200),
        talib.RSI(close, 14),
        talib.MACD(close, 12, 26, 9),
        talib.BBANDS(close, 20, 2.0, 2.0, 0),
        talib.ATR(high, low, close, 14),
        talib.STOCH(high, low, close, 14, 3, 0, 3, 0),
        talib.CCI(high, low, close, 20),
    ]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = work()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def run() -> list[dict[str, object]]:
    """One row: best of `REPEATS` alternating runs of each side, after one run of each that is not counted."""
    bars = random_bars(BARS)
    close, high, low = (np.ascontiguousarray(bars[name].to_numpy()) for name in ("close", "high", "low"))

    def ours() -> object:
        return compute(bars, DEFAULT_SET, Timeframe.M1, 0)

    def peer() -> object:
        return direct_calls(close, high, low)

    ours(), peer()
    timed = [(seconds(ours), seconds(peer)) for _ in range(REPEATS)]
    ours_s, peer_s = (min(side) for side in zip(*timed, strict=True))
    name = f"{len(DEFAULT_SET)} indicators over {BARS:,} bars / direct TA-Lib calls"
    return [{"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": ours_s / peer_s, "goal": GOAL}]


if __name__ == "__main__":
    print(pd.DataFrame(run()).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
