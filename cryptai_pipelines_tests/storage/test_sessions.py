"""Connections that are lent again: a session comes back clean or not at all, and idle ones cost the server nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesBusy, take_series
from cryptai_pipelines_tests.storage.bars_examples import fresh_series

_ADVISORY = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"


def test_a_lease_gives_its_connection_back_without_its_lock(database: Database) -> None:
    for _ in range(20):
        with take_series(database, "binance", fresh_series(), "tick", 60):
            assert database.rows(_ADVISORY) == [(1,)]
        assert database.rows(_ADVISORY) == [(0,)]
    assert database.rows(_BACKENDS)[0][0] <= 2


def test_a_refused_lease_leaves_no_lock_behind(database: Database) -> None:
    series, other = fresh_series(), fresh_series()
    with take_series(database, "binance", series, "first", 60):
        with pytest.raises(SeriesBusy), take_series(database, "binance", series, "second", 60):
            pass
        with take_series(database, "binance", other, "second", 60):
            assert database.rows(_ADVISORY) == [(2,)]
    assert database.rows(_ADVISORY) == [(0,)]


def test_a_failing_holder_leaves_no_lock_behind(database: Database) -> None:
    with pytest.raises(KeyError), take_series(database, "binance", fresh_series(), "failing", 60):
        raise KeyError
    with pytest.raises(psycopg2.errors.DivisionByZero):
        with take_series(database, "binance", fresh_series(), "failing", 60) as lease, lease.connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    assert database.rows(_ADVISORY) == [(0,)]


def test_more_leases_than_writers_never_wait_for_each_other(database: Database) -> None:
    narrow = Database(database.url, connections=2)
    together = threading.Barrier(8)

    def work(number: int) -> int:
        with take_series(narrow, "binance", fresh_series(), f"holder {number}", 60):
            together.wait(30)
            return narrow.rows("SELECT %s", (number,))[0][0]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))
    narrow.close()


def test_a_connection_that_was_closed_inside_is_not_lent_again(database: Database) -> None:
    with database.session() as first:
        first.close()
    with database.session() as second:
        assert second is not first and not second.closed


def test_a_statement_of_rows_is_committed_and_a_failed_one_is_not(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE noted (n int PRIMARY KEY)")
    assert database.rows("INSERT INTO noted VALUES (1), (2) RETURNING n") == [(1,), (2,)]
    with pytest.raises(psycopg2.errors.UniqueViolation):
        database.rows("INSERT INTO noted VALUES (3), (1) RETURNING n")
    assert database.rows("SELECT n FROM noted ORDER BY n") == [(1,), (2,)]
    with pytest.raises(KeyError), database.transaction() as cursor:
        cursor.execute("INSERT INTO noted VALUES (4)")
        raise KeyError
    assert database.rows("SELECT max(n) FROM noted") == [(2,)]
