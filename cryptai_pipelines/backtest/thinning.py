"""Fewer points for drawings: long series cut into buckets of rows. Nothing that is computed further may come from here."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.drawdowns import drawdown_curve


def last_of_buckets(series: pd.Series, points: int) -> pd.Series:
    """At most `points` rows, the last of each of as many equal runs of rows; the last row is always kept."""
    ends = _bucket_ends(len(series), points)
    return series.iloc[ends]


def lowest_of_buckets(series: pd.Series, points: int) -> pd.Series:
    """Like `last_of_buckets`, but with the lowest value of each run, so that no trough is lost."""
    ends = _bucket_ends(len(series), points)
    if not len(ends):
        return series
    starts = np.concatenate(([0], ends[:-1] + 1))
    return pd.Series(np.minimum.reduceat(series.to_numpy(), starts), index=series.index[ends])


def drawdowns(equity: pd.Series, initial_capital: float) -> pd.Series:
    """Equity over its highest value to date, the start capital included, minus 1."""
    return pd.Series(drawdown_curve(equity.to_numpy(), initial_capital), index=equity.index)


def _bucket_ends(rows: int, points: int) -> np.ndarray:
    buckets = min(rows, points)
    return np.arange(1, buckets + 1) * rows // max(buckets, 1) - 1
