"""`kill -9` of the process that runs the steps, at named points and at random moments; then one run that nobody disturbs."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.torture.step_process import POINTS, sync_windows
from cryptai_pipelines_tests.torture.tally import record, size
from cryptai_pipelines_tests.torture.writer import forks

_FIRST = parse_time("2022-01-01")
_HOUR = Timeframe.H1.ms
_WINDOW = 400 * _HOUR
_SERIES = Series("BTC-USDT", Timeframe.H1)
_TABLES = ("raw_ohlcv", "market_data", "quarantine", "data_quality", "historical_data_range")
_OWN = "ARRAY['fetch_id', 'known_at', 'detected_at', 'updated_at', 'quarantined_at', 'lease_token', 'lease_until', 'holder']"


def _started(
    database: Database, venue: str, home: Path, windows: list[Interval], point: tuple[int, int] | None = None
) -> tuple[BaseProcess, Connection]:
    ours, theirs = forks.Pipe()
    process = forks.Process(target=sync_windows, args=(database.url, venue, home, _SERIES, windows, point, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    return process, ours


def _whole(database: Database, venue: str, home: Path, windows: list[Interval]) -> float:
    """Sync to the end; how long it took, in seconds."""
    process, told = _started(database, venue, home, windows)
    began = time.monotonic()
    assert told.recv() == "done"
    process.join()
    return time.monotonic() - began


def _windows(number: int) -> list[Interval]:
    """Two windows, of which the first overlaps the ones of the rounds before."""
    end = _FIRST + (number + 2) * _WINDOW // 2
    return [Interval(max(_FIRST, end - 2 * _WINDOW), end), Interval(end - _WINDOW, end + _WINDOW // 2)]


def _contents(database: Database) -> dict[str, str]:
    found = {}
    for table in _TABLES:
        rows = sorted(row for (row,) in database.rows(f"SELECT (to_jsonb(t) - {_OWN})::text FROM {table} AS t"))
        found[table] = f"{len(rows)} rows {hashlib.sha256(repr(rows).encode()).hexdigest()}"
    return found


def test_a_killed_step_loses_nothing(postgres_server: EmbeddedServer, database: Database, tmp_path: Path) -> None:
    rounds, chance, killed = size(60, 1_000), random.Random(3), Counter[str]()
    end = _FIRST + (rounds + 4) * _WINDOW // 2
    with running(open_simulated(5, 1, FixedClock(end + _HOUR))) as venue:
        length = _whole(database, venue, tmp_path, _windows(0))
        for number in range(1, rounds + 1):
            point = (number // 2 % len(POINTS), chance.randint(1, 2)) if number % 2 else None
            process, told = _started(database, venue, tmp_path, _windows(number), point)
            if point is None:
                process.join(chance.uniform(0, length))
                process.kill()
            process.join()
            if process.exitcode == -9:
                killed[POINTS[point[0]].name if point else "at a random moment"] += 1
            told.close()
        _whole(database, venue, tmp_path, [Interval(_FIRST, end)])
        with fresh_database(postgres_server) as undisturbed:
            _whole(undisturbed, venue, tmp_path, [Interval(_FIRST, end)])
            found, expected = _contents(database), _contents(undisturbed)
    running_rows = database.rows("SELECT count(*) FROM data_sync_log WHERE status = 'RUNNING'")[0][0]
    differ = sum(found[table] != expected[table] for table in _TABLES)
    record("kill -9 of the step", "at 12 points and random moments", killed.total(), altered=differ, unrecovered=running_rows)
    assert found == expected and running_rows == 0
    # Some end before their moment comes; were it most of them, nothing would be tested here.
    assert killed.total() >= rounds * 0.6 and len(killed) == len(POINTS) + 1, killed
