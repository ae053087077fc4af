"""The shared ledger on a real server: exact under concurrency, its windows roll, and it fails closed."""

from __future__ import annotations

import threading

import pytest

from cryptai_pipelines.market.rate_window import RateWindow
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable
from cryptai_pipelines.storage.venue_limits import SharedLedger

# So long that no test sees its end, but by moving the row into the past.
DAY = RateWindow(86_400)
VENUE = "binance http://127.0.0.1:1/api/v3"


def move_back(database: Database, windows: int) -> None:
    """What the row holds was counted `windows` windows ago."""
    database.rows(
        "UPDATE venue_limits SET window_start = window_start - make_interval(secs => %s) RETURNING 1",
        (windows * DAY.length_s,),
    )


def test_what_many_connections_reserve_at_once_is_exactly_what_there_is(database: Database) -> None:
    granted: list[float] = []

    def reserve() -> None:
        ledger = SharedLedger(database, VENUE)
        granted.extend(ledger.reserve(7, 1000, DAY) for _ in range(30))

    threads = [threading.Thread(target=reserve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert granted.count(0.0) == 1000 // 7
    assert all(0 < wait <= DAY.length_s for wait in granted if wait)
    assert database.rows("SELECT used FROM venue_limits") == [(1000 // 7 * 7,)]


def test_a_new_window_is_empty_but_for_what_was_reserved_at_the_end_of_the_last_one(database: Database) -> None:
    ledger = SharedLedger(database, VENUE)
    assert ledger.reserve(90, 100, DAY) == 0
    assert ledger.reserve(20, 100, DAY) > 0
    move_back(database, 1)
    assert ledger.reserve(20, 100, DAY) == 0
    database.rows("UPDATE venue_limits SET used_late = 15 RETURNING 1")
    move_back(database, 1)
    assert ledger.reserve(86, 100, DAY) > 0
    assert ledger.reserve(85, 100, DAY) == 0
    database.rows("UPDATE venue_limits SET used_late = 15 RETURNING 1")
    move_back(database, 2)
    assert ledger.reserve(100, 100, DAY) == 0


def test_what_is_reserved_at_the_end_of_a_window_is_counted_in_both(database: Database) -> None:
    """A window that ends between now and `late_s` from now, by the database's clock."""
    ledger = SharedLedger(database, VENUE)
    now = float(database.rows("SELECT extract(epoch FROM clock_timestamp())")[0][0])
    # A length of which a multiple lies two seconds ahead of the ledger's clock.
    ends = int(now - DAY.margin_s) + 2
    window = RateWindow(ends)
    ledger.reserve(5, 100, window)
    assert database.rows("SELECT used, used_late FROM venue_limits") == [(5, 5)]
    ledger.reserve(6, 100, RateWindow(ends + 3600))
    assert database.rows("SELECT used, used_late FROM venue_limits") == [(11, 5)]


def test_the_venues_count_only_raises_the_sum_of_its_own_window(database: Database) -> None:
    ledger = SharedLedger(database, VENUE)
    ledger.reserve(10, 100, DAY)
    ledger.observe(60, 0.0, DAY)
    ledger.observe(30, 0.0, DAY)
    ledger.observe(95, 2.0 * DAY.length_s, DAY)
    assert ledger.reserve(41, 100, DAY) > 0
    assert ledger.reserve(40, 100, DAY) == 0
    move_back(database, 1)
    ledger.reserve(1, 100, DAY)
    ledger.observe(99, 0.0, DAY)
    assert ledger.reserve(2, 100, DAY) > 0


def test_a_weight_that_never_fits_is_let_through_once_a_window(database: Database) -> None:
    ledger = SharedLedger(database, VENUE)
    assert ledger.reserve(200, 100, DAY) == 0
    assert ledger.reserve(200, 100, DAY) > 0


def test_a_silence_is_for_everyone_on_the_same_venue_and_only_grows(database: Database) -> None:
    one, other, elsewhere = (SharedLedger(database, key) for key in (VENUE, VENUE, "binance https://api.binance.com/api/v3"))
    assert one.closed_for() == 0
    one.close_for(100)
    other.close_for(1)
    assert 60 < one.closed_for() <= 100
    assert 60 < other.closed_for() <= 100
    assert elsewhere.closed_for() == 0
    assert one.reserve(1, 10, DAY) == 0, "a silence leaves the window as it is"


def test_without_the_database_nobody_calls() -> None:
    ledger = SharedLedger(Database("postgresql://nobody@127.0.0.1:1/nothing"), VENUE)
    for ask in (lambda: ledger.reserve(1, 10, DAY), ledger.closed_for, lambda: ledger.close_for(3)):
        with pytest.raises(DatabaseUnavailable) as error:
            ask()
        assert "\n" not in str(error.value)
