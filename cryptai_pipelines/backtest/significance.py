"""How much of a result may be luck: Sharpe ratios held against chance and against the number of trials. Intervals by resampling
are in `bootstrap`, the metrics themselves in `metrics`.

All Sharpe ratios here are per period and not annualised, with the sample standard deviation (ddof 1). Sources: Bailey and López
de Prado, "The Sharpe Ratio Efficient Frontier" (2012) and "The Deflated Sharpe Ratio" (2014); Bailey, Borwein, López de Prado
and Zhu, "The Probability of Backtest Overfitting" (2015).
"""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.backtest.metrics import sharpe_ratio
from cryptai_pipelines.market.errors import BadInput

BLOCKS = 16
_MOST_BLOCKS = 20
_NORMAL = NormalDist()
_EULER = 0.5772156649015329
_SPLITS_AT_A_TIME = 2_000


class Overfitting(NamedTuple):
    """`probability`: the share of splits whose best configuration of one half is not above the median of the other half.
    `logits`: of its relative rank there, one per split; `loss`: mean Sharpe ratio in the chosen half less that in the other,
    over the splits in which both exist. Both are NaN where no configuration has a ratio."""

    probability: float
    logits: np.ndarray
    loss: float


def per_period_sharpe(returns: np.ndarray) -> float:
    """`metrics.sharpe_ratio` of one period; NaN also for returns too small to have a deviation."""
    return sharpe_ratio(returns, 1.0) if len(returns) > 1 and np.std(returns) > 0 else math.nan


def probabilistic_sharpe(returns: np.ndarray, benchmark: float = 0.0) -> float:
    """The probability that the true Sharpe ratio is above `benchmark` (per period), given length, skewness and kurtosis of
    `returns`: Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2)).

    NaN where the ratio is not defined, or where the moments leave no variance for it.
    """
    sharpe, spread = per_period_sharpe(returns), _sharpe_spread(returns)
    if math.isnan(sharpe) or math.isnan(spread):
        return math.nan
    return _NORMAL.cdf((sharpe - benchmark) * math.sqrt(len(returns) - 1) / spread)


def luckiest_sharpe(trial_sharpes: np.ndarray) -> float:
    """The Sharpe ratio that the best of that many trials without any skill is expected to show: their standard deviation times
    (1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e)), g being Euler's constant. A trial without a ratio (NaN) adds to their
    number N only. 0 for a single trial, NaN for none, and where fewer than two of several have a ratio."""
    count, known = len(trial_sharpes), trial_sharpes[np.isfinite(trial_sharpes)]
    if count < 2 or len(known) < 2:
        return 0.0 if count == len(known) == 1 else math.nan
    extreme = (1 - _EULER) * _NORMAL.inv_cdf(1 - 1 / count) + _EULER * _NORMAL.inv_cdf(1 - 1 / (count * math.e))
    return float(np.std(known, ddof=1)) * extreme


def deflated_sharpe(returns: np.ndarray, trial_sharpes: np.ndarray) -> float:
    """`probabilistic_sharpe` of the chosen trial against what luck alone shows in as many trials as there were, of which
    `trial_sharpes` are the per-period ratios, the chosen one among them (see `luckiest_sharpe`)."""
    luckiest = luckiest_sharpe(trial_sharpes)
    return math.nan if math.isnan(luckiest) else probabilistic_sharpe(returns, luckiest)


def least_track_record(returns: np.ndarray, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """How many returns like these it takes until `probabilistic_sharpe` reaches `confidence`:
    1 + (1 - g3 SR + (g4 - 1) / 4 SR^2) (z / (SR - SR*))^2. Infinite when the ratio is not above `benchmark`."""
    if not 0.5 < confidence < 1:
        raise BadInput(f"confidence {confidence} is not accepted; accepted: above 0.5 and below 1")
    sharpe, spread = per_period_sharpe(returns), _sharpe_spread(returns)
    if math.isnan(sharpe) or math.isnan(spread):
        return math.nan
    if sharpe <= benchmark:
        return math.inf
    return 1 + (spread * _NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def backtest_overfitting(returns: np.ndarray, blocks: int = BLOCKS) -> Overfitting:
    """The probability of backtest overfitting by combinatorially symmetric cross-validation.

    returns: float64, one row per period, one column per configuration that was tried. The rows are cut into `blocks` (even)
    blocks of equal length, what is left over at the beginning is dropped; every half of the blocks chooses the configuration of
    the highest Sharpe ratio, whose rank among all is looked up in the other half (ties share the mean rank). A configuration
    without a ratio ranks last. `BadInput` for fewer than two configurations, fewer than two periods a block, or blocks that are
    odd.
    """
    periods, count = returns.shape
    if not 2 <= blocks <= _MOST_BLOCKS or blocks % 2 or count < 2 or periods < 2 * blocks:
        raise BadInput(
            f"{periods} periods of {count} configurations in {blocks} blocks are not accepted; "
            f"accepted: at least 2 configurations, an even number of blocks up to {_MOST_BLOCKS}, 2 periods for each of them"
        )
    length = periods // blocks
    cut = returns[periods - length * blocks :].reshape(blocks, length, count)
    # Around the mean of all, so that the sums of squares lose nothing to a large mean.
    centre = cut.mean(axis=(0, 1))
    sums, squares = (cut - centre).sum(axis=1), ((cut - centre) ** 2).sum(axis=1)
    halves = np.array(list(combinations(range(blocks), blocks // 2)))
    logits, losses = [], []
    for start in range(0, len(halves), _SPLITS_AT_A_TIME):
        chosen = np.zeros((len(halves[start : start + _SPLITS_AT_A_TIME]), blocks))
        np.put_along_axis(chosen, halves[start : start + _SPLITS_AT_A_TIME], 1.0, axis=1)
        inside, outside = (_sharpes(part @ sums, part @ squares, centre, length * blocks // 2) for part in (chosen, 1 - chosen))
        best = inside.argmax(axis=1)[:, None]
        of_best = np.take_along_axis(outside, best, axis=1)
        rank = (outside < of_best).sum(axis=1) + ((outside == of_best).sum(axis=1) + 1) / 2
        share = rank / (count + 1)
        logits.append(np.log(share / (1 - share)))
        losses.append((np.take_along_axis(inside, best, axis=1) - of_best)[:, 0])
    told, loss = np.concatenate(logits), np.concatenate(losses)
    finite = loss[np.isfinite(loss)]
    if not len(finite):
        return Overfitting(math.nan, told, math.nan)
    return Overfitting(float(np.mean(told <= 0)), told, float(finite.mean()))


def _sharpes(sums: np.ndarray, squares: np.ndarray, centre: np.ndarray, periods: int) -> np.ndarray:
    """Sharpe ratios from sums of centred returns and of their squares; -inf where there is none."""
    mean = sums / periods
    variance = (squares - periods * mean * mean) / (periods - 1)
    ratios = np.full(sums.shape, -np.inf)
    # What is below the rounding of the sums is no variance.
    np.divide(centre + mean, np.sqrt(np.maximum(variance, 0)), out=ratios, where=variance > 1e-14 * squares / periods)
    return ratios


def _sharpe_spread(returns: np.ndarray) -> float:
    """sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2), with population skewness g3 and kurtosis g4 (3 for a normal); NaN when undefined."""
    sharpe = per_period_sharpe(returns)
    if math.isnan(sharpe):
        return math.nan
    scaled = (returns - np.mean(returns)) / np.std(returns)
    skewness, kurtosis = float(np.mean(scaled**3)), float(np.mean(scaled**4))
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return math.sqrt(variance) if variance > 0 else math.nan
