"""One writer per series: live holders keep others out, dead ones do not, and a paused one that was replaced cannot write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage import coverage, health, leases, market_data, state, sync_log
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable, connect
from cryptai_pipelines.storage.leases import LeaseLost, SeriesBusy, check_lease, take_series
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.storage.bars_examples import bar_rows, fresh_series, opens

_WRITER = "cryptai_pipelines_tests.storage.writer_process"


def _writer(db: Database, series: Series, mode: str, lease_s: float = 60.0) -> subprocess.Popen[str]:
    """A process that takes the series and then does as `mode` says (see `writer_process`); it has said so when this returns."""
    command = [sys.executable, "-m", _WRITER, db.url, series.symbol, series.timeframe.code, mode, str(lease_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout.readline().strip() == "ready"
    return process


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not reached in time"
        time.sleep(0.01)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _statuses(db: Database, series: Series) -> list[tuple[str, str | None]]:
    return [(sync["status"], sync["error"]) for sync in sync_log.read_syncs(db, series)]


def test_a_live_holder_keeps_the_series(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "run one", 60):
        with pytest.raises(SeriesBusy, match=rf"binance {series} is being written by run one"):
            with take_series(database_per_module, "binance", series, "run two", 60):
                pass
        with take_series(database_per_module, "kraken", series, "run two", 60) as other:
            assert other.token == 1
    with take_series(database_per_module, "binance", series, "run three", 60) as lease:
        assert lease.token == 2


def test_a_killed_holder_is_replaced_at_once(database_per_module: Database) -> None:
    series = fresh_series()
    process = _writer(database_per_module, series, "hold")
    _kill(process)
    with take_series(database_per_module, "binance", series, "heir", 60) as lease:
        assert lease.token == 2
        assert _statuses(database_per_module, series) == [("FAILED", "abandoned: writer ended without finishing")]
        with database_per_module.transaction() as cursor:
            check_lease(cursor, lease)


@pytest.mark.parametrize("mode", ["copying", "uncommitted"])
def test_a_writer_killed_amid_its_transaction_leaves_nothing_and_frees_the_series(
    database_per_module: Database, mode: str
) -> None:
    series = fresh_series()
    process = _writer(database_per_module, series, mode)
    _kill(process)
    with take_series(database_per_module, "binance", series, "heir", 60) as lease:
        assert market_data.span(database_per_module, series) is None
        with database_per_module.transaction() as cursor:
            check_lease(cursor, lease)
            assert market_data.upsert(cursor, series, bar_rows(opens(50)), "binance", "rest").new == 50
    assert len(market_data.read(database_per_module, series)) == 50


@pytest.mark.parametrize("mode", ["write on input", "uncommitted"])
def test_a_paused_writer_is_fenced_after_its_lease(database_per_module: Database, mode: str) -> None:
    series = fresh_series()
    process = _writer(database_per_module, series, mode, lease_s=0.2)
    try:
        os.kill(process.pid, signal.SIGSTOP)
        expired = "SELECT lease_until < clock_timestamp() FROM historical_data_range WHERE symbol = %s"
        _until(lambda: database_per_module.rows(expired, (series.symbol,)) == [(True,)])
        with take_series(database_per_module, "binance", series, "heir", 60) as lease:
            with database_per_module.transaction() as cursor:
                check_lease(cursor, lease)
                market_data.upsert(cursor, series, bar_rows(opens(3), seed=7), "binance", "rest")
            os.kill(process.pid, signal.SIGCONT)
            told, _ = process.communicate("go\n", timeout=30)
            # Either its token was refused, or the connection in whose transaction it was is gone.
            assert told.strip() in ("LeaseLost", "DatabaseUnavailable")
            with database_per_module.transaction() as cursor:
                check_lease(cursor, lease)
        stored = market_data.read(database_per_module, series)
        assert stored["open"].tolist() == bar_rows(opens(3), seed=7)["open"].tolist()
    finally:
        _kill(process)


def test_a_paused_writer_within_its_lease_keeps_the_series(database_per_module: Database) -> None:
    series = fresh_series()
    process = _writer(database_per_module, series, "write on input", lease_s=600)
    try:
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(SeriesBusy, match="by writer"):
            with take_series(database_per_module, "binance", series, "heir", 60):
                pass
        os.kill(process.pid, signal.SIGCONT)
        told, _ = process.communicate("go\n", timeout=30)
        assert told.strip() == "written"
    finally:
        _kill(process)
    assert len(market_data.read(database_per_module, series)) == 50


def test_an_expired_lease_that_nobody_took_may_go_on(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "slow", 0.0) as lease:
        with database_per_module.transaction() as cursor:
            check_lease(cursor, lease)
            market_data.upsert(cursor, series, bar_rows(opens(2)), "binance", "rest")
    assert len(market_data.read(database_per_module, series)) == 2


def test_a_write_leaves_at_least_the_whole_lease(database_per_module: Database) -> None:
    series = fresh_series()
    left = "SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 FROM historical_data_range WHERE symbol = %s"
    with take_series(database_per_module, "binance", series, "steady", 60) as lease:
        for lease_s, least, most in ((60.0, 60, 75), (50.0, 60, 75), (200.0, 200, 250)):
            with database_per_module.transaction() as cursor:
                check_lease(cursor, replace(lease, lease_s=lease_s))
            assert least < database_per_module.rows(left, (series.symbol,))[0][0] <= most
    assert database_per_module.rows(left, (series.symbol,)) == [(None,)]


def test_two_transactions_of_one_holder_write_at_a_time(database_per_module: Database) -> None:
    series = fresh_series()
    with (
        take_series(database_per_module, "binance", series, "one", 60) as lease,
        database_per_module.transaction() as bars,
        database_per_module.transaction() as log,
    ):
        for cursor in (bars, log):
            cursor.execute("SET LOCAL lock_timeout = '2s'")
            check_lease(cursor, lease)
        market_data.upsert(bars, series, bar_rows(opens(3)), "binance", "rest")
        state.record_change(log, "raw_ohlcv", series, Change(3, 0, 0, 120_000))
    assert market_data.span(database_per_module, series) is not None


def test_losing_the_connection_while_taking_a_series_is_told_in_one_line(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "before", 60) as lease:
        sync_log.start_sync(database_per_module, lease)
    blocker = connect(database_per_module.url)
    told: list[BaseException] = []

    def take() -> None:
        try:
            with take_series(database_per_module, "binance", series, "heir", 60):
                pass
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            told.append(error)

    with blocker.cursor() as cursor:
        cursor.execute("SELECT 1 FROM data_sync_log WHERE symbol = %s FOR UPDATE", (series.symbol,))
        heir = threading.Thread(target=take)
        heir.start()
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
        _until(lambda: bool(database_per_module.rows(waiting, ("WITH former AS%",))))
        database_per_module.rows(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS w", ("WITH former AS%",))
        heir.join(30)
    blocker.close()
    assert [type(error) for error in told] == [DatabaseUnavailable]


def test_heirs_that_race_for_an_expired_lease_do_not_end_each_other(database_per_module: Database) -> None:
    """One of them gets it and keeps it; the others are told that it is busy."""
    for _ in range(10):
        series = fresh_series()
        with take_series(database_per_module, "binance", series, "former", 0.0):
            barrier, told = threading.Barrier(4), list[str]()

            def take(name: str, series: Series = series, barrier=barrier, told=told) -> None:
                barrier.wait()
                try:
                    with take_series(database_per_module, "binance", series, name, 60) as lease:
                        _until(lambda: len(told) == 3)
                        with database_per_module.transaction() as cursor:
                            check_lease(cursor, lease)
                        told.append("held")
                except SeriesBusy:
                    told.append("busy")

            heirs = [threading.Thread(target=take, args=(f"heir {number}",)) for number in range(4)]
            for heir in heirs:
                heir.start()
            for heir in heirs:
                heir.join(30)
            assert sorted(told) == ["busy", "busy", "busy", "held"]


def test_whoever_takes_a_series_over_ends_every_transaction_of_its_holder(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "former", 60) as lease:
        with pytest.raises(DatabaseUnavailable), database_per_module.transaction() as cursor:
            with pytest.raises(DatabaseUnavailable), database_per_module.transaction() as other:
                check_lease(cursor, lease)
                check_lease(other, lease)
                lease.connection.close()
                with take_series(database_per_module, "binance", series, "heir", 60):
                    other.execute("SELECT 1")
            cursor.execute("SELECT 1")


def test_losing_the_lock_connection_does_not_hide_what_went_wrong(database_per_module: Database) -> None:
    series = fresh_series()
    with pytest.raises(KeyError), take_series(database_per_module, "binance", series, "cut off", 60) as lease:
        admin = connect(database_per_module.url, autocommit=True)
        with admin.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (lease.connection.get_backend_pid(),))
        admin.close()
        raise KeyError
    with take_series(database_per_module, "binance", series, "next", 60) as lease:
        assert lease.token == 2


def test_a_transaction_that_outlived_its_lock_is_ended_by_the_next_holder(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "former", 60) as lease:
        with pytest.raises(DatabaseUnavailable), database_per_module.transaction() as cursor:
            check_lease(cursor, lease)
            market_data.upsert(cursor, series, bar_rows(opens(3)), "binance", "rest")
            # The lock's connection is lost while this transaction goes on, as when a network drops idle connections.
            lease.connection.close()
            with take_series(database_per_module, "binance", series, "heir", 60) as heir:
                assert heir.token == 2
            cursor.execute("SELECT 1")
    assert market_data.span(database_per_module, series) is None


def test_a_token_that_is_not_ours_cannot_write(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "one", 60) as former:
        pass
    with take_series(database_per_module, "binance", series, "two", 60):
        with pytest.raises(LeaseLost, match="taken over from one"), database_per_module.transaction() as cursor:
            check_lease(cursor, former)


def test_syncs_are_counted_and_timed(database_per_module: Database) -> None:
    series = fresh_series()
    with take_series(database_per_module, "binance", series, "run", 60) as lease:
        sync = sync_log.start_sync(database_per_module, lease, run_id="abc")
        assert _statuses(database_per_module, series) == [("RUNNING", None)]
        counts = {name: number for number, name in enumerate(sync_log.COUNTS, start=2)}
        with database_per_module.transaction() as cursor:
            sync_log.finish_sync(cursor, sync, "PARTIAL", counts, error="one page short")
    [row] = sync_log.read_syncs(database_per_module, series)
    assert {name: row[name] for name in counts} == counts
    assert (row["id"], row["status"], row["run_id"], row["token"]) == (sync, "PARTIAL", "abc", 1)
    assert row["duration_seconds"] == (row["finished_at"] - row["started_at"]).total_seconds()


def test_a_row_that_says_running_is_never_older_than_its_lease(database_per_module: Database) -> None:
    silent, busy = fresh_series(), fresh_series()
    with (
        take_series(database_per_module, "binance", silent, "silent", 0.2) as lease,
        take_series(database_per_module, "binance", busy, "busy", 0.2) as extended,
    ):
        sync = sync_log.start_sync(database_per_module, lease)
        other = sync_log.start_sync(database_per_module, extended)
        with database_per_module.transaction() as cursor:
            check_lease(cursor, replace(extended, lease_s=600.0))
        _until(lambda: sync_log.close_expired(database_per_module) > 0)
        assert _statuses(database_per_module, silent) == [("FAILED", "abandoned: its lease ran out")]
        assert _statuses(database_per_module, busy) == [("RUNNING", None)]
        assert sync_log.close_expired(database_per_module) == 0
        # Nobody took the series, so the silent one may end well after all, and the log tells so.
        with database_per_module.transaction() as cursor:
            check_lease(cursor, lease)
            sync_log.finish_sync(cursor, sync, "COMPLETED", {})
            sync_log.finish_sync(cursor, other, "COMPLETED", {})
    assert _statuses(database_per_module, silent) == [("COMPLETED", None)] == _statuses(database_per_module, busy)


def test_a_planned_sync_is_pending_until_its_run_begins_it(database_per_module: Database) -> None:
    begun, waiting, taken = fresh_series(), fresh_series(), fresh_series()
    sync_log.plan_syncs(database_per_module, "binance", [begun, waiting, taken], "planner", 60)
    assert all(_statuses(database_per_module, one) == [("PENDING", None)] for one in (begun, waiting, taken))
    with take_series(database_per_module, "binance", taken, "another", 60) as lease:
        sync_log.start_sync(database_per_module, lease, "another")
    # Whoever takes the series next closes what `another` left running; what the planner is going to do stays.
    with take_series(database_per_module, "binance", taken, "heir", 60):
        assert [status for status, _ in _statuses(database_per_module, taken)] == ["FAILED", "PENDING"]
    with take_series(database_per_module, "binance", begun, "planner", 60) as lease:
        [planned] = sync_log.read_syncs(database_per_module, begun)
        assert sync_log.start_sync(database_per_module, lease, "planner", "kraken") != planned["id"], "another source's"
        assert sync_log.start_sync(database_per_module, lease, "planner") == planned["id"]
        assert sync_log.start_sync(database_per_module, lease, "planner") != planned["id"], "begun but once"
        running = next(one for one in sync_log.read_syncs(database_per_module, begun) if one["id"] == planned["id"])
        assert running["status"] == "RUNNING" and running["started_at"] > planned["started_at"]
        assert running["token"] == lease.token
    assert sync_log.forget_planned(database_per_module, "planner") == 2
    assert _statuses(database_per_module, waiting) == []


def test_of_what_was_planned_twice_one_row_is_begun_and_newest_comes_first(database_per_module: Database) -> None:
    """As by a run that took the name of one that was killed."""
    series = fresh_series()
    for _ in range(2):
        sync_log.plan_syncs(database_per_module, "binance", [series], "twice", 60)
    with take_series(database_per_module, "binance", series, "twice", 60) as lease:
        first = sync_log.start_sync(database_per_module, lease, "twice")
        assert sorted(status for status, _ in _statuses(database_per_module, series)) == ["PENDING", "RUNNING"]
        assert sync_log.read_syncs(database_per_module, series)[0]["id"] == first
        assert sync_log.start_sync(database_per_module, lease, "twice") != first
    assert sync_log.forget_planned(database_per_module, "twice") == 0


def test_whoever_plans_next_removes_what_a_killed_run_left(database_per_module: Database) -> None:
    left, other = fresh_series(), fresh_series()
    sync_log.plan_syncs(database_per_module, "binance", [left], "killed", 0.0)
    sync_log.plan_syncs(database_per_module, "binance", [other], "next", 60)
    assert _statuses(database_per_module, left) == []
    assert health.lacking_series(database_per_module, "binance", [other]) == [other], "it has no coverage"
    with take_series(database_per_module, "binance", other, "before", 60) as lease:
        sync = sync_log.start_sync(database_per_module, lease, "before")
        with database_per_module.transaction() as cursor:
            sync_log.finish_sync(cursor, sync, "COMPLETED", {})
            coverage.extend_coverage(cursor, "binance", other, Interval(0, other.timeframe.ms))
    sync_log.plan_syncs(database_per_module, "binance", [other], "next again", 60)
    assert health.lacking_series(database_per_module, "binance", [other]) == [], "what waits is not what failed"


def test_what_a_dead_run_has_planned_is_forgotten(database_per_module: Database) -> None:
    held, waiting, of_the_dead = fresh_series(), fresh_series(), fresh_series()
    with take_series(database_per_module, "binance", held, "alive", 60):
        sync_log.plan_syncs(database_per_module, "binance", [of_the_dead], "dead", 0.0)
        sync_log.plan_syncs(database_per_module, "binance", [waiting], "alive", 0.0)
        sync_log.close_expired(database_per_module)
        assert _statuses(database_per_module, waiting) == [("PENDING", None)]
        assert _statuses(database_per_module, of_the_dead) == []
    sync_log.close_expired(database_per_module)
    assert _statuses(database_per_module, waiting) == []


def test_the_lock_is_gone_with_the_block_even_when_it_fails(database_per_module: Database) -> None:
    series = fresh_series()
    for number in range(3):
        with pytest.raises(KeyError), take_series(database_per_module, "binance", series, "run", 60) as lease:
            assert lease.token == number + 1
            raise KeyError
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND ((classid::bigint << 32) | objid::bigint) = %s"
    assert database_per_module.rows(held, (leases._session_key("binance", series),)) == [(0,)]
