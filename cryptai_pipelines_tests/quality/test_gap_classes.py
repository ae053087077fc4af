"""The class of a gap follows from what is known of its bars, one by one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.gap_classes import (
    GAP_CLASSES,
    NEIGHBOURS,
    FailedSpan,
    Known,
    Neighbourhood,
    classify,
    neighbourhood,
    unlisted_spans,
)
from cryptai_pipelines.quality.gaps import Gap, find_gaps
from cryptai_pipelines_tests.quality.recorded import bars_of

H1, HOUR = Timeframe.H1, Timeframe.H1.ms
START = 1_600_000_000_000 // HOUR * HOUR
BUSY = Neighbourhood(400, 0, 900.0)
QUIET = Neighbourhood(400, 120, 1.0)


def at(slot: float) -> int:
    return START + int(slot * HOUR)


def gap(start: int, end: int) -> Gap:
    return Gap(at(start), at(end), end - start)


CASES = [
    ("before_listing", gap(0, 4), Known(listed_at_ms=at(4)), BUSY),
    ("before_listing", gap(0, 4), Known(listed_at_ms=at(2.5)), BUSY),
    ("unknown", gap(0, 4), Known(listed_at_ms=at(1.5)), BUSY),
    ("after_delisting", gap(0, 4), Known(delisted_at_ms=at(0)), BUSY),
    ("after_delisting", gap(0, 4), Known(delisted_at_ms=at(1.5)), BUSY),
    ("unknown", gap(0, 4), Known(delisted_at_ms=at(3)), BUSY),
    ("refused_bars", gap(0, 4), Known(refused_ms=np.array([at(0), at(0), at(2)])), BUSY),
    ("unknown", gap(0, 4), Known(refused_ms=np.array([at(0), at(0), at(9)])), BUSY),
    ("fetch_failure", gap(0, 4), Known(failed=[FailedSpan(at(-3), at(2), "the file is torn")]), BUSY),
    ("unknown", gap(0, 4), Known(failed=[FailedSpan(at(-3), at(1), "the file is torn")]), BUSY),
    ("venue_outage", gap(0, 4), Known(outages=[Interval(at(0), at(1)), Interval(at(3), at(9))]), BUSY),
    ("unknown", gap(0, 4), Known(outages=[Interval(at(0.5), at(2.9))]), BUSY),
    ("no_trade", gap(0, 4), Known(omits_empty=True), QUIET),
    ("no_trade", gap(0, 1), Known(omits_empty=True), BUSY),
    ("unknown", gap(0, 2), Known(omits_empty=True), BUSY),
    ("no_trade", gap(0, 4), Known(), QUIET),
    ("unknown", gap(0, 4), Known(), QUIET._replace(median_trades=50.0)),
    ("unknown", gap(0, 4), Known(), QUIET._replace(median_trades=np.nan)),
    ("unknown", gap(0, 4), Known(omits_empty=False), QUIET),
    ("unknown", gap(0, 200), Known(omits_empty=True), QUIET),
    ("unknown", gap(0, 4), Known(omits_empty=True), None),
    ("unknown", gap(0, 4), Known(), BUSY),
]


@pytest.mark.parametrize(("expected", "one", "known", "around"), CASES, ids=str)
def test_a_gap_is_explained_by_what_covers_half_of_it(expected: str, one: Gap, known: Known, around) -> None:
    classed = classify(one, H1, known, around)
    assert classed.gap_class == expected and classed.gap == one
    assert classed.evidence and "\n" not in classed.evidence


def test_every_class_occurs() -> None:
    assert {case[0] for case in CASES} == set(GAP_CLASSES)


def test_the_better_explanation_wins_and_of_equal_ones_the_first() -> None:
    known = Known(failed=[FailedSpan(at(0), at(2), "x")], outages=[Interval(at(0), at(4))])
    assert classify(gap(0, 4), H1, known).gap_class == "venue_outage"
    known = Known(failed=[FailedSpan(at(0), at(4), "x")], outages=[Interval(at(0), at(4))])
    assert classify(gap(0, 4), H1, known).gap_class == "fetch_failure"


@given(
    start=st.integers(-5, 5),
    length=st.integers(1, 12),
    listed=st.integers(-10 * HOUR, 20 * HOUR),
    delisted=st.integers(-10 * HOUR, 20 * HOUR),
)
@settings(max_examples=200)
def test_listing_and_delisting_bar_by_bar(start: int, length: int, listed: int, delisted: int) -> None:
    one = gap(start, start + length)
    opens = [at(start + n) for n in range(length)]
    before = sum(ts + HOUR <= START + listed for ts in opens)
    after = sum(ts >= START + delisted for ts in opens)
    found = classify(one, H1, Known(listed_at_ms=START + listed, delisted_at_ms=START + delisted)).gap_class
    best = max(before, after)
    expected = "unknown" if 2 * best < length else "before_listing" if before == best else "after_delisting"
    assert found == expected
    spans = unlisted_spans(START + listed, START + delisted, Interval(opens[0], opens[-1] + HOUR))
    outside = sum(any(a <= ts and ts + HOUR <= b for a, b in spans) for ts in opens)
    if listed <= delisted:
        assert outside == before + after


def test_the_neighbourhood_is_what_stands_around_a_gap() -> None:
    ts = np.array([at(slot) for slot in range(-500, 500) if slot not in {-3, 0, 1, 2, 7}])
    trades = np.where(ts < START, 4.0, 8.0)
    trades[ts > at(100)] = np.nan
    around = neighbourhood(gap(0, 3), ts, H1, trades)
    assert around == Neighbourhood(2 * NEIGHBOURS, 2, 4.0)
    near_the_end = ts[ts < at(10)]
    assert neighbourhood(gap(0, 3), near_the_end, H1) == pytest.approx(Neighbourhood(NEIGHBOURS + 7, 2, np.nan), nan_ok=True)
    assert neighbourhood(gap(0, 3), ts[:0], H1).opens == 0


def test_a_recorded_venue_that_leaves_out_quiet_hours(real_data: Path) -> None:
    """Kraken gives no bar without a trade. What it misses in a row is likely where others around are missing too; the two days
    of January 2018 in which it stood still are not explained by silence."""
    ts = bars_of(real_data, "kraken/BTCUSD_1h")["ts"]
    gaps = find_gaps(ts, H1, Interval(int(ts[0]), int(ts[-1]) + HOUR))
    classed = [classify(one, H1, Known(omits_empty=True), neighbourhood(one, ts, H1)) for one in gaps]
    assert Counter(one.gap_class for one in classed) == {"no_trade": 3_216, "unknown": 38}
    standstill = Interval(parse_time("2018-01-11T07:00Z"), parse_time("2018-01-13T12:00Z"))
    inside = [one for one in classed if standstill.start_ms <= one.gap.start_ms < standstill.end_ms]
    assert {one.gap_class for one in inside if one.gap.missing > 1} == {"unknown"}
    busy = [classify(one, H1, Known(omits_empty=False), neighbourhood(one, ts, H1)).gap_class for one in gaps]
    assert set(busy) == {"unknown"}
