"""Sharpe ratios against chance: the formulas by hand and by brute force, and what they say of markets whose truth is known."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cryptai_pipelines.backtest.significance import (
    backtest_overfitting,
    deflated_sharpe,
    least_track_record,
    luckiest_sharpe,
    per_period_sharpe,
    probabilistic_sharpe,
)
from cryptai_pipelines.market.errors import BadInput


def test_the_formula_by_hand() -> None:
    """Returns 3, 1, -1, 1 (in percent): mean 1, sample deviation sqrt(8/3), skewness 0, kurtosis 2 (population)."""
    returns = np.array([0.03, 0.01, -0.01, 0.01])
    sharpe = 1 / math.sqrt(8 / 3)
    assert per_period_sharpe(returns) == pytest.approx(sharpe, rel=1e-14)
    spread = math.sqrt(1 + (2 - 1) / 4 * Fraction(3, 8))
    expected = 0.5 * (1 + math.erf(sharpe * math.sqrt(3) / spread / math.sqrt(2)))
    assert probabilistic_sharpe(returns) == pytest.approx(expected, rel=1e-12)
    assert probabilistic_sharpe(returns, sharpe) == pytest.approx(0.5)


@given(
    arrays(float, st.integers(3, 60), elements=st.integers(-500_000, 500_000).map(lambda n: n / 1e6)), st.floats(0.51, 0.999)
)
@settings(max_examples=200)
def test_a_track_record_of_the_least_length_reaches_the_confidence(returns: np.ndarray, confidence: float) -> None:
    needed = least_track_record(returns, confidence=confidence)
    probability = probabilistic_sharpe(returns)
    if math.isnan(needed):
        assert math.isnan(probability)
    elif math.isinf(needed):
        assert probability <= 0.5
    else:
        z = (per_period_sharpe(returns) * math.sqrt(needed - 1)) / _spread_of(returns)
        assert 0.5 * (1 + math.erf(z / math.sqrt(2))) == pytest.approx(confidence, rel=1e-9)
        assert (probability >= confidence) == (len(returns) >= needed) or len(returns) == pytest.approx(needed, rel=1e-9)


def _spread_of(returns: np.ndarray) -> float:
    """Written out with moments about the mean."""
    sharpe, centred = per_period_sharpe(returns), returns - returns.mean()
    second, third, fourth = ((centred**power).mean() for power in (2, 3, 4))
    return math.sqrt(1 - third / second**1.5 * sharpe + (fourth / second**2 - 1) / 4 * sharpe**2)


def test_luck_grows_with_the_number_of_trials_and_their_spread() -> None:
    random = np.random.default_rng(0)
    trials = random.normal(0, 0.1, 1_000)
    assert luckiest_sharpe(trials[:1]) == 0.0 and math.isnan(luckiest_sharpe(trials[:0]))
    assert 0 < luckiest_sharpe(np.tile([-0.1, 0.1], 5)) < luckiest_sharpe(np.tile([-0.1, 0.1], 500))
    assert luckiest_sharpe(2 * trials) == pytest.approx(2 * luckiest_sharpe(trials))
    best = np.array([random.normal(0, 0.1, 1_000).max() for _ in range(2_000)])
    assert luckiest_sharpe(trials) == pytest.approx(best.mean(), rel=0.06)


def test_skill_is_seldom_seen_where_there_is_none() -> None:
    """The best of 40 coin flips is called skilled in at most 5 % of 400 worlds; without counting trials it nearly always is."""
    random = np.random.default_rng(1)
    deflated, naive = [], []
    for _ in range(400):
        returns = random.standard_t(4, (40, 500)) * 0.01
        sharpes = np.array([per_period_sharpe(row) for row in returns])
        best = returns[sharpes.argmax()]
        deflated.append(deflated_sharpe(best, sharpes) > 0.95)
        naive.append(probabilistic_sharpe(best) > 0.95)
    assert np.mean(deflated) <= 0.05 < 0.8 < np.mean(naive)


def test_planted_skill_is_seen_among_as_many_trials() -> None:
    random = np.random.default_rng(2)
    returns = random.normal(0, 0.01, (40, 1_000))
    returns[7] += 0.002
    sharpes = np.array([per_period_sharpe(row) for row in returns])
    assert sharpes.argmax() == 7 and deflated_sharpe(returns[7], sharpes) > 0.95


def test_trials_that_never_traded_make_luck_larger_and_not_smaller() -> None:
    random = np.random.default_rng(8)
    some = random.normal(0, 0.08, 10)
    hurdles = [luckiest_sharpe(np.append(some, np.full(idle, np.nan))) for idle in (0, 10, 990)]
    assert hurdles == sorted(hurdles) and hurdles[0] < hurdles[-1]
    assert math.isnan(luckiest_sharpe(np.append(some[:1], np.full(9, np.nan))))


def test_trials_that_came_to_the_same_tell_nothing_of_luck() -> None:
    """A spread of 0 would let any number of trials pass for one."""
    idle = np.full(500, np.nan)
    for same in ([0.1, 0.1], [0.1, 0.1 + 1e-16, 0.1 - 1e-16]):
        assert math.isnan(luckiest_sharpe(np.append(same, idle))) and math.isnan(luckiest_sharpe(np.array(same)))
    some = np.random.default_rng(8).normal(0, 0.08, 10)
    twice = luckiest_sharpe(np.append(some, some))
    assert twice == luckiest_sharpe(np.append(some, np.full(10, np.nan))) > luckiest_sharpe(some), "more trials, no less spread"


def test_a_trial_that_never_traded_counts_as_a_trial() -> None:
    random = np.random.default_rng(3)
    returns = random.normal(0.0006, 0.01, 500)
    some = np.append(random.normal(0, 0.04, 9), per_period_sharpe(returns))
    idle = np.append(some, np.full(90, np.nan))
    assert deflated_sharpe(returns, idle) != deflated_sharpe(returns, some)
    assert math.isnan(deflated_sharpe(returns, np.full(3, np.nan)))


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.sampled_from([2, 4, 6]), st.integers(0, 3))
@settings(max_examples=60)
def test_overfitting_equals_trying_every_split(seed: int, count: int, blocks: int, left_over: int) -> None:
    random = np.random.default_rng(seed)
    returns = np.round(random.normal(0.001, 0.01, (blocks * 3 + left_over % blocks, count)), 4)
    returns[:, 0] = 0.0  # a configuration that never traded
    cut = np.split(returns[left_over % blocks :], blocks)
    logits = []
    for half in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([cut[block] for block in half])
        outside = np.concatenate([cut[block] for block in range(blocks) if block not in half])
        chosen, held = ([_ratio(column) for column in part.T] for part in (inside, outside))
        mine = held[int(np.argmax(chosen))]
        rank = sum(other < mine for other in held) + (sum(other == mine for other in held) + 1) / 2
        logits.append(math.log(rank / (count + 1 - rank)))
    told = backtest_overfitting(returns, blocks)
    np.testing.assert_allclose(told.logits, logits, atol=1e-12)
    assert told.probability == np.mean(np.array(logits) <= 0)


def _ratio(returns: np.ndarray) -> float:
    ratio = per_period_sharpe(returns)
    return -math.inf if math.isnan(ratio) else ratio


def test_overfitting_of_noise_and_of_an_edge() -> None:
    random = np.random.default_rng(5)
    noise = [backtest_overfitting(random.normal(0, 0.01, (480, 30))).probability for _ in range(20)]
    assert 0.35 < np.mean(noise) < 0.65
    edge = random.normal(0, 0.01, (480, 30))
    edge[:, 4] += 0.004
    told = backtest_overfitting(edge)
    assert told.probability < 0.01 and len(told.logits) == math.comb(16, 8) == 12_870


def test_there_is_no_verdict_on_configurations_that_never_traded() -> None:
    told = backtest_overfitting(np.zeros((64, 3)), 4)
    assert math.isnan(told.probability) and math.isnan(told.loss)


def test_bad_input_is_named() -> None:
    for shape, blocks in (((480, 1), 16), ((31, 4), 16), ((480, 4), 15), ((480, 4), 0), ((480, 4), 22)):
        with pytest.raises(BadInput, match=f"{shape[0]} periods of {shape[1]} configurations in {blocks} blocks"):
            backtest_overfitting(np.zeros(shape), blocks)
    with pytest.raises(BadInput, match="confidence 0.5"):
        least_track_record(np.array([0.1, 0.2]), confidence=0.5)


@pytest.mark.parametrize("returns", [[], [0.01], [0.01] * 50])
def test_where_there_is_no_ratio_there_is_no_verdict(returns: list[float]) -> None:
    values = np.array(returns)
    assert math.isnan(probabilistic_sharpe(values)) and math.isnan(least_track_record(values))
