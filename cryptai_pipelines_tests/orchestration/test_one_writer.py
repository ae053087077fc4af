"""A series has one writer at a time and one primary source, whoever comes first and whatever becomes the primary meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.raw_ohlcv import FetchPolicy, VenueNow, bring_up_to_date
from cryptai_pipelines.orchestration.chain.receive import receive_pages
from cryptai_pipelines.orchestration.chain.steps import holding
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import series_sources
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesBusy
from cryptai_pipelines_tests.orchestration.test_chain_properties import walk_bars
from cryptai_pipelines_tests.orchestration.test_holes import wire_rows

SERIES = Series("BTC-USDT", Timeframe.H1)
START = parse_time("2021-01-01T00:00:00Z")
HOUR = Timeframe.H1.ms
ASKED = Interval(START, START + 100 * HOUR)


def page() -> Page:
    return Page(wire_rows(walk_bars(5, set()), ASKED), ASKED, "test://page", "0" * 64, ASKED.end_ms + HOUR)


class Venue:
    """A venue with one page of bars; `wait` is called before it gives anything."""

    def __init__(self, name: str, wait=lambda: None) -> None:
        self.name, self.wait = name, wait

    def origin(self, timeframe: Timeframe) -> str:
        return "rest"

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        self.wait()
        yield page()


def sync(database: Database, venue: Venue, now: object = None) -> None:
    policy = FetchPolicy(10, 10_000)
    with holding(database, venue.name, Settings(), "test")(SERIES) as lease:
        said = now or (lambda: VenueNow(ASKED.end_ms + 60_000, False))
        bring_up_to_date(database, venue, said, lease, policy, run_id="test", window=ASKED)


def test_who_becomes_the_primary_does_not_let_a_second_writer_in(database: Database) -> None:
    hold = holding(database, "binance", Settings(), "test")
    sync(database, Venue("binance"))
    with hold(SERIES) as lease:
        receive_pages(database, lease, "file:x", "csv", [page()], run_id="test", place="first")
        assert series_sources.read_sources(database, SERIES)[0].source == "file:x"
        with pytest.raises(SeriesBusy), hold(SERIES):
            pass
    with hold(SERIES):
        pass


def test_of_two_venues_at_once_one_feeds_the_series(database: Database) -> None:
    """Both have looked at a series that nobody feeds; the second may not write what it fetched."""
    first_begins, second_done = threading.Event(), threading.Event()
    errors: list[str] = []

    def slow() -> VenueNow:
        first_begins.set()
        assert second_done.wait(60)
        return VenueNow(ASKED.end_ms + 60_000, False)

    def slowly() -> None:
        try:
            sync(database, Venue("kraken"), slow)
        except CryptaiError as error:
            errors.append(str(error))

    one = threading.Thread(target=slowly)
    one.start()
    assert first_begins.wait(60)
    sync(database, Venue("binance"))
    # Bars of a file under the lease of the one that waits would be the work of a second writer, too.
    second_done.set()
    one.join(60)
    assert len(errors) == 1 and "binance" in errors[0]
    assert [one.source for one in series_sources.read_sources(database, SERIES)] == ["binance"]
    assert database.rows("SELECT DISTINCT source FROM raw_ohlcv") == [("binance",)]


def test_a_source_of_another_store_s_first_writer_is_refused(database: Database) -> None:
    """A file is imported under a lease taken before anybody fed the series, while a venue began to."""
    with holding(database, "kraken", Settings(), "test")(SERIES) as lease:
        sync(database, Venue("binance"))
        with pytest.raises(CryptaiError, match="binance"):
            receive_pages(database, lease, "file:x", "csv", [page()], run_id="test")
    assert database.rows("SELECT DISTINCT source FROM raw_ohlcv") == [("binance",)]


def test_two_first_sources_at_once_are_ranked_one_after_the_other(database: Database) -> None:
    """Nobody's first source is refused by the database in a way that tells nothing."""
    entered, errors = threading.Event(), []

    def second() -> None:
        entered.set()
        try:
            with database.transaction() as cursor:
                series_sources.register_source(cursor, SERIES, "kraken", "rest")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            errors.append(error)

    with database.transaction() as cursor:
        series_sources.register_source(cursor, SERIES, "binance", "rest")
        other = threading.Thread(target=second)
        other.start()
        assert entered.wait(60)
        _wait_until_blocked(database)
    other.join(60)
    assert errors == []
    assert [(one.source, one.rank) for one in series_sources.read_sources(database, SERIES)] == [("binance", 0), ("kraken", 1)]


def _wait_until_blocked(database: Database) -> None:
    while not database.rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
        pass
