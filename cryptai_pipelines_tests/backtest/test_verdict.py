"""The verdict on markets whose truth is known: random walks, drifting ones, the best of many trials, and a planted edge."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.return_metrics import period_returns
from cryptai_pipelines.backtest.review import ReviewInputs, review
from cryptai_pipelines.backtest.significance import per_period_sharpe
from cryptai_pipelines.backtest.verdict import EDGE, LEAST_TRADES, NO_EDGE, TOO_LITTLE, Verdict, beside_review, judge
from cryptai_pipelines.market.errors import BadInput

DAYS, REPEATS = 1_000, 200


def walk(seed: int, drift: float = 0.0, edge: float = 0.0) -> tuple[pd.DataFrame, np.ndarray]:
    """Daily bars of a random walk with 2 % a day, and signals at random. `edge` is what the days after a signal bring more, at
    the cost of all other days, so that the market as a whole goes nowhere."""
    random = np.random.default_rng(seed)
    moves, signals = random.normal(drift, 0.02, DAYS), random.random(DAYS) < 0.08
    after = np.convolve(signals, np.ones(8))[: DAYS - 1] > 0
    moves[1:] += edge * np.where(after, 1.0, -after.mean() / (1 - after.mean()))
    close = 100 * np.exp(np.cumsum(moves))
    open_ = np.concatenate(([100.0], close[:-1]))
    up, down = 1 + np.abs(random.normal(0, 0.01, (2, DAYS)))
    index = pd.date_range("2020-01-01", periods=DAYS, freq="D", tz="UTC", unit="ms")
    prices = {"open": open_, "high": np.maximum(open_, close) * up, "low": np.minimum(open_, close) / down, "close": close}
    return pd.DataFrame(prices, index=index).assign(volume=1.0), signals


def ema_crosses(bars: pd.DataFrame) -> np.ndarray:
    fast, slow = (bars["close"].ewm(span=span, adjust=False).mean() for span in (4, 12))
    above = (fast > slow).to_numpy()
    return above & ~np.concatenate(([True], above[:-1]))


def backtest(bars: pd.DataFrame, signals: np.ndarray, fee_rate: float) -> tuple[np.ndarray, int]:
    """Returns per day and the number of trades."""
    entries = pd.Series(signals, index=bars.index)
    result = simulate(bars, entries, take_profit=0.06, stop_loss=0.04, fee_rate=fee_rate)
    return period_returns(result.equity.to_numpy(), 10_000.0), len(result.trades)


def market_of(bars: pd.DataFrame) -> np.ndarray:
    return period_returns(bars["close"].to_numpy(), float(bars["open"].iloc[0]))


def test_an_edge_is_affirmed_on_at_most_5_percent_of_1000_random_walks():
    answers: dict[tuple[str, float], list[str]] = {}
    for seed in range(1_000):
        bars, signals = walk(seed)
        rule, fee_rate = ("random", "crosses")[seed % 2], (0.0, 0.001)[seed // 2 % 2]
        returns, count = backtest(bars, signals if rule == "random" else ema_crosses(bars), fee_rate)
        verdict = judge(returns, count, market=market_of(bars), repeats=REPEATS)
        answers.setdefault((rule, fee_rate), []).append(verdict.answer)
    assert sum(told.count(EDGE) for told in answers.values()) <= 50
    for kind, told in answers.items():
        assert len(told) == 250 and told.count(EDGE) <= 0.05 * 250, kind
        assert told.count(NO_EDGE) > 200, kind


def test_a_rising_market_is_no_edge():
    """Whoever is often in a market that rises gains without skill; 0 as the benchmark would call most of that an edge."""
    fooled = edges = 0
    for seed in range(200):
        bars, signals = walk(seed, drift=0.003)
        returns, count = backtest(bars, signals, 0.0)
        edges += judge(returns, count, market=market_of(bars), repeats=REPEATS).answer == EDGE
        fooled += judge(returns, count, repeats=REPEATS).answer == EDGE
    assert edges <= 0.05 * 200 < 0.5 * 200 < fooled


def test_the_best_of_20_trials_is_held_against_20_trials():
    fooled = edges = 0
    for seed in range(100):
        bars, _ = walk(seed)
        random = np.random.default_rng([seed, 1])
        trials = [backtest(bars, random.random(DAYS) < 0.08, 0.0) for _ in range(20)]
        ratios = np.array([per_period_sharpe(returns) for returns, _ in trials])
        returns, count = trials[int(np.argmax(ratios))]
        edges += judge(returns, count, trial_sharpes=ratios, repeats=REPEATS).answer == EDGE
        fooled += judge(returns, count, repeats=REPEATS).answer == EDGE
    assert edges <= 0.05 * 100 < 0.15 * 100 < fooled


def test_a_planted_edge_is_found():
    """0.6 % a day in the eight days after a signal, in three years with costs: power of at least 90 %."""
    found = 0
    for seed in range(200):
        bars, signals = walk(seed, edge=0.006)
        returns, count = backtest(bars, signals, 0.001)
        found += judge(returns, count, market=market_of(bars), repeats=REPEATS).answer == EDGE
    assert found >= 0.9 * 200


def test_the_verdict_says_why():
    bars, signals = walk(1, edge=0.01)
    returns, count = backtest(bars, signals, 0.001)
    verdict = judge(returns, count, market=market_of(bars))
    assert verdict.answer == EDGE and verdict == judge(returns, count, market=market_of(bars))
    assert (
        verdict.better_than_market > 0.95 and verdict.interval.low > 0 and verdict.least_track_record <= verdict.periods == DAYS
    )
    many = judge(returns, count, trial_sharpes=np.random.default_rng(0).normal(0, 0.2, 5_000))
    assert many.answer == NO_EDGE and many.trials == 5_000
    assert many.reasons[0].startswith("better than the luckiest of 5,000")
    few = judge(returns, LEAST_TRADES - 1)
    assert few.answer == TOO_LITTLE and few.reasons[0] == "29 trades; at least 30 are needed"
    assert len(few.reasons) == len(verdict.reasons) == 6


def test_an_error_of_the_review_leaves_no_edge():
    """Whoever knows tomorrow's close passes every test of luck; the review does not believe it, nor may the verdict."""
    bars, _ = walk(3)
    knows = np.append(np.diff(bars["close"]) > 0, False)
    result = simulate(bars, pd.Series(knows, index=bars.index), take_profit=0.01, stop_loss=0.2, fee_rate=0.0005)
    returns = period_returns(result.equity.to_numpy(), 10_000.0)
    verdict = judge(returns, len(result.trades), market=market_of(bars), repeats=REPEATS)
    findings = review(ReviewInputs(result.equity, result.trades, 10_000.0, 365.0))
    errors = [one for one in findings if one.holds and one.severity == "error"]
    assert verdict.answer == EDGE and "sharpe_too_good" in {one.code for one in errors}
    after = beside_review(verdict, findings, of_file=True)
    assert after.answer == NO_EDGE and after.reasons == (*(f"{one.code}: {one.sentence}" for one in errors), *verdict.reasons)
    few = beside_review(replace(verdict, answer=TOO_LITTLE), findings)
    assert few.answer == TOO_LITTLE and few.reasons == after.reasons

    harmless = [replace(one, holds=one.severity == "warn") for one in findings]
    assert beside_review(verdict, harmless) == verdict
    of_file = beside_review(verdict, harmless, of_file=True)
    assert of_file.answer == EDGE and "cryptai leakcheck FILE" in of_file.reasons[0]


