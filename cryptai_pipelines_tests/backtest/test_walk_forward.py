"""Walk-forward: windows that never look ahead, tests put together, and what is left of a search's result."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest.evaluation import Evaluator
from cryptai_pipelines.backtest.search import Plan, best, search
from cryptai_pipelines.backtest.search_space import space_of
from cryptai_pipelines.backtest.subject import Span, Subject
from cryptai_pipelines.backtest.walk_forward import Length, WalkForward, parse_length, stability, walk_forward, windows_of
from cryptai_pipelines.backtest.workers import local_workers
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.signals import STRATEGIES

from .loud_bars import LOUD_BARS
from .walks import hourly_walk

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SPACE = space_of(
    {"volume": [0.5, 5.0, 20.0], "take_profit": [0.01, 0.03, 0.1], "stop_loss": [0.01, 0.03, 0.1]},
)


@pytest.fixture(autouse=True)
def known_strategy(monkeypatch):
    monkeypatch.setitem(STRATEGIES, LOUD_BARS.name, LOUD_BARS)


def subject_of(bars: pd.DataFrame) -> Subject:
    return Subject(bars, Timeframe.H1, LOUD_BARS.name, {}, {"fee_rate": 0.0005})


def walked(bars: pd.DataFrame, objective: str = "total_return", **options) -> WalkForward:
    subject = subject_of(bars)
    windows = windows_of(index_ms(bars.index), Length(60, "d"), Length(15, "d"), **options)
    with local_workers(subject, 1) as submit:
        return walk_forward(Evaluator(subject), Plan(SPACE, objective=objective), windows, submit)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["d", "b"]),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(0, 10),
    st.booleans(),
)
def test_no_training_bar_is_at_or_after_the_start_of_its_test_and_tests_tile(seed, unit, train, test, more, anchored):
    """Over grids with holes in them, of every length."""
    rng = np.random.default_rng(seed)
    hours = np.flatnonzero(rng.random(24 * 90) > 0.3)
    hours = hours[(hours < 500) | (hours > 500 + int(rng.integers(0, 400)))]
    ts, factor = hours * HOUR_MS, 1 if unit == "d" else 24
    lengths = Length(train * factor, unit), Length(test * factor, unit), Length((test + more) * factor, unit)
    try:
        windows = windows_of(ts, *lengths, anchored=anchored)
    except BadArgument:
        return
    first = windows[0].train.begin
    for window in windows:
        assert 0 <= window.train.begin < window.train.end == window.test.begin < window.test.end <= len(ts)
        assert ts[window.train.end - 1] < ts[window.test.begin], "a training bar is not before the test"
        assert not anchored or window.train.begin == first
        begin, end = ts[window.train.begin], ts[window.train.end - 1]
        assert anchored or unit == "b" or end - begin < train * DAY_MS
        assert unit == "b" or ts[window.test.end - 1] - ts[window.test.begin] < test * DAY_MS
        assert anchored or unit == "d" or window.train.end - window.train.begin == train * 24
    for before, after in itertools.pairwise(windows):
        assert before.test.end <= after.test.begin
        assert more or unit == "d" or before.test.end == after.test.begin, "there is a bar between two tests"


def test_windows_of_whole_days_are_as_one_would_draw_them():
    ts = np.arange(24 * 100) * HOUR_MS
    rolling = windows_of(ts, Length(60, "d"), Length(15, "d"))
    assert rolling == (
        (Span(0, 1440), Span(1440, 1800)),
        (Span(360, 1800), Span(1800, 2160)),
        (Span(720, 2160), Span(2160, 2400)),
    )
    anchored = windows_of(ts, Length(60, "d"), Length(15, "d"), Length(30, "d"), anchored=True)
    assert anchored == ((Span(0, 1440), Span(1440, 1800)), (Span(0, 2160), Span(2160, 2400)))
    assert windows_of(ts, Length(1440, "b"), Length(360, "b")) == rolling


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("100d", "15d"), "do not hold a training of 100d"),
        (("1d", "15d"), "at least 30 bars"),
        (("60d", "15b"), "not of one unit"),
        (("60d", "15d", "5d"), "step 5d is shorter than test 15d"),
    ],
)
def test_windows_that_cannot_be_are_named(arguments, message):
    with pytest.raises(BadArgument, match=message):
        windows_of(np.arange(24 * 100) * HOUR_MS, *map(parse_length, arguments))


@pytest.mark.parametrize("text", ["", "d", "60", "-5d", "1.5d", "0d", "5w"])
def test_a_length_that_cannot_be_read_is_named(text):
    with pytest.raises(BadArgument, match="180d or 5000b"):
        parse_length(text)


def test_each_window_trades_what_was_best_before_it_and_nothing_else():
    bars = hourly_walk(11, 24 * 120)
    result, subject = walked(bars), subject_of(bars)
    capital, rows = 10_000.0, []
    for step in result.steps:
        before = Subject(bars.iloc[: step.window.train.end], subject.timeframe, subject.strategy, {}, subject.asked)
        with local_workers(before, 1) as submit:
            known_then = search(before, Plan(SPACE, objective="total_return"), submit, span=step.window.train)
        assert best(known_then, "total_return").point == step.chosen.point, "the choice knew what came later"
        alone = Evaluator(subject).simulate(step.chosen.point, step.window.test, capital)
        assert alone.equity.iloc[-1] == pytest.approx(capital * (1 + step.tested["total_return"]), rel=1e-12)
        capital = float(alone.equity.iloc[-1])
        rows.append(alone.trades)
    assert result.trades.equals(pd.concat(rows, ignore_index=True))
    assert result.equity.iloc[-1] == capital and result.equity.index.is_monotonic_increasing
    tests = [step.window.test for step in result.steps]
    assert len(result.equity) == sum(span.end - span.begin for span in tests) == len(bars) - tests[0].begin
    inside = [(bars.index[span.begin], bars.index[span.end - 1]) for span in tests]
    for trade in result.trades.itertuples():
        assert any(begin < trade.entry_ts and trade.exit_ts <= end for begin, end in inside), "a trade crosses a window's edge"


def test_later_bars_change_no_earlier_window():
    bars = hourly_walk(12, 24 * 120)
    whole, shorter = walked(bars), walked(bars.iloc[: 24 * 90])
    assert len(shorter.steps) == 2
    for before, after in zip(shorter.steps, whole.steps, strict=False):
        assert (before.window, before.chosen.point) == (after.window, after.chosen.point)
        np.testing.assert_equal(before.tested, after.tested)


def test_on_random_walks_nothing_is_left_of_what_was_found_in_sample():
    results = [walked(hourly_walk(seed, 24 * 150)) for seed in range(12)]
    inside = [one.summary["in_sample_rate"] for one in results]
    outside = [one.summary["out_of_sample_rate"] for one in results]
    efficiency = [one.summary["efficiency"] for one in results if math.isfinite(one.summary["efficiency"])]
    assert np.mean(inside) > 0 and len(efficiency) >= 10, "a search finds something in any past"
    assert np.mean(outside) <= 0 and np.mean(efficiency) <= 0
    assert np.mean([one.summary["loss"] for one in results]) > 0


@pytest.mark.parametrize("anchored", [False, True])
def test_a_planted_edge_is_kept(anchored):
    results = [walked(hourly_walk(seed, 24 * 150, planted=True), anchored=anchored) for seed in range(3)]
    for one in results:
        assert one.summary["efficiency"] > 0.5 and one.summary["profitable_windows"] == 1.0
        assert one.summary["windows"] == one.summary["windows_traded"] == 6
        assert one.equity.iloc[-1] > 20_000


def test_a_window_without_a_choice_is_not_traded():
    """No trade has been made in training, so there is no profit factor to choose by."""
    bars = hourly_walk(4, 24 * 120)
    quiet = bars.assign(volume=np.where(np.arange(len(bars)) < 24 * 80, 0.1, bars["volume"]))
    result = walked(quiet, "profit_factor")
    traded = [step.chosen is not None for step in result.steps]
    assert traded[0] is False and traded[-1] is True
    assert (result.equity.iloc[: 24 * 15] == 10_000.0).all()
    never = walked(bars.assign(volume=0.1), "profit_factor")
    assert never.summary["windows_traded"] == 0 and (never.equity == 10_000.0).all() and never.trades.empty
    assert set(never.trades) == set(result.trades) - {"symbol"}


def test_stability_counts_what_was_chosen():
    result = walked(hourly_walk(6, 24 * 150))
    chosen = [step.chosen.point for step in result.steps]
    for dimension in SPACE:
        values = [point[dimension.name] for point in chosen]
        told = result.stability[dimension.name]
        places = [dimension.values.index(value) / 2 for value in values]
        assert told["distinct"] == len(set(values))
        assert told["usual_share"] == max(values.count(value) for value in values) / len(values)
        assert told["move"] == pytest.approx(np.mean(np.abs(np.diff(places))))
    assert stability([], SPACE)["volume"]["distinct"] == 0
