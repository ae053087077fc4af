"""What became of archived files is kept: the latest fate, how often it was tried, and since when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cryptai_pipelines.market.archive_file import STATUSES, ArchiveFile
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.storage.archive_files import read_files, record_file
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.storage.bars_examples import START, fresh_series

DAY = 86_400_000
OURS, THEIRS = "ab" * 32, "cd" * 32


def _file(**changes) -> ArchiveFile:
    series = fresh_series()
    file = ArchiveFile(
        "binance_archive", f"data/{series.symbol}.zip", series, Interval(START, START + DAY), "absent", START + 5
    )
    return replace(file, **changes)


def test_the_latest_fate_is_kept_and_attempts_are_counted(database: Database) -> None:
    absent = _file()
    quarantined = replace(
        absent, status="quarantined", tried_at_ms=START + 6, expected_sha256=OURS, received_sha256=THEIRS, error="it's %s\n"
    )
    loaded = replace(quarantined, status="loaded", tried_at_ms=START + 7, received_sha256=OURS, row_count=24, error=None)
    restated = replace(loaded, status="restated", tried_at_ms=START + 8, expected_sha256=THEIRS)
    for attempts, fate in enumerate((absent, quarantined, loaded, restated), 1):
        with database.transaction() as cursor:
            record_file(cursor, fate)
        known = replace(fate, attempts=attempts, first_tried_at_ms=START + 5)
        assert read_files(database) == [known]
        # What was read can be recorded again: the store's own counts are not taken from the record.
        assert [status for status in STATUSES if read_files(database, status=status)] == [fate.status]


def test_files_are_read_by_series_status_and_period(database: Database) -> None:
    first, second = _file(), _file(status="loaded")
    later = replace(first, path="data/later.zip", period=Interval(START + DAY, START + 2 * DAY), status="loaded")
    other = replace(first, source="binanceusdm_archive", status="quarantined")
    with database.transaction() as cursor:
        for file in (later, other, second, first):
            record_file(cursor, file)

    def paths(*selection) -> list[tuple[str, str]]:
        return [(file.source, file.path) for file in read_files(database, *selection)]

    assert paths(first.series) == [(file.source, file.path) for file in (first, later, other)]
    assert paths(None, "loaded") == [
        (file.source, file.path) for file in sorted((later, second), key=lambda file: file.series.symbol)
    ]
    assert paths(first.series, "loaded") == [(later.source, later.path)]
    assert len(paths()) == 4 and paths(fresh_series()) == []


def test_an_unknown_status_is_refused(database: Database) -> None:
    with pytest.raises(BadArgument, match="'lost'.*loaded quarantined absent restated"):
        read_files(database, status="lost")
    with pytest.raises(BadArgument, match="'lost'"):
        _file(status="lost")
