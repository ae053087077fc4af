"""`cryptai sync` as a process: what it stores, what a second run adds, and what a kill at any moment changes (nothing)."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cryptai_pipelines.cli.demo import SAMPLE
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.faults import Fault
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines_tests.cli.command import call, finish, start, until
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.databases import fresh_database

_NOW_MS = 1_704_153_900_000  # 2024-01-02T00:05Z
_HOUR_US = 3_600_000_000
# One page and 500 bars a commit instead of many: more moments to be killed at.
SMALL_COMMITS = """
from cryptai_pipelines.orchestration.chain import receive, validated_bars
receive.PAGES_PER_COMMIT, validated_bars.BARS_PER_COMMIT = 1, 500
"""
# Half a year of the sample: real outages and off-grid bars, and quick to fetch several times.
_PART = ["sync", "BTC-USDT", "--start", "2017-09-01", "--end", "2018-06-01"]
_TABLES = ("raw_ohlcv", "market_data", "quarantine", "data_quality", "historical_data_range")
# Names of rows and readings of the clock differ between any two runs.
_OWN_TO_A_RUN = re.compile(r"fetch_id|known_at|\w+_at|lease_\w+|holder")


@pytest.fixture(scope="module")
def venue() -> Iterator[str]:
    """The sample; each page takes a little, so that there is a time in which to be killed."""

    def slow(path: str, query: str, number: int) -> Fault | None:
        return Fault(delay_s=0.05) if path.endswith("klines") else None

    with running(open_recorded(SAMPLE, FixedClock(_NOW_MS)), faults=slow) as url:
        yield url


@pytest.fixture(scope="module")
def uninterrupted(venue: str, postgres_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the tables hold after one run that nobody disturbs."""
    with fresh_database(postgres_server) as database:
        home = tmp_path_factory.mktemp("whole") / "home"
        ended = call(_PART, home, **_settings(database, venue))
        assert ended.code == 0, ended.err
        assert _count(database, "quarantine") and _count(database, "data_quality")
        return _contents(database)


def _settings(database: Database, venue: str) -> dict[str, str]:
    return {"CRYPTAI_DATABASE_URL": database.url, "CRYPTAI_BINANCE_URL": venue}


