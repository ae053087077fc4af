"""From archived files to validated bars: the same as over REST, a file that is not believed is a hole until it is mended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.market.archive_file import ArchiveFile
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.receive import receive_pages
from cryptai_pipelines.replay.faults import Fault
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.replay.venue import ReplayVenue
from cryptai_pipelines.sources.binance_archive import NAME, BinanceArchive, check_restated, open_archive
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.storage import archive_files, quality_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, START, walk_bars

SERIES = Series("BTC-USDT", Timeframe.H1)
NOW = parse_time("2025-02-05T00:00")
SPAN = Interval(parse_time("2024-10-01"), NOW)
SPOILT = "BTCUSDT-1h-2024-12.zip"
DECEMBER = Interval(parse_time("2024-12-01"), parse_time("2025-01-01"))


@contextmanager
def archive_for(database: Database, spoilt: str | None = None, venue: ReplayVenue | None = None) -> Iterator[BinanceArchive]:
    """The archive of a venue, or of a simulated one; what becomes of its files is recorded. The zip `spoilt` is cut short."""

    def spoil(path: str, query: str, number: int) -> Fault | None:
        return Fault(keep=0.9) if spoilt and path.endswith(spoilt) else None

    def record(file: ArchiveFile) -> None:
        with database.transaction() as cursor:
            archive_files.record_file(cursor, file)

    venue = venue or open_simulated(11, 1, FixedClock(NOW))
    with running(venue, faults=spoil) as url:
        yield open_archive(url, 20.0, venue.clock, on_file=record)


def load(database: Database, archive: BinanceArchive, within: Interval, pages: int | None = None) -> None:
    """Bring the pages of `within`, or the first few of them, to validated bars."""
    with take_series(database, NAME, SERIES, holder="test", lease_s=60) as lease:
        walked = archive.bars(SERIES.symbol, SERIES.timeframe, *within)
        receive_pages(database, lease, NAME, "archive", islice(walked, pages), run_id="test")
        validated_bars.bring_up_to_date(database, lease)


def bars(database: Database) -> list[tuple]:
    return database.rows(
        "SELECT ts, open, high, low, close, volume, quote_volume, trades, taker_buy_base, taker_buy_quote, is_filled"
        " FROM market_data WHERE symbol = %s AND timeframe = %s ORDER BY ts",
        (SERIES.symbol, SERIES.timeframe.code),
    )


@pytest.fixture(scope="module")
def over_rest(postgres_server: EmbeddedServer) -> list[tuple]:
    """The validated bars of the same span, fetched from the same venue's API."""
    clock = FixedClock(NOW)
    with fresh_database(postgres_server) as database, running(open_simulated(11, 1, clock)) as url:
        with take_series(database, "binance", SERIES, holder="test", lease_s=60) as lease:
            walked = open_binance(url, 20.0, clock).bars(SERIES.symbol, SERIES.timeframe, *SPAN)
            receive_pages(database, lease, "binance", "rest", walked, run_id="test")
            validated_bars.bring_up_to_date(database, lease)
        return bars(database)


def test_a_spoilt_file_is_a_gap_until_it_is_mended(database: Database, over_rest: list[tuple]) -> None:
    december = [pd.Timestamp(ts, unit="ms", tz="UTC") for ts in DECEMBER]
    with archive_for(database, SPOILT) as archive:
        load(database, archive, SPAN, pages=2)
        load(database, archive, SPAN._replace(start_ms=parse_time("2024-12-01")))
    assert bars(database) == [row for row in over_rest if not december[0] <= row[0] < december[1]]
    (gap,) = quality_log.read_findings(database, SERIES, "gap")
    assert gap.period == DECEMBER and gap.missing == 31 * 24
    (spoilt,) = archive_files.read_files(database, SERIES, "quarantined")
    assert spoilt.path.endswith(SPOILT) and spoilt.expected_sha256 != spoilt.received_sha256 and spoilt.attempts == 1
    with archive_for(database) as archive:
        load(database, archive, spoilt.period)
    assert bars(database) == over_rest and quality_log.read_findings(database, SERIES, "gap") == []
    assert archive_files.read_files(database, SERIES, "quarantined") == []
    mended = {file.path: file for file in archive_files.read_files(database, SERIES, "loaded")}
    assert len(mended) == 4 + 4 and mended[spoilt.path].attempts == 2 and mended[spoilt.path].row_count == 31 * 24
    origins = database.rows("SELECT DISTINCT source, origin FROM market_data")
    assert origins == [(NAME, "archive")]


def test_a_replaced_file_becomes_revisions_of_the_bars_that_differ(database: Database, tmp_path: Path) -> None:
    now, older, newer = START + BARS * HOUR, walk_bars(3, set()), walk_bars(3, set())
    newer.loc[[800, 900], "volume"] += 1.0
    for name, frame in (("before", older), ("after", newer)):
        (tmp_path / name / "binance").mkdir(parents=True)
        frame.to_parquet(tmp_path / name / "binance" / "BTCUSDT_1h.parquet", index=False)
    with archive_for(database, venue=open_recorded(tmp_path / "before", FixedClock(now))) as archive:
        load(database, archive, Interval(START, now))
        assert check_restated(archive, archive_files.read_files(database, SERIES)) == []
    known = archive_files.read_files(database, SERIES, "loaded")
    assert [file.path[-11:-4] for file in known[:2]] == ["2021-01", "2021-02"] and len(known) == 2 + 3
    with archive_for(database, venue=open_recorded(tmp_path / "after", FixedClock(now))) as archive:
        (restated,) = check_restated(archive, known)
        assert restated.path == known[1].path
        archive.on_file(restated)
        assert archive_files.read_files(database, SERIES, "restated")[0].received_sha256 == known[1].received_sha256
        load(database, archive, restated.period)
        assert check_restated(archive, archive_files.read_files(database, SERIES)) == []
    assert archive_files.read_files(database, SERIES, "restated") == []
    revised = database.rows("SELECT ts, revision FROM raw_ohlcv WHERE revision > 0 ORDER BY ts")
    assert revised == [(newer["ts"][place], 1) for place in (800, 900)]
    assert [row[5] for row in bars(database)] == newer["volume"][: len(bars(database))].tolist()
