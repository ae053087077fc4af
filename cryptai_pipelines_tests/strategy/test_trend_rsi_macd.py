"""The rows of `trend_rsi_macd` know nothing of the future, and do not depend on how a series was brought up to date."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS
from cryptai_pipelines.strategy.protocol import Inputs
from cryptai_pipelines.strategy.trend_rsi_macd import TREND_RSI_MACD, Parameters, warmup_bars

from .conftest import random_bars, random_indicators

SEEDS = st.integers(0, 2**32 - 1)
DEFAULTS = Parameters()
COLUMNS = [*(column.name for column in TREND_RSI_MACD.columns), *DECISION_COLUMNS, "entry"]
GATES = TREND_RSI_MACD.gates
SCORES = tuple(column.name for column in TREND_RSI_MACD.columns if column.kind == "score")
in_small = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def signals(
    bars: pd.DataFrame, indicators: pd.DataFrame, timeframe: Timeframe, parameters: Parameters, start_ms: int
) -> pd.DataFrame:
    rows = decide_checked(TREND_RSI_MACD, Inputs(bars, indicators, None, timeframe), parameters)
    return rows[index_ms(bars.index) >= start_ms]


def assert_same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    assert_frame_equal(left, right, check_exact=True, check_freq=False)


@in_small
@given(timeframe=st.sampled_from(TIMEFRAMES), seed=SEEDS, known=st.integers(1, 699))
def test_later_bars_change_nothing(small_chunks, timeframe, seed, known):
    bars = random_bars(seed, timeframe, 700)
    indicators = random_indicators(seed, bars)
    whole = signals(bars, indicators, timeframe, DEFAULTS, 0)
    assert_same(signals(bars.iloc[:known], indicators.iloc[:known], timeframe, DEFAULTS, 0), whole.iloc[:known])


@in_small
@given(seed=SEEDS, known=st.integers(1, 699))
def test_a_shuffled_future_changes_nothing(small_chunks, seed, known):
    bars = random_bars(seed, Timeframe.H1, 700)
    indicators = random_indicators(seed, bars)
    order = np.concatenate((np.arange(known), known + np.random.default_rng(seed).permutation(700 - known)))
    shuffled = bars.iloc[order].set_axis(bars.index)
    other = indicators.iloc[order].set_axis(bars.index)
    before, after = signals(bars, indicators, Timeframe.H1, DEFAULTS, 0), signals(shuffled, other, Timeframe.H1, DEFAULTS, 0)
    assert_same(after.iloc[:known], before.iloc[:known])


@in_small
@given(
    timeframe=st.sampled_from(TIMEFRAMES),
    seed=SEEDS,
    cuts=st.lists(st.integers(1, 1199), min_size=1, max_size=4, unique=True),
    spare=st.integers(0, 5),
)
def test_any_split_gives_the_same_bits(small_chunks, timeframe, seed, cuts, spare):
    bars = random_bars(seed, timeframe, 1200)
    indicators = random_indicators(seed, bars)
    whole = signals(bars, indicators, timeframe, DEFAULTS, 0)
    opens = index_ms(bars.index)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 1200], strict=True):
        start_ms = int(opens[begin])
        window = int(np.searchsorted(opens, chunk_start(start_ms, timeframe))) - warmup_bars(DEFAULTS, timeframe) - spare
        given_bars = bars.iloc[max(window, 0) : end]
        given_rows = indicators.iloc[max(begin - DEFAULTS.rsi_window, 0) : end]
        assert_same(signals(given_bars, given_rows, timeframe, DEFAULTS, start_ms), whole.iloc[begin:end])


def test_split_and_prefix_on_recorded_bars(recorded):
    bars, indicators = recorded
    whole = signals(bars, indicators, Timeframe.H1, DEFAULTS, 0)
    opens = index_ms(bars.index)
    for begin in (1, 5_000, 8_191, 8_192, 20_011, 39_999):
        start_ms = int(opens[begin])
        window = max(int(np.searchsorted(opens, chunk_start(start_ms, Timeframe.H1))) - warmup_bars(DEFAULTS, Timeframe.H1), 0)
        part = signals(bars.iloc[window:], indicators.iloc[window:], Timeframe.H1, DEFAULTS, start_ms)
        assert_same(part, whole.iloc[begin:])
    for known in (1, 19, 500, 8_200, 30_001):
        assert_same(signals(bars.iloc[:known], indicators.iloc[:known], Timeframe.H1, DEFAULTS, 0), whole.iloc[:known])


def test_recorded_bars_reach_every_verdict(recorded):
    rows = signals(*recorded, Timeframe.H1, DEFAULTS, 0)
    assert len(rows) == len(recorded[0]) and list(rows.columns) == COLUMNS
    for gate in ("trend_gate", "rsi_gate", "macd_gate", "data_quality_gate"):
        assert {True, False, pd.NA} == set(rows[gate].unique()), gate
    assert 0.01 < rows["entry"].mean() < 0.2
    for score in SCORES:
        assert rows[score].dropna().between(-1, 1).all()


def test_entry_is_all_gates_and_unknown_is_no_entry(recorded):
    rows = signals(*recorded, Timeframe.H1, DEFAULTS, 0)
    verdicts = zip(*(rows[gate] for gate in GATES), strict=True)
    expected = [all(verdict is not pd.NA and bool(verdict) for verdict in row) for row in verdicts]
    assert rows["entry"].tolist() == expected
    assert rows["entry"].dtype == bool


def test_an_entry_does_not_last(recorded):
    entry = signals(*recorded, Timeframe.H1, DEFAULTS, 0)["entry"].to_numpy()
    lengths = np.diff(np.flatnonzero(np.concatenate(([True], ~entry, [True])))) - 1
    # A second crossing may prolong it, a mere state of the market may not.
    assert np.median(lengths[lengths > 0]) <= DEFAULTS.rsi_window
    assert lengths.max() < 20


def test_missing_indicator_rows_are_unknown(recorded):
    bars, indicators = (frame.iloc[:600] for frame in recorded)
    rows = signals(bars, indicators.drop(indicators.index[500]), Timeframe.H1, DEFAULTS, 0)
    assert rows["rsi_gate"].isna().to_numpy().nonzero()[0][-4:].tolist() == [500, 501, 502, 503]
    assert rows["macd_gate"].isna().to_numpy().nonzero()[0][-2:].tolist() == [500, 501]


def test_no_wanted_rows_gives_no_rows(recorded):
    bars, indicators = (frame.iloc[:30] for frame in recorded)
    rows = signals(bars, indicators, Timeframe.H1, DEFAULTS, int(index_ms(bars.index)[-1]) + 1)
    assert len(rows) == 0 and list(rows.columns) == COLUMNS
    assert len(signals(bars.iloc[:0], indicators.iloc[:0], Timeframe.H1, DEFAULTS, 0)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda bars: bars.drop(columns="is_filled"), "no column 'is_filled'"),
        (lambda bars: bars.tz_localize(None), "bars are not indexed by open times in UTC"),
        (lambda bars: bars.iloc[::-1], "row 1 at .* does not come after"),
        (lambda bars: bars.set_axis(bars.index + pd.Timedelta("28min14s")), "not on the grid of 1h"),
        (lambda bars: bars.assign(close=np.where(np.arange(len(bars)) == 3, np.nan, bars["close"])), "close is nan in row 3"),
    ],
)
def test_bad_bars_are_named(change, message):
    bars = random_bars(1, Timeframe.H1, 10)
    with pytest.raises(BadArgument, match=message):
        signals(change(bars), random_indicators(1, bars), Timeframe.H1, DEFAULTS, 0)
