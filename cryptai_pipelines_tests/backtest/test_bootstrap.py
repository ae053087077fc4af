"""The stationary bootstrap keeps what it should of a series, its intervals hold what they claim, trades are only reordered."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.backtest.bootstrap import (
    OUTCOME_QUANTILES,
    Spread,
    drawdowns,
    mean_block,
    profit_factors,
    resampled,
    result_intervals,
    sharpes,
    spread,
    stationary_indices,
    trade_outcomes,
)
from cryptai_pipelines.market.errors import BadInput


@given(st.integers(1, 80), st.integers(1, 20), st.floats(1, 50), st.integers(0, 2**32))
@settings(max_examples=100)
def test_every_position_follows_the_one_before_or_begins_a_block(periods: int, repeats: int, block: float, seed: int) -> None:
    found = stationary_indices(periods, repeats, block, seed)
    assert found.shape == (repeats, periods) and found.min() >= 0 and found.max() < periods
    np.testing.assert_array_equal(found, stationary_indices(periods, repeats, block, seed))


def test_blocks_have_the_length_that_was_asked_for() -> None:
    found = stationary_indices(1_000, 200, 20.0, 1)
    begins = (np.diff(found, axis=1) % 1_000 != 1).mean()
    assert begins == pytest.approx(1 / 20, rel=0.03)
    assert (np.bincount(found.ravel(), minlength=1_000) / 200).std() < 0.5
    whole = stationary_indices(50, 5, 1e12, 2)
    assert (np.diff(whole, axis=1) % 50 == 1).all()


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """The mean of an autocorrelated series: blocks know of its memory, single draws do not."""
    random = np.random.default_rng(4)
    held = {"blocks": 0, "single": 0}
    for number in range(200):
        noise = random.normal(0, 1, 400)
        series = np.empty(400)
        series[0] = noise[0]
        for at in range(1, 400):
            series[at] = 0.6 * series[at - 1] + noise[at]
        for name, block in (("blocks", 20.0), ("single", 1.0)):
            told = resampled(series, {"mean": lambda rows: rows.mean(axis=1)}, repeats=400, block=block, seed=number)["mean"]
            held[name] += told.low <= 0 <= told.high
    assert held["blocks"] / 200 > 0.85 > 0.75 > held["single"] / 200


def test_statistics_of_single_rows_are_those_of_plain_loops() -> None:
    random = np.random.default_rng(6)
    samples = np.vstack(
        (random.normal(0.001, 0.05, (30, 40)), np.zeros((1, 40)), np.full((1, 40), 0.01), np.full((1, 40), -1.0))
    )
    for row, sharpe, drawdown, factor in zip(
        samples, sharpes(samples), drawdowns(samples), profit_factors(samples), strict=True
    ):
        equity = peak = 1.0
        worst, gains, losses = 0.0, 0.0, 0.0
        for value in row.tolist():
            equity *= 1 + value
            peak = max(peak, equity)
            worst = min(worst, equity / peak - 1)
            gains, losses = gains + max(value, 0.0), losses - min(value, 0.0)
        assert drawdown == pytest.approx(worst, abs=1e-12)
        assert factor == pytest.approx(gains / losses) if losses else (math.isinf(factor) if gains else math.isnan(factor))
        flat = row.min() == row.max()
        assert math.isnan(sharpe) if flat else sharpe == pytest.approx(row.mean() / row.std(ddof=1))


def test_memory_is_bounded_and_pairs_stay_together(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptai_pipelines.backtest import bootstrap

    monkeypatch.setattr(bootstrap, "_CELLS_AT_A_TIME", 1_000)
    seen = []

    def difference(rows: np.ndarray) -> np.ndarray:
        seen.append(rows.size)
        return (rows[:, :, 0] - rows[:, :, 1]).mean(axis=1)

    one = np.random.default_rng(7).normal(0, 1, 50)
    told = resampled(np.column_stack((one, one - 0.25)), {"difference": difference}, repeats=100)["difference"]
    assert max(seen) <= 1_000 and sum(seen) == 100 * 100
    assert (told.low, told.high, told.undefined) == (pytest.approx(0.25), pytest.approx(0.25), 0.0)


@given(st.lists(st.floats(-300, 300), min_size=1, max_size=30), st.integers(0, 100))
@settings(max_examples=60)
def test_shuffled_trades_come_to_the_same_end(pnl: list[float], seed: int) -> None:
    """By ways that fall at least as deep as the worst trade does. Of 30 trades none can lose 10,000."""
    profits = np.array(pnl)
    told = trade_outcomes(profits, 10_000.0, repeats=50, seed=seed)["shuffled"]
    np.testing.assert_allclose(told["final_equity"], 10_000 + profits.sum(), rtol=1e-9)
    before = 10_000 + np.concatenate(([0.0], np.cumsum(profits)[:-1]))
    assert (told["max_drawdown"] <= min(0.0, (profits / before).min()) + 1e-12).all() and (told["max_drawdown"] >= -1).all()


def test_another_seed_shares_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptai_pipelines.backtest import bootstrap

    monkeypatch.setattr(bootstrap, "_CELLS_AT_A_TIME", 1_000)
    means: list[set[float]] = []
    for seed in (0, 1):
        seen: list[float] = []

        def note(rows: np.ndarray, seen: list[float] = seen) -> np.ndarray:
            seen.extend(rows.mean(axis=1).tolist())
            return rows.mean(axis=1)

        resampled(np.random.default_rng(1).normal(0, 1, 50), {"mean": note}, repeats=60, seed=seed)
        means.append(set(seen))
    assert not means[0] & means[1]


def test_more_than_everything_cannot_be_lost() -> None:
    assert drawdowns(np.array([[0.1, -1.5, -2.0, 3.0]])).tolist() == [-1.0]


def test_ruin_is_final() -> None:
    """The trade that lost everything does so in every order, also what was owed beyond it; it is not always drawn."""
    for loss in (-150.0, -200.0):
        told = trade_outcomes(np.array([50.0, loss, 500.0]), 100.0, repeats=400, seed=1)
        assert (told["shuffled"] == [0.0, -1.0]).all(axis=None)
        assert told["resampled", "final_equity"].iloc[-1] == pytest.approx(100 * 1.5**3)
        assert told["resampled", "max_drawdown"].tolist()[-1] == 0 and told["resampled", "final_equity"].iloc[0] == 0


def test_nothing_comes_of_nothing_and_bad_input_is_named() -> None:
    nothing = resampled(np.empty(0), {"sharpe": sharpes})["sharpe"]
    assert all(map(math.isnan, nothing[:3])) and nothing.undefined == 1.0
    assert spread(np.array([np.nan, 1.0]), 0.9) == Spread(1.0, 1.0, 1.0, 0.5)
    assert mean_block(1) == 1.0 and mean_block(1_000) == pytest.approx(10.0)
    with pytest.raises(BadInput, match="capital 0"):
        trade_outcomes(np.array([1.0]), 0.0)
    for bad in (math.nan, math.inf):
        with pytest.raises(BadInput, match=f"capital {bad}"):
            trade_outcomes(np.array([1.0]), bad)
    with pytest.raises(BadInput, match="trade 1 has the profit nan"):
        trade_outcomes(np.array([1.0, np.nan]), 10.0)
    with pytest.raises(BadInput, match="0 resamples"):
        resampled(np.array([1.0]), {}, repeats=0)
    with pytest.raises(BadInput, match="blocks of 0 "):
        resampled(np.array([1.0]), {}, block=0)
    with pytest.raises(BadInput, match="confidence 1"):
        resampled(np.array([1.0]), {}, confidence=1.0)
    with pytest.raises(BadInput, match="blocks of 0.5"):
        stationary_indices(5, 1, 0.5, 0)


def test_intervals_of_a_result_hold_its_own_numbers() -> None:
    random = np.random.default_rng(8)
    returns, pnl = random.normal(0.001, 0.02, 1_000), random.normal(5, 100, 200)
    told = result_intervals(returns, pnl, 365.0, repeats=500)
    own = {"sharpe": sharpes(returns[None])[0] * math.sqrt(365), "profit_factor": profit_factors(pnl[None])[0]}
    assert list(told) == ["sharpe", "max_drawdown", "profit_factor"]
    for name, value in own.items():
        assert told[name].low < value < told[name].high, name
    assert told["max_drawdown"].low < told["max_drawdown"].high < 0
    nothing = result_intervals(returns, np.empty(0), 365.0, repeats=10)["profit_factor"]
    assert nothing.undefined == 1.0


def test_a_report_does_not_wait_for_its_intervals() -> None:
    """Six years of days, 2,000 resamples: below half a second of one core, whoever else uses the machine."""
    random = np.random.default_rng(10)
    returns, pnl = random.normal(0.001, 0.02, 2_190), random.normal(5, 100, 400)
    took = []
    for _ in range(2):
        start = time.process_time()
        result_intervals(returns, pnl, 365.0)
        trade_outcomes(pnl, 10_000.0)
        took.append(time.process_time() - start)
    assert min(took) < 0.5, took


def test_outcomes_of_the_same_trades() -> None:
    """Equal bets on a growing capital: sums of logarithms, whose quantiles are those of a normal distribution."""
    growth = np.exp(np.random.default_rng(9).normal(0.002, 0.03, 120))
    equity = 1_000 * np.cumprod(growth)
    told = trade_outcomes(np.diff(equity, prepend=1_000.0), 1_000.0)
    assert told.index.tolist() == list(OUTCOME_QUANTILES) and (told.diff().iloc[1:] >= -1e-9).all(axis=None)
    np.testing.assert_allclose(told["shuffled", "final_equity"], equity[-1])
    logs = np.log(told["resampled", "final_equity"] / 1_000)
    assert logs[0.5] == pytest.approx(np.log(growth).sum(), abs=0.03)
    assert logs[0.95] - logs[0.05] == pytest.approx(2 * 1.645 * np.log(growth).std() * math.sqrt(120), rel=0.1)
    assert trade_outcomes(np.empty(0), 1.0).isna().all(axis=None)
    with pytest.raises(BadInput, match="0 resamples"):
        trade_outcomes(np.array([1.0]), 1.0, repeats=0)
