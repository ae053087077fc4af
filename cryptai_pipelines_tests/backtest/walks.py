"""Hourly markets for searches: a random walk, and one with something to find in it."""

from __future__ import annotations

import numpy as np
import pandas as pd


def hourly_walk(seed: int, bars: int, *, planted: bool = False) -> pd.DataFrame:
    """Bars with `is_filled`. Every fortieth bar or so has ten times the usual volume, which means nothing, unless `planted`:
    the twelve bars after it then rise by 0.4 % each."""
    rng = np.random.default_rng(seed)
    loud = rng.random(bars) < 1 / 40
    drift = np.zeros(bars)
    if planted:
        for bar in np.flatnonzero(loud):
            drift[bar + 1 : bar + 13] = 0.004
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.006, bars) + drift - 0.006**2 / 2))
    opening = np.concatenate(([100.0], close[:-1]))
    high = np.maximum(opening, close) * np.exp(rng.exponential(0.001, bars))
    low = np.minimum(opening, close) * np.exp(-rng.exponential(0.001, bars))
    volume = np.where(loud, 10.0, 1.0) * rng.uniform(0.8, 1.2, bars)
    index = pd.date_range("2021-01-01", periods=bars, freq="h", tz="UTC", unit="ms", name="ts")
    columns = {"open": opening, "high": high, "low": low, "close": close, "volume": volume}
    return pd.DataFrame(columns, index=index).assign(is_filled=False)
