"""Metrics of equity held against a benchmark. Both are compared from the second period on: the first has no return of the
benchmark, whose value before it nobody gave."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.return_metrics import (
    annual_volatility,
    compound_growth,
    long_enough,
    sharpe_ratio,
    span_of,
    until_ruin,
)
from cryptai_pipelines.market.errors import BadInput

BENCHMARK_METRICS = (
    "benchmark_return",
    "benchmark_sharpe",
    "excess_return",
    "alpha",
    "beta",
    "correlation",
    "tracking_error",
    "information_ratio",
    "treynor",
    "capture",
    "up_capture",
    "down_capture",
)


def benchmark_metrics(
    equity: pd.Series, benchmark: pd.Series | None, initial_capital: float, periods_per_year: float
) -> dict[str, float]:
    """All `BENCHMARK_METRICS`; NaN without a benchmark. benchmark: prices or values above 0 at the times of `equity`, on any
    scale. `BadInput` where the times differ or a value is not above 0."""
    if benchmark is None or not len(equity):
        return dict.fromkeys(BENCHMARK_METRICS, math.nan)
    _check(equity, benchmark)
    values, prices = until_ruin(equity.to_numpy(dtype="float64")), benchmark.to_numpy(dtype="float64")
    held = prices[-1] / prices[0] - 1
    told = {"benchmark_return": float(held), "excess_return": float(values[-1] / initial_capital - 1 - held)}
    returns, market = paired_returns(values, prices)
    if not long_enough(len(returns), span_of(equity.index)):
        return dict.fromkeys(BENCHMARK_METRICS, math.nan) | told
    return {**told, **compared(returns, market, periods_per_year)}


def paired_returns(values: np.ndarray, prices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns of both from the second period on, float64; 0 once there is nothing left."""
    before = values[:-1]
    return np.divide(values[1:], before, out=np.ones(len(before)), where=before > 0) - 1, prices[1:] / prices[:-1] - 1


def compared(returns: np.ndarray, market: np.ndarray, periods_per_year: float) -> dict[str, float]:
    """What of `BENCHMARK_METRICS` is made of returns. returns, market: simple, of the same periods, at least two."""
    slope, active = beta(returns, market), returns - market
    mean = float(np.mean(returns))
    deviation = annual_volatility(active, periods_per_year)
    with np.errstate(over="ignore"):
        alpha = float(np.float64(max(1 + float(np.mean(returns - slope * market)), 0.0)) ** periods_per_year) - 1
    return {
        "benchmark_sharpe": sharpe_ratio(market, periods_per_year),
        "alpha": alpha if not math.isnan(slope) else math.nan,
        "beta": slope,
        "correlation": correlation(returns, market),
        "tracking_error": deviation,
        "information_ratio": sharpe_ratio(active, periods_per_year),
        "treynor": mean * periods_per_year / slope if slope else math.nan,
        "capture": capture(returns, market, periods_per_year),
        "up_capture": capture(returns[market > 0], market[market > 0], periods_per_year),
        "down_capture": capture(returns[market < 0], market[market < 0], periods_per_year),
    }


def beta(returns: np.ndarray, market: np.ndarray) -> float:
    """Covariance with the market over its variance; NaN where the market does not move."""
    if len(market) < 2 or market.min() == market.max():
        return math.nan
    centred = market - np.mean(market)
    return float(np.mean(centred * returns) / np.mean(centred * centred))


def correlation(returns: np.ndarray, market: np.ndarray) -> float:
    """Pearson's; NaN where one of both does not move."""
    if len(market) < 2 or market.min() == market.max() or returns.min() == returns.max():
        return math.nan
    one, other = returns - np.mean(returns), market - np.mean(market)
    return float(one @ other) / math.sqrt(float(one @ one) * float(other @ other))


def capture(returns: np.ndarray, market: np.ndarray, periods_per_year: float) -> float:
    """Compound growth over that of the market in the same periods; NaN without any, or where the market's is 0."""
    ours, theirs = (compound_growth(float(np.prod(1 + r)), len(r), periods_per_year) for r in (returns, market))
    return ours / theirs if theirs and math.isfinite(theirs) else math.nan


def _check(equity: pd.Series, benchmark: pd.Series) -> None:
    if not benchmark.index.equals(equity.index):
        raise BadInput(f"a benchmark of {len(benchmark)} times for equity at {len(equity)}; accepted: the same times")
    wrong = np.flatnonzero(~(benchmark.to_numpy(dtype="float64") > 0))
    if len(wrong):
        raise BadInput(f"benchmark at {benchmark.index[wrong[0]]} is {benchmark.iloc[wrong[0]]}; accepted: above 0")
