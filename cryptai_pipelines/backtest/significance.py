"""How much of a result may be luck: Sharpe ratios held against chance and against the number of trials. Intervals by resampling
are in `bootstrap`, what is concluded from both in `verdict`.

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

from cryptai_pipelines.backtest.return_metrics import long_enough, moments, sharpe_ratio
from cryptai_pipelines.market.errors import BadInput

BLOCKS = 16
_MOST_BLOCKS = 20
_NORMAL = NormalDist()
_EULER = 0.5772156649015329
_SPLITS_AT_A_TIME = 2_000
_SAME_RATIO = 1e-9
_TERMS = 10_000
_LOG_ROOT_PI = 0.5 * math.log(math.pi)


SIGNIFICANCE_METRICS = ("psr", "dsr", "min_track_record", "t_statistic", "t_test_p")


class Overfitting(NamedTuple):
    """`probability`: the share of splits whose best configuration of one half is not above the median of the other half.
    `logits`: of its relative rank there, one per split; `loss`: mean Sharpe ratio in the chosen half less that in the other,
    over the splits in which both exist. Both are NaN where no configuration has a ratio."""

    probability: float
    logits: np.ndarray
    loss: float


def per_period_sharpe(returns: np.ndarray) -> float:
    """`return_metrics.sharpe_ratio` of one period; NaN also for returns too small to have a deviation."""
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


def significance_metrics(returns: np.ndarray, span_days: float, trial_sharpes: np.ndarray | None) -> dict[str, float]:
    """All `SIGNIFICANCE_METRICS` of `returns` against a ratio of 0, `dsr` against the luckiest trial (NaN without any).
    Those that judge a Sharpe ratio are NaN where it would not be reported: below 30 returns or 14 days."""
    reported = long_enough(len(returns), span_days)
    statistic = t_statistic(returns)
    return {
        "psr": probabilistic_sharpe(returns) if reported else math.nan,
        "dsr": deflated_sharpe(returns, trial_sharpes) if reported and trial_sharpes is not None else math.nan,
        "min_track_record": least_track_record(returns) if reported else math.nan,
        "t_statistic": statistic,
        "t_test_p": math.nan if math.isnan(statistic) else student_tail(statistic, len(returns) - 1),
    }


def t_statistic(returns: np.ndarray) -> float:
    """Of the mean against 0: per-period Sharpe ratio times the root of the number of returns; NaN where that is."""
    return per_period_sharpe(returns) * math.sqrt(len(returns))


def student_tail(statistic: float, freedom: int) -> float:
    """The probability that Student's t with `freedom` degrees is above `statistic`: a one-sided p-value.

    Half the regularised incomplete beta function I_x(freedom / 2, 1 / 2) at x = freedom / (freedom + t^2), by its continued
    fraction (Abramowitz and Stegun 26.5.8 and 26.7.1).
    """
    if math.isinf(statistic):
        return 0.0 if statistic > 0 else 1.0
    square = statistic * statistic
    tail = 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + square), square / (freedom + square))
    return tail if statistic >= 0 else 1 - tail


def luckiest_sharpe(trial_sharpes: np.ndarray) -> float:
    """The Sharpe ratio that the best of that many trials without any skill is expected to show: their standard deviation times
    (1 - g) Phi^-1(1 - 1/N) + g Phi^-1(1 - 1/(N e)), g being Euler's constant. A trial without a ratio (NaN), or with the ratio
    of another, adds to their number N only: the deviation is that of the different ratios, because of trials that came to the
    same nothing is learnt of how far luck goes. 0 for a single trial, NaN for none, and where several have fewer than two
    different ratios."""
    count, known = len(trial_sharpes), _different(trial_sharpes[np.isfinite(trial_sharpes)])
    if count < 2 or len(known) < 2:
        return 0.0 if count == len(known) == 1 else math.nan
    extreme = (1 - _EULER) * _NORMAL.inv_cdf(1 - 1 / count) + _EULER * _NORMAL.inv_cdf(1 - 1 / (count * math.e))
    return float(np.std(known, ddof=1)) * extreme


def _different(ratios: np.ndarray) -> np.ndarray:
    """One of each, whatever the last digits."""
    ordered = np.sort(ratios)
    return ordered[np.diff(ordered, prepend=-math.inf) > _SAME_RATIO]


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


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b) where one of both is 1/2, `rest` being 1 - x without its rounding."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # beyond, the fraction converges slowly, and the other end is near
        return 1 - _incomplete_beta(b, a, rest, x)
    scale = _log_gamma_step(max(a, b)) - _LOG_ROOT_PI + a * _log(x, rest) + b * _log(rest, x)
    above, below = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction = below
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            below = 1 / _away_from_zero(1 + term * below)
            above = _away_from_zero(1 + term / above)
            step = below * above
            fraction *= step
        if abs(step - 1) < 1e-15:
            break
    return math.exp(scale) * fraction / a


def _log(value: float, rest: float) -> float:
    """log of `value` = 1 - `rest`, from the one of both that keeps its digits."""
    return math.log(value) if value < 0.5 else math.log1p(-rest)


def _log_gamma_step(a: float) -> float:
    """log of Gamma(a + 1/2) / Gamma(a); by its series where the difference of two large logarithms would lose digits."""
    if a < 200:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return 0.5 * math.log(a) - 1 / (8 * a) + 1 / (192 * a**3)


def _away_from_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300


def _sharpe_spread(returns: np.ndarray) -> float:
    """sqrt(1 - g3 SR + (g4 - 1) / 4 SR^2), with population skewness g3 and kurtosis g4 (3 for a normal); NaN when undefined."""
    sharpe = per_period_sharpe(returns)
    if math.isnan(sharpe):
        return math.nan
    skewness, kurtosis = moments(returns)
    variance = 1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2
    return math.sqrt(variance) if variance > 0 else math.nan
