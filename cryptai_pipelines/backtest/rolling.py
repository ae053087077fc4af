"""Metrics over a moving window of returns, for pictures. Those that are stored day by day are in `daily`.

A value at a time is made of the last `window` returns up to it, NaN before there are as many. Memory grows with rows x window.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd


def rolling_sharpe(returns: pd.Series, window: int, periods_per_year: float) -> pd.Series:
    """`return_metrics.sharpe_ratio` of each window, annualised; NaN where all its returns are equal."""
    told = np.full(len(returns), np.nan)
    if len(returns) >= window:
        rows = _windows(returns, window)
        moves = rows.max(axis=1) > rows.min(axis=1)
        np.divide(rows.mean(axis=1), rows.std(axis=1, ddof=1), out=told[window - 1 :], where=moves)
    return pd.Series(told * math.sqrt(periods_per_year), index=returns.index)


def rolling_beta(returns: pd.Series, market: pd.Series, window: int) -> pd.Series:
    """`benchmark_metrics.beta` of each window; NaN where the market does not move."""
    told = np.full(len(returns), np.nan)
    if len(returns) >= window:
        ours, theirs = (
            np.lib.stride_tricks.sliding_window_view(s.to_numpy(dtype="float64"), window) for s in (returns, market)
        )
        centred = theirs - theirs.mean(axis=1, keepdims=True)
        moves = theirs.max(axis=1) > theirs.min(axis=1)
        variance = (centred * centred).mean(axis=1)
        np.divide((centred * ours).mean(axis=1), variance, out=told[window - 1 :], where=moves)
    return pd.Series(told, index=returns.index)


def _windows(values: pd.Series, window: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(values.to_numpy(dtype="float64"), window)
