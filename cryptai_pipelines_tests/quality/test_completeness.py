"""Completeness with what nobody could have received taken out, against counting bar by bar."""

from __future__ import annotations

import datetime as dt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.quality.completeness import AdjustedMonth, adjusted_completeness
from cryptai_pipelines.quality.gaps import completeness
from cryptai_pipelines_tests.quality.test_gaps import ORIGIN, series


@st.composite
def spans(draw: st.DrawFn, timeframe: Timeframe) -> list[Interval]:
    """Times on and off the grid, overlapping, in any order."""
    bounds = draw(st.lists(st.tuples(*[st.integers(-5 * timeframe.ms, 130 * timeframe.ms)] * 2), max_size=4))
    return [Interval(ORIGIN + min(pair), ORIGIN + max(pair)) for pair in bounds]


def one_by_one(ts, filled, timeframe, within, unlisted, outages) -> dict[tuple[int, int], list[int]]:
    """Expected, received, unlisted and in-outage bars per (year, month), by trying each open time."""
    given_ts = {int(t) for t, is_filled in zip(ts, filled, strict=True) if not is_filled}
    counted: dict[tuple[int, int], list[int]] = {}

    def whole(t: int, spans: list[Interval]) -> bool:
        return any(start <= t and t + timeframe.ms <= end for start, end in spans)

    for t in range(timeframe.ceil(within.start_ms), within.end_ms, timeframe.ms):
        moment = dt.datetime.fromtimestamp(t / 1000, dt.UTC)
        count = counted.setdefault((moment.year, moment.month), [0, 0, 0, 0])
        count[0] += 1
        if t in given_ts:
            count[1] += 1
        elif whole(t, unlisted):
            count[2] += 1
        elif whole(t, outages):
            count[3] += 1
    return counted


@given(case=series(), data=st.data())
@settings(max_examples=300)
def test_completeness_is_exact_to_the_bar(case, data: st.DataObject) -> None:
    timeframe, ts, within = case
    unlisted, outages = data.draw(spans(timeframe)), data.draw(spans(timeframe))
    filled = np.array(data.draw(st.lists(st.booleans(), min_size=len(ts), max_size=len(ts))), dtype=bool)
    months = adjusted_completeness(ts, timeframe, within, unlisted=unlisted, outages=outages, is_filled=filled)
    found = {}
    for month in months:
        moment = dt.datetime.fromtimestamp(month.start_ms / 1000, dt.UTC)
        assert month.missing == month.expected - month.received >= month.unlisted + month.in_outage
        possible = month.expected - month.unlisted - month.in_outage
        assert month.adjusted == (month.received / possible if possible else None)
        if month.expected:
            found[moment.year, moment.month] = [month.expected, month.received, month.unlisted, month.in_outage]
    assert found == one_by_one(ts, filled, timeframe, within, unlisted, outages)


@given(case=series())
@settings(max_examples=50)
def test_without_excuses_it_is_the_plain_completeness(case) -> None:
    timeframe, ts, within = case
    assert [tuple(month[:5]) for month in adjusted_completeness(ts, timeframe, within)] == completeness(ts, timeframe, within)


def test_a_filled_bar_is_never_received_and_an_excuse_counts_once() -> None:
    hour = Timeframe.H1.ms
    at = [ORIGIN + n * hour for n in range(6)]
    within, filled = Interval(at[0], at[0] + 6 * hour), np.array([False, False, True, False])
    ts, span = np.array([at[0], at[1], at[2], at[5]]), [Interval(at[1], at[3])]
    (month,) = adjusted_completeness(ts, Timeframe.H1, within, unlisted=span, outages=span, is_filled=filled)
    assert month == AdjustedMonth(at[0], at[0] + 6 * hour, 6, 3, 3, 1, 0)
    assert month.adjusted == 3 / 5


def test_every_timeframe_without_bars_is_complete_where_nothing_could_be_received() -> None:
    for timeframe in TIMEFRAMES:
        start = timeframe.ceil(ORIGIN)
        within = Interval(start, start + 3 * timeframe.ms)
        months = adjusted_completeness(np.empty(0, "int64"), timeframe, within, unlisted=[within])
        assert sum(month.unlisted for month in months) == 3
        assert all(month.adjusted is None for month in months)
