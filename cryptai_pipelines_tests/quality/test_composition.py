"""One bar per open time, of the most believed source that has one; fills only where nobody has one, and causal."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns, bars_frame
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.composition import SourceBars, compose
from cryptai_pipelines.quality.filling import carry_forward, interpolated, missing_within

HOUR = Timeframe.H1.ms
START = 1_600_000_000_000 // HOUR * HOUR
SLOTS = st.sets(st.integers(0, 30))


def bars_at(slots: set[int], level: float) -> Columns:
    """Bars at `slots`, told apart by `level`."""
    ts = START + HOUR * np.array(sorted(slots), dtype="int64")
    return {"ts": ts, **{name: level + np.arange(len(ts)) * 0.01 + 1 for name in BAR_COLUMNS}}


@given(st.lists(SLOTS, min_size=1, max_size=4))
def test_every_open_time_has_the_bar_of_the_first_source_that_has_it(sources: list[set[int]]) -> None:
    ranked = [SourceBars(f"s{rank}", f"o{rank}", bars_at(slots, 100.0 * rank)) for rank, slots in enumerate(sources)]
    composed = compose(ranked)
    expected = {}
    for one in reversed(ranked):
        for row, ts in enumerate(one.bars["ts"].tolist()):
            expected[ts] = (one.source, one.origin, *(float(one.bars[name][row]) for name in BAR_COLUMNS))
    count = len(composed.opens)
    source, origin = (np.broadcast_to(np.asarray(value, dtype=object), count) for value in composed[1:])
    found = {
        ts: (source[row], origin[row], *(float(composed.bars[name][row]) for name in BAR_COLUMNS))
        for row, ts in enumerate(composed.opens.tolist())
    }
    assert found == expected
    assert composed.opens.tolist() == sorted(expected)


@given(SLOTS, st.lists(st.tuples(st.integers(-3, 30), st.integers(1, 9)), max_size=4), st.one_of(st.none(), st.just(7.0)))
def test_carried_bars_repeat_the_last_close_before_them(
    slots: set[int], spans: list[tuple[int, int]], before: float | None
) -> None:
    bars, within = bars_at(slots, 50.0), Interval(START, START + 30 * HOUR)
    gaps = [Interval(START + start * HOUR, START + (start + length) * HOUR) for start, length in spans]
    missing = missing_within(bars["ts"], Timeframe.H1, gaps, within)
    filled = carry_forward(bars, missing, before)
    closes = dict(zip(bars["ts"].tolist(), bars["close"].tolist(), strict=True))
    expected = {}
    for slot in range(30):
        ts = START + slot * HOUR
        wanted = any(gap.start_ms <= ts < gap.end_ms for gap in gaps) and ts not in closes
        earlier = [closes[t] for t in sorted(closes) if t < ts]
        close = earlier[-1] if earlier else before
        if wanted and close is not None:
            expected[ts] = close
    assert dict(zip(filled["ts"].tolist(), filled["close"].tolist(), strict=True)) == expected
    for name in ("open", "high", "low"):
        np.testing.assert_array_equal(filled[name], filled["close"])
    for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        assert not filled[name].any()


@given(SLOTS.filter(lambda slots: len(slots) > 1), st.integers(1, 30))
def test_a_carried_bar_does_not_know_what_comes_after_it(slots: set[int], cut: int) -> None:
    whole, prefix = bars_at(slots, 50.0), bars_at({slot for slot in slots if slot < cut}, 50.0)
    gap, within = [Interval(START, START + 31 * HOUR)], Interval(START, START + cut * HOUR)
    of_whole = carry_forward(whole, missing_within(whole["ts"], Timeframe.H1, gap, within), None)
    of_prefix = carry_forward(prefix, missing_within(prefix["ts"], Timeframe.H1, gap, within), None)
    for name in of_whole:
        np.testing.assert_array_equal(of_whole[name], of_prefix[name])


def test_interpolated_bars_lie_on_the_line_between_their_neighbours_and_are_flagged() -> None:
    frame = bars_frame({"ts": START + HOUR * np.array([0, 3]), **{n: np.array([10.0, 40.0]) for n in BAR_COLUMNS}})
    frame["close"] = [10.0, 41.0]
    filled = interpolated(frame, Timeframe.H1)
    assert filled["open"].tolist() == pytest.approx([10.0, 10.0, 25.0, 40.0])
    assert filled["close"].tolist() == pytest.approx([10.0, 25.0, 40.0, 41.0])
    assert filled["is_filled"].tolist() == [False, True, True, False]
    assert filled["origin"].tolist() == ["", "interpolated", "interpolated", ""]
    assert filled["volume"].tolist()[1:3] == [0.0, 0.0]
    assert (filled["low"] <= filled[["open", "close"]].min(axis=1)).all()
    assert isinstance(filled.index, pd.DatetimeIndex) and str(filled.index.tz) == "UTC"


def test_nothing_to_interpolate_leaves_the_bars_alone() -> None:
    frame = bars_frame(bars_at({0, 1, 2}, 5.0))
    pd.testing.assert_frame_equal(interpolated(frame, Timeframe.H1)[list(BAR_COLUMNS)], frame, check_freq=False)
    assert interpolated(frame.iloc[:0], Timeframe.H1).empty
