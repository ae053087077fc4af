"""Many writers on the same series at once: no deadlock, nothing is lost, nothing is doubled."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cryptai_pipelines.market.bars import take_rows
from cryptai_pipelines.storage import market_data, raw
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.storage.bars_examples import START, bar_rows, fresh_series, opens, wire_rows

_WRITERS, _ROUNDS, _BARS = 8, 6, 400


def test_eight_writers_with_shuffled_overlapping_batches(database: Database) -> None:
    series = [fresh_series() for _ in range(3)]
    wire, bars = wire_rows(opens(_BARS)), bar_rows(opens(_BARS))
    barrier = threading.Barrier(_WRITERS)
    counted: list[tuple[int, int]] = []

    def write(number: int) -> None:
        random = np.random.default_rng(number)
        barrier.wait(timeout=60)
        for _ in range(_ROUNDS):
            picked = random.choice(_BARS, 150, replace=False)
            order = random.permutation(len(series))

            for place in order:
                # A transaction of one series, as a sync makes it, may not deadlock even once: it is not run again.
                with database.transaction() as cursor:
                    received = raw.append(cursor, "binance", series[place], take_rows(wire, picked), number, START)
                    stored = market_data.upsert(cursor, series[place], take_rows(bars, picked), "binance", "rest")
                counted.append((received.rows, stored.rows))

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, range(_WRITERS)))

    written = set()
    for number in range(_WRITERS):
        random = np.random.default_rng(number)
        for _ in range(_ROUNDS):
            written |= set(random.choice(_BARS, 150, replace=False).tolist())
            random.permutation(len(series))
    expected = take_rows(bars, np.array(sorted(written)))
    for one in series:
        stored = market_data.read(database, one)
        assert stored.index.asi8.tolist() == expected["ts"].tolist()
        assert stored["close"].tolist() == expected["close"].tolist()
        received = raw.read_current(database, "binance", one, 0, int(expected["ts"][-1]) + 1)
        assert received["ts"].tolist() == expected["ts"].tolist() and not received["revision"].any()
    assert [sum(column) for column in zip(*counted, strict=True)] == [len(written) * len(series)] * 2
