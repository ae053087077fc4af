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
_CELLS_AT_A_TIME = 4_000_000

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
    starts = random.integers(0, periods, (repeats, periods))
    # Every position belongs to the last block that began at or before it, and lies as far behind its start as behind that.
    at = np.arange(periods)
    last = np.maximum.accumulate(np.where(begins, at, 0), axis=1)
    return (np.take_along_axis(starts, last, axis=1) + at - last) % periods


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


def reordered_trades(
    pnl: np.ndarray, capital: float, *, repeats: int = REPEATS, confidence: float = 0.95, seed: int = 0, replaced: bool = True
) -> dict[str, Spread]:
    """What else the same trades could have come to: `total_return` and `max_drawdown` (a share, at most 0) of their profits in
    another order, drawn with replacement, or only shuffled, in which case the total is what it is.

    pnl: of each trade in the quote currency; capital: before the first. A sequence that loses the whole capital ends at -1.
    """
    _check(confidence, repeats)
    finals, falls = _other_orders(pnl, capital, repeats, seed, replaced)
    return {"total_return": spread(finals / capital - 1, confidence), "max_drawdown": spread(falls, confidence)}


def trade_outcomes(pnl: np.ndarray, capital: float, *, repeats: int = REPEATS, seed: int = 0) -> pd.DataFrame:
    """Quantiles of what the same trades could have come to: rows `OUTCOME_QUANTILES`, columns (shuffled, final_equity),
    (shuffled, max_drawdown), (resampled, final_equity), (resampled, max_drawdown). Shuffled: the same profits in another
    order; resampled: drawn with replacement. NaN without trades; arguments as in `reordered_trades`."""
    _check(0.5, repeats)
    columns = {}
    for name, replaced in (("shuffled", False), ("resampled", True)):
        finals, falls = _other_orders(pnl, capital, repeats, seed, replaced)
        for metric, values in (("final_equity", finals), ("max_drawdown", falls)):
            columns[name, metric] = (
                np.quantile(values, OUTCOME_QUANTILES) if len(pnl) else np.full(len(OUTCOME_QUANTILES), np.nan)
            )
    return pd.DataFrame(columns, index=pd.Index(OUTCOME_QUANTILES, name="quantile"))


def _other_orders(pnl: np.ndarray, capital: float, repeats: int, seed: int, replaced: bool) -> tuple[np.ndarray, np.ndarray]:
    """Final equity and maximum drawdown of each of the other orders; NaN without trades."""
    if not 0 < capital < math.inf:
        raise BadInput(f"capital {capital} is not accepted; accepted: above 0")
    if not np.isfinite(pnl).all():
        raise BadInput(f"trade {int(np.argmin(np.isfinite(pnl)))} has the profit {pnl[~np.isfinite(pnl)][0]}; accepted: finite")
    finals, falls = np.full(repeats, np.nan), np.full(repeats, np.nan)
    random = np.random.default_rng(seed)
    for number in range(repeats if len(pnl) else 0):
        order = random.integers(0, len(pnl), len(pnl)) if replaced else random.permutation(len(pnl))
        equity = np.maximum(capital + np.cumsum(pnl[order]), 0.0)
        ruined = np.flatnonzero(equity == 0.0)
        if len(ruined):
            equity[ruined[0] :] = 0.0
        peaks = np.maximum(np.maximum.accumulate(equity), capital)
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