def _contents(database: Database) -> dict[str, str]:
    """Hash of every table's rows, without what is a run's own."""
    found = {}
    for table in _TABLES:
        names = database.rows("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
        kept = ", ".join(sorted(f'"{name}"' for (name,) in names if not _OWN_TO_A_RUN.fullmatch(name)))
        lines = sorted(repr(row) for row in database.rows(f"SELECT {kept} FROM {table}"))
        found[table] = f"{len(lines)} rows {hashlib.sha256(repr(lines).encode()).hexdigest()}"
    return found


def _count(database: Database, table: str) -> int:
    return database.rows(f"SELECT count(*) FROM {table}")[0][0]


def test_the_sample_is_stored_whole_and_only_once(venue: str, database: Database, home: Path) -> None:
    opens = pq.read_table(SAMPLE / "binance" / "BTCUSDT_1h.parquet")["ts"].cast("timestamp[us]").cast("int64").to_numpy()
    off_grid = int((opens % _HOUR_US != 0).sum())
    first = call(["sync", "BTC-USDT", "--timeframe", "1h", "--json"], home, **_settings(database, venue))
    assert first.code == 0, first.err
    told = first.object
    assert "error" not in told
    (series,) = told["series"]
    assert series["raw_rows_written"] == len(opens) == _count(database, "raw_ohlcv")
    assert series["validated_rows_written"] == series["bars"] == len(opens) - off_grid == _count(database, "market_data")
    assert series["quarantined"] == {"off_grid": off_grid}
    assert told["rows_written"] == 2 * len(opens) - off_grid
    before = _contents(database)
    second = call(["sync", "BTC-USDT", "--json"], home, **_settings(database, venue))
    assert (second.code, second.object["rows_written"]) == (0, 0)
    assert _contents(database) == before


def test_a_kill_at_any_moment_changes_nothing(
    venue: str, database: Database, home: Path, uninterrupted: dict[str, str]
) -> None:
    moments: list[tuple[str, Callable[[], bool]]] = [
        *((f"raw rows {rows}", lambda rows=rows: _count(database, "raw_ohlcv") >= rows) for rows in (1, 2_000, 5_000)),
        *((f"validated rows {rows}", lambda rows=rows: _count(database, "market_data") >= rows) for rows in (1, 3_000)),
    ]
    killed = []
    for name, reached in moments:
        process = start(_PART, home, before=SMALL_COMMITS, **_settings(database, venue))
        until(lambda reached=reached, process=process: reached() or process.poll() is not None, name)
        process.send_signal(signal.SIGKILL)
        if finish(process).code == -signal.SIGKILL:
            killed.append(name)
    # The last one may have been quicker than the polling; the others were not, or nothing is tested here.
    assert len(killed) >= len(moments) - 1
    last = call(_PART, home, **_settings(database, venue))
    assert last.code == 0, last.err
    assert _contents(database) == uninterrupted
    assert not database.rows("SELECT 1 FROM data_sync_log WHERE status = 'RUNNING'")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_one_line_and_the_next_run_completes(
    venue: str, database: Database, home: Path, uninterrupted: dict[str, str], number: signal.Signals
) -> None:
    process = start([*_PART, "--json"], home, before=SMALL_COMMITS, **_settings(database, venue))
    until(lambda: _count(database, "raw_ohlcv") >= 2_000, "some bars")
    process.send_signal(number)
    ended = finish(process)
    assert ended.code == 128 + number
    assert ended.object["error"].startswith("interrupted")
    assert [line for line in ended.err.splitlines() if "bars" not in line] == [f"cryptai: {ended.object['error']}"]
    assert 0 < _count(database, "raw_ohlcv") < 6_000
    assert call(_PART, home, **_settings(database, venue)).code == 0
    assert _contents(database) == uninterrupted


def test_an_interrupt_does_not_wait_for_a_venue_that_hangs(database: Database, home: Path) -> None:
    hanging = Fault(delay_s=float("inf"))
    asked: list[str] = []

    def plan(path: str, query: str, number: int) -> Fault:
        asked.append(path)
        return hanging

    with running(open_simulated(1, 1, FixedClock(_NOW_MS)), faults=plan) as url:
        process = start(["sync", "BTC-USDT"], home, **_settings(database, url))
        until(lambda: bool(asked), "a call to the venue")
        process.send_signal(signal.SIGINT)
        # Far below what asking such a venue takes until it is given up.
        assert process.wait(timeout=15) == 130
        process.communicate()


def test_the_others_complete_when_one_fails(database: Database, home: Path) -> None:
    with running(open_simulated(3, 2, FixedClock(_NOW_MS))) as url:
        names = ["BTC-USDT", "NOPE-USDT", "ETH-USDT"]
        arguments = ["sync", *names, "-t", "4h", "-t", "1d", "--start", "2023-01-01", "--json"]
        ended = call(arguments, home, **_settings(database, url))
    assert ended.code == 1
    series = ended.object["series"]
    assert [one["symbol"] for one in series if one["error"]] == ["NOPE-USDT"] * 2
    assert all(one["bars"] == {"4h": 2196, "1d": 366}[one["timeframe"]] for one in series if not one["error"])
    failures = [line for line in ended.err.splitlines() if line.startswith("cryptai: ")]
    assert len(failures) == 2 and all("NOPE-USDT" in line for line in failures)
    progress = [line for line in ended.err.splitlines() if line not in failures]
    assert all(any(name in line for line in progress) for name in ("BTC-USDT 4h", "BTC-USDT 1d", "ETH-USDT 4h", "ETH-USDT 1d"))


def test_a_reader_that_leaves_is_no_failure_to_talk_about(database: Database, home: Path) -> None:
    process = start(["db", "url"], home, CRYPTAI_DATABASE_URL=database.url)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(timeout=30) == 1


def test_the_command_line_itself_imports_nothing_heavy() -> None:
    heavy = "{'numpy', 'pandas', 'pyarrow', 'dagster', 'psycopg2', 'sqlalchemy', 'ccxt', 'pydantic_settings'}"
    code = f"import sys, cryptai_pipelines.cli.main; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_ends_well(home: Path) -> None:
    ended = call(["sync", "--help"], home)
    assert ended.code == 0 and "--timeframe" in ended.out and ended.err == ""
