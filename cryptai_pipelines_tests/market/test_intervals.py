"""Absent open times and runs of open times against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.intervals import Interval, missing_opens, runs
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe

ORIGIN = 1_600_000_000_000


@given(
    timeframe=st.sampled_from(TIMEFRAMES),
    slots=st.lists(st.integers(-5, 60), max_size=60),
    start=st.integers(0, 30),
    length=st.integers(0, 50),
    shift=st.integers(0, 59_999),
)
def test_missing_opens_are_those_not_there(timeframe: Timeframe, slots: list[int], start: int, length: int, shift: int) -> None:
    first = timeframe.ceil(ORIGIN)
    ts = np.array([first + slot * timeframe.ms for slot in slots], dtype=np.int64)
    within = Interval(first + start * timeframe.ms - shift, first + (start + length) * timeframe.ms - shift)
    expected = [t for t in timeframe.opens(*within).tolist() if t not in ts.tolist()]
    assert missing_opens(ts, timeframe, within).tolist() == expected


@given(timeframe=st.sampled_from(TIMEFRAMES), slots=st.sets(st.integers(0, 60)))
def test_runs_cover_the_open_times_exactly_and_never_touch(timeframe: Timeframe, slots: set[int]) -> None:
    opens = timeframe.ceil(ORIGIN) + np.array(sorted(slots), dtype=np.int64) * timeframe.ms
    found = runs(opens, timeframe)
    assert [t for interval in found for t in timeframe.opens(*interval).tolist()] == opens.tolist()
    assert all(left.end_ms < right.start_ms for left, right in zip(found[:-1], found[1:], strict=True))
