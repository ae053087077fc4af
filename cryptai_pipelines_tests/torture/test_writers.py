"""Many processes on the same series at once, and writers that slept through their lease."""

from __future__ import annotations

import os
import signal

import pytest

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines.storage.leases import check_lease, take_series
from cryptai_pipelines.storage.urls import database_name
from cryptai_pipelines_tests.cli.command import until
from cryptai_pipelines_tests.databases import administer
from cryptai_pipelines_tests.storage.bars_examples import bar_rows, opens, wire_rows
from cryptai_pipelines_tests.torture.tally import record, size
from cryptai_pipelines_tests.torture.writer import BARS, SERIES, forks, picked, write_after_pause, write_batches

_EXPIRED = "SELECT lease_until < clock_timestamp() FROM historical_data_range WHERE symbol = %s"


@pytest.mark.parametrize("leased", [True, False], ids=["under leases", "many series in one transaction"])
def test_writers_with_shuffled_overlapping_batches(postgres_server: EmbeddedServer, database: Database, leased: bool) -> None:
    # A deadlock is seen at once, so that there can be many.
    administer(postgres_server, "ALTER DATABASE {} SET deadlock_timeout = '20ms'", database_name(database.url))
    writers, batches = size(8, 16), size(8, 100)
    ends, processes = [], []
    for number in range(writers):
        ours, theirs = forks.Pipe()
        processes.append(forks.Process(target=write_batches, args=(database.url, number, batches, leased, theirs)))
        processes[-1].start()
        ends.append(ours)
    told = [end.recv() for end in ends]
    for process in processes:
        process.join()
    failed = [one for one in told if isinstance(one, str)]
    written = sorted({int(at) for number in range(writers) for batch in range(batches) for at in picked(number, batch)})
    expected, lost, altered, duplicated = wire_rows(opens(BARS)), 0, 0, 0
    for series in SERIES:
        keys = (series.symbol,)
        rows = database.rows(
            "SELECT extract(epoch FROM ts)::bigint * 1000, close, revision FROM raw_ohlcv WHERE symbol = %s ORDER BY ts", keys
        )
        stored = database.rows(
            "SELECT extract(epoch FROM ts)::bigint * 1000, close FROM market_data WHERE symbol = %s ORDER BY ts", keys
        )
        model = [(int(expected["ts"][at]), float(expected["close"][at])) for at in written]
        lost += len(set(model) - {row[:2] for row in rows}) + len(set(model) - set(stored))
        altered += len({row[:2] for row in rows} - set(model)) + len(set(stored) - set(model))
        duplicated += len(rows) - len(model) + len(stored) - len(model)
    how = "leased" if leased else "no lease, all in one"
    record("writers", f"batches, {how}", writers * batches, lost, duplicated, altered, len(failed))
    assert not failed and (lost, duplicated, altered) == (0, 0, 0)
    # Each row was written by exactly one of them.
    assert [sum(column) for column in zip(*told, strict=True)] == [len(written) * len(SERIES)] * 2


def test_a_writer_that_slept_through_its_lease_writes_nothing(database: Database) -> None:
    rounds, stale = size(5, 50), 0
    for number in range(rounds):
        series = Series(f"Z{number}-USDT", Timeframe.H1)
        ours, theirs = forks.Pipe()
        process = forks.Process(target=write_after_pause, args=(database.url, series, 0.2, theirs))
        process.start()
        assert process.pid is not None and ours.recv() == "ready"
        os.kill(process.pid, signal.SIGSTOP)
        until(lambda s=series: database.rows(_EXPIRED, (s.symbol,)) == [(True,)], "the end of the lease")
        with take_series(database, "binance", series, "heir", 60) as lease:
            with database.transaction() as cursor:
                check_lease(cursor, lease)
                market_data.upsert(cursor, series, bar_rows(opens(3), seed=7), "binance", "rest")
            ours.send("go")
            os.kill(process.pid, signal.SIGCONT)
            assert ours.recv() in ("LeaseLost", "DatabaseUnavailable")
            process.join()
        stored = market_data.read(database, series)
        stale += stored["open"].tolist() != bar_rows(opens(3), seed=7)["open"].tolist()
    record("writers", "stopped past the lease, continued", rounds, altered=stale)
    assert stale == 0
