"""Intervals by resampling: the stationary bootstrap of a series of returns, and the order and luck of trades. What is made of
chance beyond that is in `significance`, what is concluded in `verdict`.

Source of the stationary bootstrap: Politis and Romano, "The Stationary Bootstrap" (1994). The same seed gives the same
intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadInput

REPEATS = 2_000
OUTCOME_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
_CELLS_AT_A_TIME = 400_000

Statistic = Callable[[np.ndarray], np.ndarray]
"""From samples (one per row, float64) to one value each."""


class Spread(NamedTuple):
    """The quantiles of a statistic over its resamples. `undefined`: the share of resamples in which it has no value."""

    low: float
    median: float
    high: float
    undefined: float


def mean_block(periods: int) -> float:
    """The mean length of a block that is used unless one is given: the cube root of the number of periods, the order that keeps
    bias and variance of the resampled mean in balance; at least 1."""
    return max(1.0, periods ** (1 / 3))


def stationary_indices(periods: int, repeats: int, block: float, seed: int | tuple[int, int]) -> np.ndarray:
    """Positions of `repeats` stationary resamples of a series of `periods`, int64, one per row: blocks that start anywhere,
    have a geometric length of mean `block`, and go on at the beginning behind the end."""
    if periods < 1 or repeats < 1 or not block >= 1:
        raise BadInput(f"{repeats} resamples of {periods} periods in blocks of {block} are not accepted; accepted: 1 and more")
    random = np.random.default_rng(seed)
    begins = random.random((repeats, periods)) < 1 / block
    begins[:, 0] = True
    first = np.flatnonzero(begins)
    starts = random.integers(0, periods, len(first)) - first % periods
    # Every position lies as far behind the start of its block as behind where the block began; that is less than two rounds.
    found = np.repeat(starts, np.diff(np.append(first, begins.size))).reshape(begins.shape) + np.arange(periods)
    found[found >= periods] -= periods
    return found


def resampled(
    returns: np.ndarray,
    statistics: Mapping[str, Statistic],
    *,
    repeats: int = REPEATS,
    block: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Spread]:
    """Of every statistic the interval that holds `confidence` of its values in stationary resamples of `returns`.

    returns: float64, one row of them, or one column per series when a statistic is about several side by side, such as the
    difference of two: then each sample is periods x series. NaN for no returns. Memory is bounded whatever their number.
    """
    _check(confidence, repeats)
    periods = len(returns)
    if not periods:
        return {name: Spread(math.nan, math.nan, math.nan, 1.0) for name in statistics}
    at_a_time = max(1, _CELLS_AT_A_TIME // returns.size)
    values: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for number, start in enumerate(range(0, repeats, at_a_time)):
        rows = min(at_a_time, repeats - start)
        length = mean_block(periods) if block is None else block
        sample = returns[stationary_indices(periods, rows, length, (seed, number))]
        for name, statistic in statistics.items():
            values[name].append(statistic(sample))
    return {name: spread(np.concatenate(parts), confidence) for name, parts in values.items()}


def result_intervals(
    returns: np.ndarray,
    pnl: np.ndarray,
    periods_per_year: float,
    *,
    repeats: int = REPEATS,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Spread]:
    """The intervals that a report shows: `sharpe` (annualised) and `max_drawdown` of stationary resamples of the returns,
    `profit_factor` of such resamples of the profits of the trades in the order of their exits."""
    year = math.sqrt(periods_per_year)
    settings = {"repeats": repeats, "confidence": confidence, "seed": seed}
    of_returns = resampled(returns, {"sharpe": lambda rows: sharpes(rows) * year, "max_drawdown": drawdowns}, **settings)
    return {**of_returns, **resampled(pnl, {"profit_factor": profit_factors}, **settings)}


def trade_outcomes(pnl: np.ndarray, capital: float, *, repeats: int = REPEATS, seed: int = 0) -> pd.DataFrame:
    """Quantiles of what the same trades could have come to: rows `OUTCOME_QUANTILES`, columns (shuffled, final_equity),
    (shuffled, max_drawdown), (resampled, final_equity), (resampled, max_drawdown). NaN without trades.

    pnl: of each trade in the quote currency, in the order of their exits; capital: before the first. Each counts as the share
    of the equity before it that it won or lost, since positions grow with equity. Shuffled: these in another order, which
    comes to the same end by another way; resampled: drawn with replacement. Who loses everything stays at 0. `BadInput` for
    a capital that is not above 0, and for a profit that is not finite.
    """
    if repeats < 1:
        raise BadInput(f"{repeats} resamples are not accepted; accepted: 1 and more")
    growth = _growth_of_trades(pnl, capital)
    columns = {}
    for name, replaced in (("shuffled", False), ("resampled", True)):
        finals, falls = _other_orders(growth, repeats, seed, replaced)
        columns[name, "final_equity"] = np.quantile(finals * capital, OUTCOME_QUANTILES)
        columns[name, "max_drawdown"] = np.quantile(falls, OUTCOME_QUANTILES)
    return pd.DataFrame(columns, index=pd.Index(OUTCOME_QUANTILES, name="quantile"))


def _growth_of_trades(pnl: np.ndarray, capital: float) -> np.ndarray:
    """Factor of each trade on the equity before it, at least 0; 1 when there was nothing left before."""
    if not 0 < capital < math.inf:
        raise BadInput(f"capital {capital} is not accepted; accepted: above 0")
    if not np.isfinite(pnl).all():
        raise BadInput(f"trade {int(np.argmin(np.isfinite(pnl)))} has the profit {pnl[~np.isfinite(pnl)][0]}; accepted: finite")
    before = capital + np.concatenate(([0.0], np.cumsum(pnl)[:-1])) if len(pnl) else np.empty(0)
    solvent = np.logical_and.accumulate(before > 0)
    return np.maximum(1 + np.divide(pnl, before, out=np.zeros(len(pnl)), where=solvent), 0.0)


def _other_orders(growth: np.ndarray, repeats: int, seed: int, replaced: bool) -> tuple[np.ndarray, np.ndarray]:
    """Final equity from 1 and maximum drawdown of the factors in each of the other orders; NaN without any."""
    finals, falls = np.full(repeats, np.nan), np.full(repeats, np.nan)
    random = np.random.default_rng(seed)
    for number in range(repeats if len(growth) else 0):
        order = random.integers(0, len(growth), len(growth)) if replaced else random.permutation(len(growth))
        equity = np.cumprod(growth[order])
        peaks = np.maximum(np.maximum.accumulate(equity), 1.0)
        finals[number], falls[number] = equity[-1], min(0.0, float((equity / peaks - 1).min()))
    return finals, falls


def spread(values: np.ndarray, confidence: float) -> Spread:
    """The central interval of `confidence` of the values, and their median. NaN is counted apart, infinite values count."""
    known = values[~np.isnan(values)]
    if not len(known):
        return Spread(math.nan, math.nan, math.nan, 1.0)
    tail = (1 - confidence) / 2
    low, median, high = np.quantile(known, (tail, 0.5, 1 - tail), method="nearest")
    return Spread(float(low), float(median), float(high), 1 - len(known) / len(values))


def sharpes(samples: np.ndarray) -> np.ndarray:
    """Per-period Sharpe ratio of each row; NaN where all returns are equal."""
    deviation = samples.std(axis=1, ddof=1) if samples.shape[1] > 1 else np.zeros(len(samples))
    flat = samples.max(axis=1) == samples.min(axis=1)
    return np.divide(samples.mean(axis=1), deviation, out=np.full(len(samples), np.nan), where=~flat)


def drawdowns(samples: np.ndarray) -> np.ndarray:
    """Maximum drawdown of each row of simple returns compounded from 1, a share, at most 0."""
    # Whoever has lost everything, or more, stays at nothing.
    growth = np.cumprod(np.maximum(1 + samples, 0.0), axis=1)
    peaks = np.maximum(np.maximum.accumulate(growth, axis=1), 1.0)
    return np.minimum((growth / peaks - 1).min(axis=1), 0.0)


def profit_factors(samples: np.ndarray) -> np.ndarray:
    """Gains over losses of each row, in absolute terms; infinite without a loss, NaN without either."""
    gains, losses = np.maximum(samples, 0).sum(axis=1), -np.minimum(samples, 0).sum(axis=1)
    unbeaten = np.where(gains > 0, np.inf, np.nan)
    return np.divide(gains, losses, out=unbeaten, where=losses > 0)


def _check(confidence: float, repeats: int) -> None:
    if repeats < 1:
        raise BadInput(f"{repeats} resamples are not accepted; accepted: 1 and more")
    if not 0 < confidence < 1:
        raise BadInput(f"confidence {confidence} is not accepted; accepted: above 0 and below 1")
