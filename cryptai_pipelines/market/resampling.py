"""Longer bars from shorter ones, causally. Reading a longer bar as of a shorter one's close is here too."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms, ts_index
from cryptai_pipelines.market.timeframe import Timeframe

_AGGREGATION = {
    "open": "first",
    "high": "max",
    "low": "min",
    "close": "last",
    "volume": "sum",
    "quote_volume": "sum",
    "trades": "sum",
    "taker_buy_base": "sum",
    "taker_buy_quote": "sum",
    "is_filled": "any",
}


def resample(bars: pd.DataFrame, source: Timeframe, target: Timeframe) -> pd.DataFrame:
    """Bars of `target` made of the bars of `source` that exist in each interval; intervals without any give no row.

    `bars`: a bars frame (index `ts` UTC, ascending, on the grid of `source`). A sum over a NaN is NaN: an unreported part
    leaves the whole unreported. A bar that is partly made of filled ones (`is_filled`) is filled. The last row may still be
    open: `known_at` says from when each row may be read.
    """
    opens = index_ms(bars.index)
    bucket = opens - (opens - target.anchor_ms) % target.ms
    kept = {name: how for name, how in _AGGREGATION.items() if name in bars.columns}
    starts = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1]))) if len(bucket) else np.empty(0, int)
    data = {name: _reduce(bars[name].to_numpy(), starts, how) for name, how in kept.items()}
    return pd.DataFrame(data, index=ts_index(bucket[starts]))


def _reduce(values: np.ndarray, starts: np.ndarray, how: str) -> np.ndarray:
    if not len(starts):
        return values[:0]
    if how == "first":
        return values[starts]
    if how == "last":
        return values[np.concatenate((starts[1:], [len(values)])) - 1]
    operation = {"max": np.maximum, "min": np.minimum, "sum": np.add, "any": np.logical_or}[how]
    return operation.reduceat(values, starts)


def known_at_ms(index: pd.DatetimeIndex, timeframe: Timeframe) -> np.ndarray:
    """Epoch milliseconds at which each bar of `index` is known: its open time plus its length."""
    return index_ms(index) + timeframe.ms


def as_of(values: np.ndarray, known_ms: np.ndarray, at_ms: np.ndarray) -> np.ndarray:
    """For every moment of `at_ms`, the last of `values` known by then (`known_ms <= at_ms`), NaN before the first.

    `known_ms` ascending; float64 in and out. This is the only way a value crosses timeframes (design section 3).
    """
    position = np.searchsorted(known_ms, at_ms, side="right") - 1
    result = np.full(len(at_ms), np.nan)
    found = position >= 0
    result[found] = np.asarray(values, dtype="float64")[position[found]]
    return result
