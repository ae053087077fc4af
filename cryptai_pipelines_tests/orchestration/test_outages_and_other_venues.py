"""An outage is what the venue itself lacks: whatever part of its holes another source closes, and whenever that is assessed,
the outage stays as it is and so does the completeness of the other symbols. Only the venue takes it away, by delivering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.data_quality import QualityAssessment, SeriesQuality, assess
from cryptai_pipelines.orchestration.chain.holes import Door, close_holes
from cryptai_pipelines.quality.outages import Outage
from cryptai_pipelines.storage import gap_fills, outages
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.gap_fills import Attempt
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, slots, store, without

H1, HOUR = Timeframe.H1, Timeframe.H1.ms
DAY = 24 * HOUR
BTC, ETH = (Series(f"{base}-USDT", H1) for base in ("BTC", "ETH"))
BOTH = (BTC, ETH)
ROWS = {series: hourly(400, seed) for seed, series in enumerate(BOTH)}
START = int(ROWS[BTC]["ts"][0])
NOW = START + 500 * HOUR
HOLE = range(300, 306)
OUTAGE = Outage(START + 300 * HOUR, START + 306 * HOUR, ("BTC-USDT", "ETH-USDT"), 2, ("1h",))
PARTS = {"first": range(300, 303), "middle": range(302, 304), "last": range(303, 306), "ends": (300, 305), "all": HOLE}


@pytest.fixture
def venue(database: Database) -> Database:
    """Two symbols of one venue that both miss six hours."""
    for series in BOTH:
        store(database, series, without(ROWS[series], HOLE))
    return database


def look(database: Database, now_ms: int = NOW) -> QualityAssessment:
    """An assessment, of which a second one finds no news."""
    told = assess(database, "binance", BOTH, now_ms)
    rows = database.rows("SELECT * FROM venue_outages ORDER BY venue, outage_start")
    again = assess(database, "binance", BOTH, now_ms + HOUR)
    assert again.changed == 0 and again.outages == told.outages and again.series == told.series
    assert database.rows("SELECT * FROM venue_outages ORDER BY venue, outage_start") == rows
    return told


def door(source: str, origin: str, series: Series, having: Sequence[int], now_ms: int) -> Door:
    """A source that has these slots."""

    def bars(start_ms: int, end_ms: int) -> Iterator[Page]:
        inside = [slot for slot in having if start_ms <= START + slot * HOUR < end_ms]
        yield Page(slots(ROWS[series], inside), Interval(start_ms, end_ms), f"test://{source}", "0" * 64, now_ms)

    return Door(source, origin, bars)


def close(database: Database, series: Series, having: Sequence[int], now_ms: int = NOW, own: Sequence[int] = ()) -> None:
    """The venue is asked for the holes and has the slots of `own`, then a second venue has those of `having`."""
    doors = [door("binance", "rest", series, own, now_ms), door("coinbase", "secondary", series, having, now_ms)]
    with take_series(database, "binance", series, "test", 60.0) as lease:
        close_holes(database, lease, doors, "carry_forward", now_ms, run_id="test")


def completeness(told: SeriesQuality) -> tuple[int, int, float | None]:
    return told.total.received, told.total.in_outage, told.total.completeness


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("closed", [(BTC,), (ETH,), BOTH], ids=["BTC", "ETH", "both"])
def test_what_a_second_venue_closes_leaves_the_outage_as_it_is(venue: Database, part: str, closed: Sequence[Series]) -> None:
    before = look(venue)
    assert before.outages == (OUTAGE,)
    row = venue.rows("SELECT * FROM venue_outages")
    for series in closed:
        close(venue, series, PARTS[part])
    after = look(venue, NOW + DAY)
    assert venue.rows("SELECT * FROM venue_outages") == row
    for one, was in zip(after.series, before.series, strict=True):
        had = len(PARTS[part]) if one.series in closed else 0
        assert completeness(one) == (394 + had, 6 - had, 1.0)
        assert set(one.gaps) <= {"venue_outage"}
        if one.series not in closed:
            assert one == was


@pytest.mark.parametrize("part", PARTS)
def test_it_does_not_matter_whether_holes_are_closed_before_the_first_assessment(venue: Database, part: str) -> None:
    close(venue, BTC, PARTS[part])
    told = look(venue)
    assert told.outages == (OUTAGE,)
    assert completeness(told.series[1]) == (394, 6, 1.0)


@pytest.mark.parametrize("assessed_from", range(5))
def test_part_after_part_is_closed(venue: Database, assessed_from: int) -> None:
    """What is left of a gap is asked for again, from the same start: the attempt before is overwritten by that."""
    for number, having in enumerate(((), (305,), (303, 304), (300,), HOLE)):
        for series in BOTH[: 1 + number % 2]:
            close(venue, series, having, NOW + 7 * number * DAY)
        if number >= assessed_from:
            assert look(venue, NOW + 7 * number * DAY).outages == (OUTAGE,)


def test_a_file_that_closes_holes_is_no_bar_of_the_venue(venue: Database) -> None:
    look(venue)
    store(venue, BTC, slots(ROWS[BTC], HOLE[:3]), source="file:x", origin="csv", known_at_ms=NOW)
    assert look(venue).outages == (OUTAGE,)
    store(venue, ETH, slots(ROWS[ETH], HOLE), source="file:x", origin="csv", known_at_ms=NOW)
    assert look(venue).outages == (OUTAGE,)


@pytest.mark.parametrize("elsewhere", [None, *PARTS])
@pytest.mark.parametrize("source", [("binance", "rest"), ("binance_archive", "archive")], ids=str)
def test_an_outage_goes_with_what_the_venue_itself_delivers(
    venue: Database, elsewhere: str | None, source: tuple[str, str]
) -> None:
    look(venue)
    if elsewhere is not None:
        for series in BOTH:
            close(venue, series, PARTS[elsewhere])
        look(venue)
    name, origin = source
    store(venue, BTC, slots(ROWS[BTC], HOLE[:2]), source=name, origin=origin, known_at_ms=NOW)
    assert look(venue).outages == (OUTAGE._replace(start_ms=START + 302 * HOUR),)
    store(venue, ETH, slots(ROWS[ETH], HOLE[3:4]), source=name, origin=origin, known_at_ms=NOW)
    spans = [((one.start_ms - START) // HOUR, (one.end_ms - START) // HOUR) for one in look(venue).outages]
    assert spans == [(302, 303), (304, 306)]
    store(venue, BTC, slots(ROWS[BTC], HOLE[2:]), source=name, origin=origin, known_at_ms=NOW)
    told = look(venue)
    assert told.outages == () and told.series[0].total.received == 400
    assert told.series[1].total.in_outage == 0


def test_the_venue_has_some_bars_and_another_one_the_rest(venue: Database) -> None:
    close(venue, BTC, HOLE, own=HOLE[4:])
    told = look(venue)
    assert told.outages == (OUTAGE._replace(end_ms=START + 304 * HOUR),)
    assert completeness(told.series[1]) == (394, 4, 394 / 396)


def test_a_bar_of_the_venue_that_is_refused_is_none(venue: Database) -> None:
    look(venue)
    bad = slots(ROWS[BTC], HOLE)
    bad["low"] = bad["high"] * 2
    store(venue, BTC, bad, known_at_ms=NOW)
    assert look(venue).outages == (OUTAGE,)
    close(venue, BTC, HOLE)
    assert look(venue).outages == (OUTAGE,)
    store(venue, BTC, slots(ROWS[BTC], HOLE), known_at_ms=NOW + HOUR)
    assert look(venue).outages == ()
    store(venue, BTC, bad, known_at_ms=NOW + 2 * HOUR)
    close(venue, BTC, HOLE[:3], NOW + 7 * DAY)
    assert look(venue).outages == (OUTAGE,)


def test_a_declared_outage_is_left_alone_and_a_failure_hides_none(venue: Database) -> None:
    declared = Outage(START + 299 * HOUR, START + 303 * HOUR, (), 0, ())
    with venue.transaction() as cursor:
        outages.declare_outage(cursor, "binance", declared, "its status page", NOW)
    close(venue, BTC, HOLE[:3])
    assert look(venue).outages == (declared, OUTAGE)
    gap = Interval(OUTAGE.start_ms, OUTAGE.end_ms)
    with venue.transaction() as cursor:
        gap_fills.record_attempt(cursor, ETH, Attempt("binance", gap, NOW, 0, "the venue is down"))
    assert look(venue).outages == (declared, OUTAGE)


def test_outages_that_were_shortened_or_doubled_are_put_right(venue: Database) -> None:
    close(venue, BTC, HOLE[:3])
    wrong = [OUTAGE, OUTAGE._replace(start_ms=START + 303 * HOUR)]
    with venue.transaction() as cursor:
        outages.replace_outages(cursor, "binance", wrong, NOW)
    assert look(venue).outages == (OUTAGE,)
    with venue.transaction() as cursor:
        outages.replace_outages(cursor, "binance", wrong[1:], NOW)
    assert look(venue).outages == (OUTAGE,)