@pytest.mark.parametrize("returns", [np.empty(0), np.array([0.1]), np.zeros(500), np.full(500, -0.01)])
def test_nothing_affirms_nothing(returns):
    told = judge(returns, 100)
    assert isinstance(told, Verdict) and told.answer == (TOO_LITTLE if len(returns) < 30 else NO_EDGE)
    assert math.isnan(told.sharpe) and math.isnan(told.better_than_market)


def test_trials_without_a_ratio_count():
    returns = np.random.default_rng(2).normal(0.003, 0.02, 800)
    own = per_period_sharpe(returns)
    with_blanks = judge(returns, 50, trial_sharpes=np.array([own, -0.02, 0.01, *[np.nan] * 97]))
    without = judge(returns, 50, trial_sharpes=np.array([own, -0.02, 0.01]))
    assert with_blanks.trials == 100 and with_blanks.dsr < without.dsr
    assert judge(returns, 50, trial_sharpes=np.array([np.nan, np.nan])).answer == NO_EDGE
    assert judge(returns, 50, trial_sharpes=np.array([own, own, *[np.nan] * 500])).answer == NO_EDGE
    assert judge(returns, 50, trial_sharpes=np.array([own])).answer == EDGE


def test_bad_input_is_named():
    with pytest.raises(BadInput, match="return 1 is nan"):
        judge(np.array([0.0, np.nan]), 1)
    with pytest.raises(BadInput, match="confidence 1.5"):
        judge(np.zeros(3), 1, confidence=1.5)
