"""Processes that write one series all at once: what each of them writes, and in which way it takes its turn. Started by
`test_writers`; forked from a warm server, so that one costs little."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

import numpy as np

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import market_data, raw
from cryptai_pipelines.storage.database import Cursor, Database, DatabaseUnavailable, run_transaction
from cryptai_pipelines.storage.leases import LeaseLost, SeriesBusy, check_lease, take_series
from cryptai_pipelines_tests.storage.bars_examples import START, bar_rows, opens, wire_rows

forks = multiprocessing.get_context("forkserver")
# What a writer or a step would import when it needs it is there already.
forks.set_forkserver_preload(
    [
        "cryptai_pipelines_tests.torture.writer",
        "cryptai_pipelines_tests.torture.step_process",
        "adbc_driver_postgresql.dbapi",
        "ccxt",
        "pandera.pandas",
        "requests",
    ]
)

BARS = 1_000
BATCH = 300
SERIES = tuple(Series(f"W{number}-USDT", Timeframe.H1) for number in range(3))


def picked(number: int, batch: int) -> np.ndarray:
    """Positions of the bars that writer `number` writes in its batch, in the order in which it does."""
    return np.random.default_rng((number, batch)).permutation(BARS)[:BATCH]


def write_batches(url: str, number: int, batches: int, leased: bool, told: Connection) -> None:
    """Write `batches` shuffled batches; tells (raw rows written, bars written), or what went wrong."""
    database = Database(url)
    wire, bars = wire_rows(opens(BARS)), bar_rows(opens(BARS))
    counts = [0, 0]
    try:
        for batch in range(batches):
            at = picked(number, batch)
            order = np.random.default_rng((number, batch, 1)).permutation(len(SERIES))
            if leased:
                for place in order:
                    _add(counts, _leased(database, SERIES[place], number, take_rows(wire, at), take_rows(bars, at)))
            else:
                ordered = [SERIES[place] for place in order]
                _add(counts, _at_once(database, ordered, number, take_rows(wire, at), take_rows(bars, at)))
        told.send(tuple(counts))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test must be told
        told.send(f"{type(error).__name__}: {error}")
    finally:
        database.close()


def _add(counts: list[int], more: tuple[int, int]) -> None:
    counts[0] += more[0]
    counts[1] += more[1]


def _leased(database: Database, series: Series, number: int, wire: Columns, bars: Columns) -> tuple[int, int]:
    while True:
        try:
            with take_series(database, "binance", series, f"writer {number}", 60) as lease, database.transaction() as cursor:
                check_lease(cursor, lease)
                return _write(cursor, series, number, wire, bars)
        except SeriesBusy:
            time.sleep(0.002)


def _at_once(database: Database, series: list[Series], number: int, wire: Columns, bars: Columns) -> tuple[int, int]:
    """All series in one transaction, each writer in an order of its own: made to deadlock, and run again when it does."""

    def work(cursor: Cursor) -> tuple[int, int]:
        written = [_write(cursor, one, number, wire, bars) for one in series]
        return sum(raw for raw, _ in written), sum(validated for _, validated in written)

    return run_transaction(database, work, attempts=50)


def _write(cursor: Cursor, series: Series, number: int, wire: Columns, bars: Columns) -> tuple[int, int]:
    received = raw.append(cursor, "binance", series, wire, number, START)
    return received.rows, market_data.upsert(cursor, series, bars, "binance", "rest").rows


def write_after_pause(url: str, series: Series, lease_s: float, told: Connection) -> None:
    """Take a series, say so, and write only when a line comes; tells how that ended."""
    database = Database(url)
    try:
        with take_series(database, "binance", series, "paused", lease_s) as lease:
            told.send("ready")
            told.recv()
            try:
                with database.transaction() as cursor:
                    check_lease(cursor, lease)
                    market_data.upsert(cursor, series, bar_rows(opens(50)), "binance", "rest")
                told.send("written")
            except (LeaseLost, DatabaseUnavailable) as error:
                told.send(type(error).__name__)
    finally:
        database.close()


def write_until_killed(url: str, series: Series, bars: int, told: Connection) -> None:
    """Write one bar a transaction, raw and validated, and tell after each how many were committed; ends with the server."""
    database = Database(url)
    wire, rows = wire_rows(opens(bars)), bar_rows(opens(bars))
    try:
        with take_series(database, "binance", series, "writer", 60) as lease:
            for count in range(bars):
                one = np.array([count])
                with database.transaction() as cursor:
                    check_lease(cursor, lease)
                    _write(cursor, series, 1, take_rows(wire, one), take_rows(rows, one))
                told.send(count + 1)
    except DatabaseUnavailable:
        pass  # The server was killed, which is what this waits for.
    told.close()
