"""Gaps and completeness against counting bar by bar, and gaps kept up to date window by window."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.quality.gaps import Gap, completeness, find_gaps, update_gaps
from cryptai_pipelines.quality.row_rules import judge
from cryptai_pipelines_tests.quality.samples import SAMPLE, closed_at, recorded_rows

ORIGIN = 1_582_934_400_000  # 2020-02-29, a Saturday


def absent(ts: set[int], timeframe: Timeframe, within: Interval) -> list[int]:
    """Open times of `within` without a bar, by trying each."""
    first = timeframe.ceil(within.start_ms)
    return [t for t in range(first, within.end_ms, timeframe.ms) if t not in ts]


def grouped(opens: list[int], timeframe: Timeframe) -> list[Gap]:
    gaps: list[Gap] = []
    for t in opens:
        if gaps and gaps[-1].end_ms == t:
            gaps[-1] = Gap(gaps[-1].start_ms, t + timeframe.ms, gaps[-1].missing + 1)
        else:
            gaps.append(Gap(t, t + timeframe.ms, 1))
    return gaps


@st.composite
def series(draw: st.DrawFn) -> tuple[Timeframe, np.ndarray, Interval]:
    """Open times on and off the grid, in any order, with repetitions, and an interval that need not fit them."""
    timeframe = draw(st.sampled_from(TIMEFRAMES))
    slots = draw(st.lists(st.integers(0, 120), max_size=100))
    strays = draw(st.lists(st.integers(1, 120 * timeframe.ms), max_size=3))
    ts = np.array([timeframe.ceil(ORIGIN) + s * timeframe.ms for s in slots] + [ORIGIN + s for s in strays], dtype=np.int64)
    start = ORIGIN + draw(st.integers(-3 * timeframe.ms, 60 * timeframe.ms))
    return timeframe, ts, Interval(start, start + draw(st.integers(0, 130 * timeframe.ms)))


@given(case=series())
@settings(max_examples=300)
def test_gaps_are_the_runs_of_absent_open_times(case: tuple[Timeframe, np.ndarray, Interval]) -> None:
    timeframe, ts, within = case
    assert find_gaps(ts, timeframe, within) == grouped(absent(set(ts.tolist()), timeframe, within), timeframe)


@given(case=series(), data=st.data())
@settings(max_examples=200)
def test_gaps_kept_up_to_date_are_the_gaps_of_the_whole(
    case: tuple[Timeframe, np.ndarray, Interval], data: st.DataObject
) -> None:
    """Windows cover the interval in any order and overlap; bars arrive late, and their window is looked at once more."""
    timeframe, ts, whole = case
    cuts = sorted({*whole, *data.draw(st.lists(st.integers(*whole), max_size=5))})
    windows = [Interval(a, b) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    late = data.draw(st.sampled_from(windows)) if windows else whole
    early = ts[(ts < late.start_ms) | (ts >= late.end_ms) | (ts % 2 == 0)]
    gaps: list[Gap] = []
    for window in data.draw(st.permutations(windows)):
        gaps = update_gaps(gaps, _inside(early, window), timeframe, window)
    wider = Interval(max(late.start_ms - 5 * timeframe.ms, whole.start_ms), late.end_ms)
    gaps = update_gaps(gaps, _inside(ts, wider), timeframe, wider)
    assert gaps == find_gaps(ts, timeframe, whole)
    assert update_gaps(gaps, _inside(ts, wider), timeframe, wider) == gaps


def _inside(ts: np.ndarray, window: Interval) -> np.ndarray:
    return ts[(ts >= window.start_ms) & (ts < window.end_ms)]


def test_an_outage_across_two_windows_is_one_gap_and_closes_when_its_bars_arrive() -> None:
    hour, tf = Timeframe.H1.ms, Timeframe.H1
    at = [ORIGIN + n * hour for n in range(12)]
    gaps = update_gaps([], np.array(at[:4]), tf, Interval(at[0], at[6]))
    gaps = update_gaps(gaps, np.array(at[8:10]), tf, Interval(at[6], at[10]))
    assert gaps == [Gap(at[4], at[8], 4)]
    assert update_gaps(gaps, np.array([at[5]]), tf, Interval(at[5], at[6])) == [Gap(at[4], at[5], 1), Gap(at[6], at[8], 2)]
    assert update_gaps(gaps, np.array(at[4:8]), tf, Interval(at[4], at[8])) == []


def months_one_by_one(ts: np.ndarray, timeframe: Timeframe, within: Interval) -> dict[tuple[int, int], list[int]]:
    """Expected and received bars per (year, month), by trying each open time."""
    stored, counted = set(ts.tolist()), {}
    for t in range(timeframe.ceil(within.start_ms), within.end_ms, timeframe.ms):
        moment = dt.datetime.fromtimestamp(t / 1000, dt.UTC)
        count = counted.setdefault((moment.year, moment.month), [0, 0])
        count[0] += 1
        count[1] += t in stored
    return counted


@given(case=series())
@settings(max_examples=200)
def test_completeness_counts_to_the_bar(case: tuple[Timeframe, np.ndarray, Interval]) -> None:
    timeframe, ts, within = case
    months = completeness(ts, timeframe, within)
    found = {}
    for month in months:
        moment = dt.datetime.fromtimestamp(month.start_ms / 1000, dt.UTC)
        if month.expected:
            found[moment.year, moment.month] = [month.expected, month.received]
        assert month.missing == month.expected - month.received >= 0
    assert found == months_one_by_one(ts, timeframe, within)
    assert sum(month.missing for month in months) == sum(gap.missing for gap in find_gaps(ts, timeframe, within))
    edges = [month.start_ms for month in months] + [within.end_ms]
    assert [month.end_ms for month in months] == edges[1:] and (not months or edges[0] == within.start_ms)


def test_months_are_calendar_months_clipped_to_the_interval() -> None:
    start, end = (int(dt.datetime(*day, tzinfo=dt.UTC).timestamp() * 1000) for day in ((2023, 12, 30), (2024, 3, 2)))
    months = completeness(np.empty(0, np.int64), Timeframe.D1, Interval(start, end))
    assert [month.expected for month in months] == [2, 31, 29, 1]
    exact = Interval(months[1].start_ms, months[1].end_ms)
    assert completeness(np.empty(0, np.int64), Timeframe.D1, exact) == [months[1]]


def test_a_week_across_two_months_belongs_to_the_month_it_opens_in() -> None:
    monday = int(dt.datetime(2024, 1, 29, tzinfo=dt.UTC).timestamp() * 1000)
    february = int(dt.datetime(2024, 2, 1, tzinfo=dt.UTC).timestamp() * 1000)
    months = completeness(np.array([monday]), Timeframe.W1, Interval(monday, monday + 2 * Timeframe.W1.ms))
    assert [(month.expected, month.received) for month in months] == [(1, 1), (1, 0)]
    assert months[0].end_ms == february


def test_an_empty_interval_has_no_gaps_and_a_reversed_one_is_an_error() -> None:
    nothing = Interval(ORIGIN, ORIGIN)
    assert find_gaps(np.array([ORIGIN]), Timeframe.H1, nothing) == completeness(np.array([ORIGIN]), Timeframe.H1, nothing) == []
    for count in (find_gaps, completeness):
        with pytest.raises(ValueError, match="before its start"):
            count(np.array([ORIGIN]), Timeframe.H1, Interval(ORIGIN, ORIGIN - 1))


@pytest.mark.parametrize(
    ("name", "gaps", "missing"),
    [
        ("binance/BTCUSDT_1h", 28, 128),
        ("binance/BTCUSDT_5m", 0, 0),
        ("binance_2021h1/BTCUSDT_5m", 6, 177),
        ("kraken/BTCUSD_1h", 3_254, 10_856),
    ],
)
def test_gaps_of_recorded_series(real_data: Path, name: str, gaps: int, missing: int) -> None:
    ts = recorded_rows(real_data / f"{name}.parquet")["ts"]
    timeframe = Timeframe(name.rsplit("_", 1)[1])
    within = Interval(int(ts[0]), int(ts[-1]) + timeframe.ms)
    found = find_gaps(ts, timeframe, within)
    assert (len(found), sum(gap.missing for gap in found)) == (gaps, missing)
    assert found == grouped(absent(set(ts.tolist()), timeframe, within), timeframe)
    counted = months_one_by_one(ts, timeframe, within)
    assert [[m.expected, m.received] for m in completeness(ts, timeframe, within)] == list(counted.values())


def test_the_shipped_sample_without_its_off_grid_bars() -> None:
    """28 gaps as with them, but 170 missing bars instead of 127: the 43 quarantined bars leave their hours empty."""
    rows = recorded_rows(SAMPLE)
    good = rows["ts"][judge(rows, Timeframe.H1, closed_at(rows)).good]
    within = Interval(int(good[0]), int(good[-1]) + Timeframe.H1.ms)
    found = find_gaps(good, Timeframe.H1, within)
    assert found == grouped(absent(set(good.tolist()), Timeframe.H1, within), Timeframe.H1)
    assert (len(found), sum(gap.missing for gap in found)) == (28, 170)
    assert find_gaps(rows["ts"], Timeframe.H1, within) == found
