"""Outages of a venue against counting, open time by open time, which symbols miss their bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.gap_classes import Known, classify
from cryptai_pipelines.quality.gaps import find_gaps
from cryptai_pipelines.quality.outages import Looked, Outage, find_outages, lacked_by_venue
from cryptai_pipelines_tests.quality.recorded import bars_of, timeframe_of

HOUR = Timeframe.H1.ms
START = 1_600_000_000_000 // Timeframe.D1.ms * Timeframe.D1.ms
SLOTS = 40


@st.composite
def venues(draw: st.DrawFn) -> tuple[dict[Series, set[int]], dict[Series, Interval]]:
    """Up to five symbols: the slots that each misses, and from where to where it is covered."""
    missed, covered = {}, {}
    for number in range(draw(st.integers(0, 5))):
        series = Series(f"S{number}-USDT", Timeframe.H1)
        first, last = sorted(draw(st.tuples(st.integers(0, SLOTS), st.integers(0, SLOTS))))
        covered[series] = Interval(START + first * HOUR, START + (last + 1) * HOUR)
        missed[series] = {slot for slot in draw(st.sets(st.integers(0, SLOTS), max_size=30)) if first <= slot <= last}
    return missed, covered


def gaps_of(missed: dict[Series, set[int]], covered: dict[Series, Interval]) -> dict[Series, list[Interval]]:
    found = {}
    for series, slots in missed.items():
        opens = np.array([ts for ts in series.timeframe.opens(*covered[series]) if (ts - START) // HOUR not in slots], "int64")
        found[series] = [Interval(gap.start_ms, gap.end_ms) for gap in find_gaps(opens, series.timeframe, covered[series])]
    return found


@given(venue=venues(), least=st.integers(1, 3), share=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=300)
def test_an_outage_is_when_enough_symbols_miss_their_bar(venue, least: int, share: float) -> None:
    missed, covered = venue
    down = []
    for slot in range(SLOTS + 1):
        ts = START + slot * HOUR
        alive = [series for series, span in covered.items() if span.start_ms <= ts < span.end_ms]
        missing = [series for series in alive if slot in missed[series]]
        down.append(len(missing) >= least and len(missing) >= share * len(alive) and len(covered) >= least)
    outages = find_outages(gaps_of(missed, covered), covered, least_symbols=least, least_share=share)
    told = [any(one.start_ms <= START + slot * HOUR < one.end_ms for one in outages) for slot in range(SLOTS + 1)]
    assert told == down
    assert all(a.end_ms < b.start_ms for a, b in zip(outages[:-1], outages[1:], strict=True))
    for one in outages:
        slots = range((one.start_ms - START) // HOUR, (one.end_ms - START) // HOUR)
        assert one.symbols == tuple(sorted(s.symbol for s, gone in missed.items() if gone & set(slots)))
        assert (one.start_ms - START) % HOUR == (one.end_ms - START) % HOUR == 0


@given(venue=venues(), data=st.data())
@settings(max_examples=200)
def test_what_other_sources_close_is_lacked_by_the_venue_all_the_same(venue, data: st.DataObject) -> None:
    """Whichever holes others have closed: looked at where they may have done so, the venue lacks what it did before."""
    missed, covered = venue
    before = gaps_of(missed, covered)
    left, looked = {}, {}
    for series, slots in missed.items():
        closed = data.draw(st.sets(st.sampled_from(sorted(slots)))) if slots else set()
        left[series] = slots - closed
        wider = data.draw(st.integers(0, 3))
        spans = [Interval(START + (slot - wider) * HOUR, START + (slot + 1 + wider) * HOUR) for slot in closed]
        had = [ts for ts in series.timeframe.opens(*covered[series]) if (ts - START) // HOUR not in slots]
        looked[series] = [Looked(span, np.array([ts for ts in had if span[0] <= ts < span[1]], "int64")) for span in spans]
    lacked = lacked_by_venue(gaps_of(left, covered), covered, looked)
    assert lacked == before


def test_a_venue_lacks_nothing_outside_of_what_it_covers() -> None:
    series, other = Series("A1-USDT", Timeframe.H1), Series("B1-USDT", Timeframe.H1)
    gap = Interval(START - 2 * HOUR, START + 3 * HOUR)
    within = Interval(START + 1, START + 9 * HOUR)
    assert lacked_by_venue({series: [gap], other: [gap]}, {series: within}, {}) == {
        series: [Interval(START + HOUR, START + 3 * HOUR)]
    }
    looked = {series: [Looked(Interval(START + 8 * HOUR, START + 12 * HOUR), np.empty(0, "int64"))]}
    assert lacked_by_venue({}, {series: within}, looked) == {series: [Interval(START + 8 * HOUR, START + 9 * HOUR)]}


def test_what_two_timeframes_see_is_one_outage() -> None:
    days = [Interval(START + 24 * HOUR, START + 48 * HOUR)]
    hours = [Interval(START + 20 * HOUR, START + 30 * HOUR)]
    gaps, covered = {}, {}
    for symbol in ("A1-USDT", "B1-USDT"):
        for timeframe, spans in ((Timeframe.D1, days), (Timeframe.H1, hours)):
            gaps[Series(symbol, timeframe)] = spans
            covered[Series(symbol, timeframe)] = Interval(START, START + 96 * HOUR)
    found = find_outages(gaps, covered)
    assert found == [Outage(START + 20 * HOUR, START + 48 * HOUR, ("A1-USDT", "B1-USDT"), 2, ("1d", "1h"))]


def test_one_symbol_alone_tells_nothing_of_its_venue() -> None:
    series = Series("A1-USDT", Timeframe.H1)
    assert find_outages({series: [Interval(START, START + HOUR)]}, {series: Interval(START, START + 9 * HOUR)}) == []
    assert find_outages({}, {}) == []


OUTAGES = """
2018-02-08T04:00:00Z 2018-02-09T08:00:00Z
2018-06-26T04:00:00Z 2018-06-26T12:00:00Z
2018-07-04T04:00:00Z 2018-07-04T08:00:00Z
2018-11-14T04:00:00Z 2018-11-14T08:00:00Z
2019-03-12T04:00:00Z 2019-03-12T08:00:00Z
2019-05-15T04:00:00Z 2019-05-15T12:00:00Z
2019-08-15T04:00:00Z 2019-08-15T08:00:00Z
2020-02-19T12:00:00Z 2020-02-19T16:00:00Z
2020-11-30T06:00:00Z 2020-11-30T07:00:00Z
2020-12-21T14:00:00Z 2020-12-21T18:00:00Z
2020-12-25T02:00:00Z 2020-12-25T03:00:00Z
2021-02-11T04:00:00Z 2021-02-11T05:00:00Z
2021-03-06T02:00:00Z 2021-03-06T03:00:00Z
2021-04-20T02:00:00Z 2021-04-20T04:00:00Z
2021-04-25T05:00:00Z 2021-04-25T08:00:00Z
2021-08-13T02:00:00Z 2021-08-13T06:00:00Z
2021-09-29T07:00:00Z 2021-09-29T09:00:00Z
2023-03-24T13:00:00Z 2023-03-24T14:00:00Z
""".strip().splitlines()


def test_outages_of_a_recorded_venue_and_the_gaps_they_explain(real_data: Path) -> None:
    """Three symbols of one venue, on hours and on four hours. What one symbol misses before the others began stays unknown."""
    gaps, covered = {}, {}
    for name in ("BTCUSDT_1h", "ETHUSDT_1h", "SOLUSDT_1h", "BTCUSDT_4h", "ETHUSDT_4h", "SOLUSDT_4h"):
        ts, timeframe = bars_of(real_data, f"binance/{name}")["ts"], timeframe_of(name)
        series = Series(f"{name[:3]}-USDT", timeframe)
        covered[series] = Interval(int(ts[0]), int(ts[-1]) + timeframe.ms)
        gaps[series] = find_gaps(ts, timeframe, covered[series])
    found = find_outages({series: [Interval(*gap[:2]) for gap in some] for series, some in gaps.items()}, covered)
    assert [f"{format_time(one.start_ms)} {format_time(one.end_ms)}" for one in found] == OUTAGES
    known = Known(outages=[Interval(one.start_ms, one.end_ms) for one in found], omits_empty=False)
    classes = {str(series): [classify(gap, series.timeframe, known).gap_class for gap in some] for series, some in gaps.items()}
    assert classes["BTC-USDT 1h"].count("venue_outage") == 18 and classes["BTC-USDT 1h"].count("unknown") == 10
    for name in ("ETH-USDT 1h", "SOL-USDT 1h", "BTC-USDT 4h", "ETH-USDT 4h"):
        assert set(classes[name]) == {"venue_outage"}


@pytest.mark.parametrize("symbols", [2_000])
def test_many_symbols_with_many_gaps_are_no_problem(symbols: int) -> None:
    random, gaps, covered = np.random.default_rng(0), {}, {}
    for number in range(symbols):
        series = Series(f"S{number}-USDT", Timeframe.M1)
        covered[series] = Interval(START, START + 10_000 * 60_000)
        starts = np.sort(random.choice(9_990, 50, replace=False)) * 60_000 + START
        gaps[series] = [Interval(int(start), int(start) + 60_000) for start in starts]
    assert find_outages(gaps, covered) == []
