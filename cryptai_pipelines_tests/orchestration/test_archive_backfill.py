"""A long history comes from the archive as far as it reaches and from the venue for the rest; the bars are the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import WIRE_DTYPES
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import archive_history
from cryptai_pipelines.orchestration.chain.holes import close_holes
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.store import open_archive, open_doors, open_venue
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage import coverage, market_data, quality_log
from cryptai_pipelines.storage.archive_files import read_files
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, walk_bars

NOW = START + BARS * HOUR + 60_000
HOLES = {300, 301, 900}


@pytest.fixture(autouse=True)
def a_short_history_is_worth_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_history, "BARS_WORTH_THE_ARCHIVE", 500)


@pytest.fixture
def recorded(tmp_path: Path) -> object:
    folder = tmp_path / "binance"
    folder.mkdir()
    walk_bars(17, HOLES).to_parquet(folder / "BTCUSDT_1h.parquet", index=False)
    return open_recorded(tmp_path, FixedClock(NOW))


def sync(database: Database, url: str, home: Path, archive_url: str = "off", window: Interval | None = None) -> SeriesResult:
    settings = settings_for(url, home, archive_url=archive_url)
    archive = open_archive(settings, database, FixedClock(NOW))
    steps = data_steps(database, open_venue(settings), settings, "test", window, archive=archive)
    [result] = walk([SERIES], steps, holding(database, "binance", settings, "test"), 1)
    return result


def values(database: Database) -> list[tuple]:
    return database.rows("SELECT ts, open, high, low, close, volume, is_filled FROM market_data ORDER BY ts")


def findings(database: Database) -> list[tuple]:
    return database.rows("SELECT kind, period_start, period_end, expected, received, missing FROM data_quality ORDER BY 1, 2")


def test_archive_and_venue_together_give_what_the_venue_alone_gives(
    database: Database, postgres_server, recorded, tmp_path: Path
) -> None:
    with running(recorded) as url, fresh_database(postgres_server) as plain:
        assert sync(database, url, tmp_path, url).error is None
        assert sync(plain, url, tmp_path).error is None
        assert values(database) == values(plain) and findings(database) == findings(plain)
        origins = dict(database.rows("SELECT origin, count(*) FROM market_data GROUP BY origin"))
        assert origins["archive"] > 1_000 and 0 < origins["rest"] < 100
        # The venue goes on where the archive ends, and the next time nothing is asked of the archive again.
        files = read_files(database)
        assert {file.status for file in files} == {"loaded"}
        assert sync(database, url, tmp_path, url).error is None
        assert [file.attempts for file in read_files(database)] == [file.attempts for file in files]
    joined = coverage.read_coverage(database, "binance_archive", SERIES).covered
    assert joined.end_ms == coverage.read_coverage(database, "binance", SERIES).covered.start_ms


@pytest.mark.parametrize("month", ["2021-01", "2021-02"])
def test_the_venue_gives_what_a_file_that_is_not_believed_should_have(
    database: Database, recorded, tmp_path: Path, month: str
) -> None:
    """The first month, too: the series begins with a bar that the archive does not give."""

    def spoil(path: str, query: str, number: int) -> Fault | None:
        return Fault(body=b"0" * 64 + b"  x.zip\n") if path.endswith(f"{month}.zip.CHECKSUM") else None

    with running(recorded, faults=spoil) as url:
        assert sync(database, url, tmp_path, url).error is None
    assert [file.path[-11:] for file in read_files(database, SERIES, "quarantined")] == [f"{month}.zip"]
    assert quality_log.count_missing(database, SERIES)[1] == len(HOLES)
    assert len(market_data.read(database, SERIES)) == BARS - len(HOLES)
    of_the_month = "SELECT DISTINCT origin FROM market_data WHERE date_trunc('month', ts) = %s"
    assert database.rows(of_the_month, (f"{month}-01T00:00Z",)) == [("rest",)]


def test_holes_that_the_venue_cannot_be_asked_for_now_are_gaps(database: Database, recorded, tmp_path: Path) -> None:
    """They are closed when all sources are asked; the bars after them are not kept waiting."""
    january = 31 * 24
    refused = {str(START + HOUR * january)}

    def spoil(path: str, query: str, number: int) -> Fault | None:
        if path.endswith("2021-02.zip.CHECKSUM"):
            return Fault(body=b"0" * 64 + b"  x.zip\n")
        return FAULTS["restricted_location"] if any(f"startTime={start}" in query for start in refused) else None

    with running(recorded, faults=spoil) as url:
        assert sync(database, url, tmp_path, url).error is None
        assert quality_log.count_missing(database, SERIES)[1] == 28 * 24 + len([h for h in HOLES if h < january])
        statuses = database.rows("SELECT status, count(*) FROM data_sync_log WHERE source = 'binance' GROUP BY 1 ORDER BY 1")
        assert statuses == [("COMPLETED", 1), ("PARTIAL", 1)]
        refused.clear()
        settings = settings_for(url, tmp_path, archive_url=url)
        doors = open_doors(settings, database, open_venue(settings), FixedClock(NOW))(SERIES)
        with holding(database, "binance", settings, "test")(SERIES) as lease:
            closed = close_holes(database, lease, doors, "none", NOW, run_id="test")
    assert closed.closed_by == {"binance": 28 * 24 - len([h for h in HOLES if h >= january])}
    assert len(market_data.read(database, SERIES)) == BARS - len(HOLES)


@given(given_opens=st.sets(st.integers(0, 60)), cuts=st.sets(st.integers(1, 60), max_size=5), shift=st.integers(0, HOUR - 1))
def test_the_holes_of_pages_are_what_a_count_says(given_opens: set[int], cuts: set[int], shift: int) -> None:
    """Whatever way the bars are cut into pages, of which some may be left out where no bar is."""
    edges = [0, *sorted(cuts), 61]
    pages = []
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        opens = [START + HOUR * hour + shift for hour in sorted(given_opens) if start <= hour < end]
        if opens or start % 2:
            pages.append(page_of(opens, Interval(START + HOUR * start, START + HOUR * end)))
    holes: list[Interval] = []
    assert list(archive_history.noting_holes(pages, Timeframe.H1, START, holes)) == pages
    settled = (pages[-1].asked.end_ms - START) // HOUR if pages else 0
    missing = {hour for hour in range(settled) if hour not in given_opens}
    found = [hour for start, end in holes for hour in range((start - START) // HOUR, (end - START) // HOUR)]
    assert found == sorted(missing)
    assert all(one.end_ms < other.start_ms for one, other in zip(holes[:-1], holes[1:], strict=True))


def page_of(opens: list[int], asked: Interval) -> Page:
    values = {"ts": opens, "close_ts": [ts + HOUR - 1 for ts in opens]}
    rows = {name: np.array(values.get(name, [1] * len(opens)), dtype) for name, dtype in WIRE_DTYPES.items()}
    return Page(rows, asked, "test://page", "0" * 64, asked.end_ms)


def test_a_window_before_what_the_archive_gave_is_read_too(database: Database, recorded, tmp_path: Path) -> None:
    """Both windows lie in published files, so that all bars of the first one are the archive's and none are the venue's."""
    later = Interval(START + 700 * HOUR, START + 1_250 * HOUR)
    earlier = Interval(START, START + 600 * HOUR)
    with running(recorded) as url:
        for window in (later, earlier):
            assert sync(database, url, tmp_path, url, window).error is None
    for window in (later, earlier):
        holes = [hole for hole in HOLES if window.start_ms <= START + hole * HOUR < window.end_ms]
        found = market_data.read(database, SERIES, *window)
        assert len(found) == (window.end_ms - window.start_ms) // HOUR - len(holes)


def test_a_series_that_a_window_began_grows_at_its_end_only(database: Database, recorded, tmp_path: Path) -> None:
    window = Interval(START + 600 * HOUR, START + 1_250 * HOUR)
    with running(recorded) as url:
        for asked in (window, None):
            assert sync(database, url, tmp_path, url, asked).error is None
    assert market_data.span(database, SERIES) == (window.start_ms, START + (BARS - 1) * HOUR)
    assert quality_log.count_missing(database, SERIES)[1] == 1


def test_an_archive_that_is_out_of_reach_leaves_all_to_the_venue(database: Database, recorded, tmp_path: Path) -> None:
    with running(recorded) as url:
        assert sync(database, url, tmp_path, "http://127.0.0.1:9").error is None
    assert database.rows("SELECT DISTINCT origin FROM market_data") == [("rest",)]
    assert len(market_data.read(database, SERIES)) == BARS - len(HOLES)


def test_a_simulated_archive_is_not_mixed_with_a_real_venue(database: Database, recorded, tmp_path: Path) -> None:
    with running(recorded) as url, running(open_simulated(1, 1, FixedClock(NOW))) as other:
        refused = sync(database, url, tmp_path, other)
    assert "CRYPTAI_ARCHIVE_URL=off" in refused.error and database.rows("SELECT count(*) FROM raw_ohlcv") == [(0,)]


def test_a_replayed_venue_has_no_archive_unless_it_is_named(tmp_path: Path) -> None:
    assert settings_for("http://127.0.0.1:1", tmp_path).archive is None
    assert settings_for("https://api.binance.com", tmp_path).archive == "https://data.binance.vision"
    assert settings_for("https://api.binance.com", tmp_path, archive_url="off").archive is None
    assert settings_for("https://api.binance.com", tmp_path, exchange="kraken").archive is None
