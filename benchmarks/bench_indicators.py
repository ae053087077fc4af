"""Indicators over a million bars, the default ones and 60 of the registry, against the same TA-Lib calls made directly on the
whole arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.candles import CANDLES
from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.registry import DEFAULT_SET, REGISTRY
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.timeframe import Timeframe

BARS = 1_000_000
REPEATS = 5
GOAL = 1.2
MANY, MANY_GOAL = 60, 1.15


def random_bars(count: int) -> pd.DataFrame:
    """One-minute bars of a random walk."""
    rng = np.random.default_rng(7)
    close = 30_000 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    opening = np.concatenate((close[:1], close[:-1]))
    high = np.maximum(opening, close) * (1 + np.abs(rng.normal(0, 5e-4, count)))
    low = np.minimum(opening, close) * (1 - np.abs(rng.normal(0, 5e-4, count)))
    columns = {"open": opening, "high": high, "low": low, "close": close, "volume": rng.lognormal(0, 1, count)}
    return pd.DataFrame(columns, index=ts_index(1_600_000_020_000 + np.arange(count) * Timeframe.M1.ms))


def direct_calls(columns: dict[str, np.ndarray]) -> list[np.ndarray | tuple[np.ndarray, ...]]:
    """TA-Lib as anyone would call it, every result kept."""
    import talib

    high, low, close, volume = (columns[name] for name in ("high", "low", "close", "volume"))
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
        talib.ADX(high, low, close, 14),
        talib.OBV(close, volume),
    ]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = work()
    elapsed = time.perf_counter() - start
    del result
    return elapsed


def called_directly(specs: Sequence[IndicatorSpec], columns: dict[str, np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """The function of each entry on the whole arrays, every result kept: TA-Lib's, but for the few that it has not."""
    return [spec.compute({name: columns[name] for name in spec.inputs}) for spec in specs]


def run() -> list[dict[str, object]]:
    """A row for each set."""
    bars = random_bars(BARS)
    columns = {name: np.ascontiguousarray(bars[name].to_numpy()) for name in bars.columns}
    many = tuple(spec for spec in REGISTRY.values() if spec not in CANDLES)[:MANY]
    return [
        _row(bars, DEFAULT_SET, lambda: direct_calls(columns), GOAL),
        _row(bars, many, lambda: called_directly(many, columns), MANY_GOAL),
    ]


def _row(bars: pd.DataFrame, specs: Sequence[IndicatorSpec], peer: Callable[[], object], goal: float) -> dict[str, object]:
    """Best of `REPEATS` alternating runs of each side, after one run of each that is not counted."""

    def ours() -> object:
        return compute(bars, specs, Timeframe.M1, 0)

    ours(), peer()
    timed = [(seconds(ours), seconds(peer)) for _ in range(REPEATS)]
    ours_s, peer_s = (min(side) for side in zip(*timed, strict=True))
    name = f"{len(specs)} indicators over {BARS:,} bars / direct TA-Lib calls"
    return {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": ours_s / peer_s, "goal": goal}


if __name__ == "__main__":
    print(pd.DataFrame(run()).to_string(index=False, float_format=lambda value: f"{value:.3f}"))
