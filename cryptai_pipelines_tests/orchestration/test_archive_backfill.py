"""A long history comes from the archive as far as it reaches and from the venue for the rest; the bars are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain import raw_ohlcv
from cryptai_pipelines.orchestration.chain.holes import close_holes
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.store import open_archive, open_doors, open_venue
from cryptai_pipelines.replay.faults import Fault
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
    monkeypatch.setattr(raw_ohlcv, "_BARS_WORTH_THE_ARCHIVE", 500)


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


def test_a_file_that_is_not_believed_is_a_gap_that_the_venue_closes(database: Database, recorded, tmp_path: Path) -> None:
    def spoil(path: str, query: str, number: int) -> Fault | None:
        return Fault(body=b"0" * 64 + b"  x.zip\n") if path.endswith("2021-02.zip.CHECKSUM") else None

    with running(recorded, faults=spoil) as url:
        assert sync(database, url, tmp_path, url).error is None
        assert [file.path[-11:] for file in read_files(database, SERIES, "quarantined")] == ["2021-02.zip"]
        assert quality_log.count_missing(database, SERIES)[1] == 28 * 24 + len([h for h in HOLES if h < 31 * 24])
        settings = settings_for(url, tmp_path, archive_url=url)
        doors = open_doors(settings, database, open_venue(settings), FixedClock(NOW))(SERIES)
        with holding(database, "binance", settings, "test")(SERIES) as lease:
            closed = close_holes(database, lease, doors, "none", NOW, run_id="test")
    assert closed.closed_by == {"binance": 28 * 24 - len([h for h in HOLES if h >= 31 * 24])}
    assert quality_log.count_missing(database, SERIES)[1] == len(HOLES)
    assert len(market_data.read(database, SERIES)) == BARS - len(HOLES)


def test_a_first_file_that_is_not_believed_is_a_gap_like_any_other(database: Database, recorded, tmp_path: Path) -> None:
    """The venue lists the symbol from a bar on that the archive does not give: the series begins with that bar all the same."""

    def spoil(path: str, query: str, number: int) -> Fault | None:
        return Fault(body=b"0" * 64 + b"  x.zip\n") if path.endswith("2021-01.zip.CHECKSUM") else None

    with running(recorded, faults=spoil) as url:
        assert sync(database, url, tmp_path, url).error is None
        january = 31 * 24
        assert quality_log.count_missing(database, SERIES)[1] == january + len([h for h in HOLES if h >= january])
        settings = settings_for(url, tmp_path, archive_url=url)
        doors = open_doors(settings, database, open_venue(settings), FixedClock(NOW))(SERIES)
        with holding(database, "binance", settings, "test")(SERIES) as lease:
            close_holes(database, lease, doors, "none", NOW, run_id="test")
    assert len(market_data.read(database, SERIES)) == BARS - len(HOLES)


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
