"""Mending: a file that the archive replaced becomes revisions, holes are closed, a second run changes nothing, and one bad
series, whatever ails it, does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import archive_history
from cryptai_pipelines.orchestration.chain.mend import MendResult, mend, read_files_again
from cryptai_pipelines.orchestration.chain.outcome import Progress
from cryptai_pipelines.orchestration.chain.restatement import read_ledger
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_archive, open_doors, open_venue
from cryptai_pipelines.replay.faults import Fault, FaultPlan
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import market_data, quality_log
from cryptai_pipelines.storage.archive_files import read_files
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines.storage.symbols import upsert_listings
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, walk_bars

NOW = START + BARS * HOUR + 60_000
LATER = NOW + 7 * 24 * HOUR
HOLES = {100, 101, 102, 103, 900}
ETH = Series("ETH-USDT", Timeframe.H1)
RESTATED = [50, 51, 700]
TABLES = ("raw_ohlcv", "market_data", "data_quality", "restatements", "gap_fills", "series_sources", "quarantine")


@pytest.fixture(autouse=True)
def a_short_history_is_worth_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_history, "BARS_WORTH_THE_ARCHIVE", 500)


def restated(frame: pd.DataFrame) -> pd.DataFrame:
    after = frame.copy()
    after.loc[RESTATED, "close"] = ((after.loc[RESTATED, "low"] + after.loc[RESTATED, "high"]) / 2).round(2)
    return after


@contextmanager
def exchange(
    folder: Path, btc: pd.DataFrame, faults: FaultPlan | None = None, *, archive: bool = True, **changes: object
) -> Iterator[Settings]:
    """The settings of a replay venue with BTC, and with ETH, and with its archive."""
    home = folder / "binance"
    home.mkdir(parents=True, exist_ok=True)
    btc.to_parquet(home / "BTCUSDT_1h.parquet", index=False)
    walk_bars(8, HOLES).to_parquet(home / "ETHUSDT_1h.parquet", index=False)
    with running(open_recorded(folder, FixedClock(NOW)), faults=faults) as url:
        yield settings_for(url, folder / "home", archive_url=url if archive else "off", **changes)


def bring(database: Database, settings: Settings, *series: Series) -> None:
    archive = open_archive(settings, database, FixedClock(NOW))
    steps = data_steps(database, open_venue(settings), settings, "test", archive=archive)
    for result in walk(series or [SERIES], steps, holding(database, "binance", settings, "test"), 2):
        assert result.error is None, f"{result.failed_at}: {result.error}"


def mended(database: Database, settings: Settings, series: Sequence[Series] = (SERIES,), now_ms: int = LATER) -> MendResult:
    clock = FixedClock(now_ms)
    doors = open_doors(settings, database, open_venue(settings), clock)
    archive = open_archive(settings, database, clock)
    return mend(database, settings, doors, series, now_ms, "test", archive=archive)


def contents(database: Database) -> dict[str, list[tuple]]:
    return {table: database.rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4") for table in TABLES}  # noqa: S608


def test_a_replaced_file_becomes_revisions_and_a_second_run_changes_nothing(database: Database, tmp_path: Path) -> None:
    frame = walk_bars(17, HOLES)
    with exchange(tmp_path / "before", frame) as settings:
        bring(database, settings)
        first = mended(database, settings)
        assert first.failed == () and first.restated == 0 and first.filled == len(HOLES) == first.left
        assert {file.status for file in read_files(database, SERIES)} == {"loaded"} and read_ledger(database) == []
    after = restated(frame)
    with exchange(tmp_path / "after", after) as settings:
        (one,) = mended(database, settings, now_ms=LATER + HOUR).series
        assert sorted(path[-11:] for path in one.reread.replaced) == ["2021-01.zip"]
        assert (one.reread.restated, one.reread.new, one.reread.pending) == (len(RESTATED), 0, ())
        before = contents(database)
        again = mended(database, settings, now_ms=LATER + HOUR)
        assert again.restated == 0 and again.series[0].reread.replaced == () and again.closed_by == {}
        assert again.assessment.changed == 0 and contents(database) == before
    assert {file.status for file in read_files(database, SERIES)} == {"loaded"}
    bars = market_data.read(database, SERIES)
    assert bars["close"].iloc[RESTATED].tolist() == after.loc[RESTATED, "close"].tolist()
    assert database.rows("SELECT revision, count(*) FROM raw_ohlcv GROUP BY 1 ORDER BY 1") == [
        (0, BARS - len(HOLES)),
        (1, len(RESTATED)),
    ]
    ledger = read_ledger(database)
    assert sorted((entry["source"], entry["bars"]) for entry in ledger) == [("binance_archive", 1), ("binance_archive", 2)]
    assert all(entry["recomputed_at"] is not None for entry in ledger)


def january(status: int) -> FaultPlan:
    """The zip of the first month is answered so; its checksum is not."""
    return lambda path, _query, _number: Fault(status=status, body=b"") if path.endswith("2021-01.zip") else None


def test_a_replaced_file_that_is_gone_is_read_from_those_of_its_days(database: Database, tmp_path: Path) -> None:
    frame = walk_bars(17, HOLES)
    with exchange(tmp_path / "before", frame) as settings:
        bring(database, settings)
    with exchange(tmp_path / "after", restated(frame), january(404)) as settings:
        (one,) = mended(database, settings).series
    assert one.error is None and (one.reread.restated, one.reread.pending) == (len(RESTATED), ())


def test_a_replaced_file_that_cannot_be_had_stays_to_be_read(database: Database, tmp_path: Path) -> None:
    frame = walk_bars(17, HOLES)
    with exchange(tmp_path / "before", frame) as settings:
        bring(database, settings)
    with exchange(tmp_path / "refused", restated(frame), january(403)) as settings:
        (one,) = mended(database, settings).series
        assert one.error is None and one.reread.restated == 0 and one.closed.left == len(HOLES)
        assert [path[-11:] for path in one.reread.pending] == ["2021-01.zip"] and "archive_files" in one.troubles[0]
    with exchange(tmp_path / "after", restated(frame)) as settings:
        (one,) = mended(database, settings).series
    assert (one.reread.replaced, one.reread.pending, one.reread.restated) == ((), (), len(RESTATED))


def test_a_kill_between_reading_a_file_and_storing_its_bars_loses_nothing(database: Database, tmp_path: Path) -> None:
    """A file is on record as loaded when it has been read, a moment before its bars are stored."""

    def killed(progress: Progress) -> None:
        if progress.done == progress.total:
            raise KeyboardInterrupt

    frame = walk_bars(17, HOLES)
    with exchange(tmp_path / "before", frame) as settings:
        bring(database, settings)
    with exchange(tmp_path / "after", restated(frame)) as settings:
        archive = open_archive(settings, database, FixedClock(LATER))
        with pytest.raises(KeyboardInterrupt), holding(database, "binance", settings, "test")(SERIES) as lease:
            read_files_again(database, lease, archive, run_id="test", on_progress=killed)
        assert {file.status for file in read_files(database, SERIES)} == {"loaded"}
        (one,) = mended(database, settings).series
        assert (one.reread.restated, one.reread.pending) == (len(RESTATED), ())
        assert mended(database, settings, now_ms=LATER + HOUR).restated == 0


def spoil_checksum(path: str, query: str, number: int) -> Fault | None:
    return Fault(body=b"0" * 64 + b"  x.zip\n") if path.endswith("2021-02.zip.CHECKSUM") else None


def test_a_file_that_was_not_believed_is_read_when_it_is_whole(database: Database, tmp_path: Path) -> None:
    frame, february = walk_bars(17, HOLES), 28 * 24
    with exchange(tmp_path / "spoilt", frame, spoil_checksum) as settings:
        bring(database, settings)
        assert quality_log.count_missing(database, SERIES)[1] == len(HOLES), "the venue has what the file should hold"
    with exchange(tmp_path / "whole", frame) as settings:
        (one,) = mended(database, settings).series
    assert (one.reread.new, one.reread.pending) == (february - 1, ())
    assert one.closed.closed_by == {} and one.closed.left == len(HOLES)


def test_an_archive_out_of_reach_is_told_of_and_the_venue_is_asked(database: Database, tmp_path: Path) -> None:
    with exchange(tmp_path / "before", walk_bars(17, HOLES)) as settings:
        bring(database, settings)
    with exchange(tmp_path / "after", walk_bars(17, {900})) as settings:
        away = settings.model_copy(update={"archive_url": "http://127.0.0.1:9", "request_timeout_seconds": 0.3})
        found = mended(database, away)
    (one,) = found.series
    assert one.error is None and "127.0.0.1:9" in one.troubles[0]
    assert found.closed_by == {"binance": len(HOLES) - 1} and one.closed.left == 1


def broken_details(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute("UPDATE data_quality SET details = '\"broken\"' WHERE symbol = 'ETH-USDT' AND kind = 'gap'")


@contextmanager
def held_by_another(database: Database) -> Iterator[None]:
    with take_series(database, "binance", ETH, "another process", 300.0):
        yield


@contextmanager
def not_assessable(database: Database) -> Iterator[None]:
    broken_details(database)
    yield


@pytest.mark.parametrize(("ailment", "failed_at"), [(held_by_another, None), (not_assessable, "data_quality")])
def test_one_bad_series_does_not_stop_the_others(
    database: Database, tmp_path: Path, ailment: Callable, failed_at: str | None
) -> None:
    with exchange(tmp_path / "before", walk_bars(17, HOLES), archive=False) as settings:
        bring(database, settings, SERIES, ETH)
    with exchange(tmp_path / "after", walk_bars(17, {900}), archive=False) as settings, ailment(database):
        found = mended(database, settings, (ETH, SERIES))
    bad, good = found.series
    assert (bad.series, good.series) == (ETH, SERIES) and found.failed == (bad,)
    assert bad.closed is None and bad.error and bad.failed_at == (failed_at or "data_quality")
    assert good.closed.closed_by == {"binance": 4} and good.closed.filled == 1
    assert not database.rows("SELECT 1 FROM market_data WHERE symbol = 'ETH-USDT' AND is_filled")
    assert found.assessment is not None and found.error is None


def test_what_lies_before_the_listing_is_never_filled(database: Database, tmp_path: Path) -> None:
    with exchange(tmp_path, walk_bars(17, HOLES), archive=False) as settings:
        bring(database, settings)
        listing = Listing("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "TRADING", listed_at_ms=START + 104 * HOUR)
        with database.transaction() as cursor:
            upsert_listings(cursor, [listing])
        found = mended(database, settings)
    assert found.filled == 1 and found.left == len(HOLES)
    assert found.assessment.series[0].gaps == {"before_listing": 1, "unknown": 1}


def test_no_fill_takes_nothing_but_what_sources_have(database: Database, tmp_path: Path) -> None:
    with exchange(tmp_path, walk_bars(17, HOLES), archive=False, fill="none") as settings:
        bring(database, settings)
        found = mended(database, settings)
    assert (found.filled, found.left, found.closed_by) == (0, len(HOLES), {})
