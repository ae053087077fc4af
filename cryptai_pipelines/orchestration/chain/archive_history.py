"""The part of a long history that a venue has published as files: read as far as they reach, and what they lack is asked of the
venue at once. What follows them is fetched by `raw_ohlcv`; how pages are stored is in `receive`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from cryptai_pipelines.market.bars import row_count
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import OnProgress
from cryptai_pipelines.orchestration.chain.receive import OnStored, receive_pages, register
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage import coverage
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease

logger = logging.getLogger(__name__)

# Below that the venue itself answers sooner than its archive's files are unpacked.
BARS_WORTH_THE_ARCHIVE = 20_000
_MOST_HOLES = 500


class Archive(Protocol):
    """A venue's published files. Pages ascend and may leave out what is not published, or not believed."""

    @property
    def name(self) -> str:
        """The source, as stored beside every bar."""

    def is_simulated(self) -> bool:
        """Whether the archive says of itself that its market is made up."""

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        """Bars with `start_ms <= ts < end_ms`."""


def read_archive(
    database: Database,
    source: BarSource,
    archive: Archive,
    lease: SeriesLease,
    part: Interval,
    run_id: str,
    on_progress: OnProgress,
    on_stored: OnStored,
    simulated: bool,
) -> Interval:
    """Read `archive` as far as it reaches into `part`, and the holes in that from the venue; what is left to ask the venue for.
    An archive that fails is left where it is: the venue has the bars, too."""
    series, holes = lease.series, list[Interval]()
    first = _first_open(source, series, part)
    if first is None:
        return part
    read = coverage.read_coverage(database, archive.name, series).covered
    # What was read of another time, before or after, is nothing to go on from.
    goes_on = read is not None and read.start_ms <= first <= read.end_ms
    asked = Interval(read.end_ms if goes_on and read is not None else first, part.end_ms)
    if (asked.end_ms - asked.start_ms) // series.timeframe.ms >= BARS_WORTH_THE_ARCHIVE:
        try:
            refuse_other_kind(archive, simulated)
            if read is None:
                _begin_archive(database, lease, archive.name, first)
            given = archive.bars(series.symbol, series.timeframe, *asked)
            pages = noting_holes(given, series.timeframe, asked.start_ms, holes)
            receive_pages(
                database,
                lease,
                archive.name,
                "archive",
                pages,
                run_id=run_id,
                asked=asked,
                on_progress=on_progress,
                on_stored=on_stored,
            )
        except SourceError as error:
            logger.warning("%s: going on without the archive: %s", series, error)
            if read is not None and not goes_on:
                return part
        _ask_for_holes(database, source, lease, holes, run_id)
    read = coverage.read_coverage(database, archive.name, series).covered
    if read is None or not read.start_ms <= first <= read.end_ms:
        return part
    return Interval(max(part.start_ms, read.end_ms), part.end_ms)


def noting_holes(pages: Iterable[Page], timeframe: Timeframe, start_ms: int, holes: list[Interval]) -> Iterator[Page]:
    """The same pages, which ascend from `start_ms` on. What they lack up to the end of the last one is added to `holes`, as
    spans of the grid, ascending and apart, by the time that it is given out."""
    length = timeframe.ms
    at = end = timeframe.floor(start_ms)
    for page in pages:
        ts = page.rows["ts"]
        opens = np.concatenate(([at - length], ts - (ts - timeframe.anchor_ms) % length))
        for before in np.flatnonzero(np.diff(opens) > length):
            holes.append(Interval(int(opens[before]) + length, int(opens[before + 1])))
        at, end = int(opens[-1]) + length, timeframe.floor(page.asked.end_ms)
        yield page
    if at < end:
        holes.append(Interval(at, end))


def _ask_for_holes(database: Database, source: BarSource, lease: SeriesLease, holes: Sequence[Interval], run_id: str) -> None:
    """Ask the venue for what its archive lacks, such as a file that is not believed. What it does not have either, and all of
    it when there are so many holes that asking would take long, is a gap for `holes` to close."""
    series = lease.series
    if not holes or len(holes) > _MOST_HOLES:
        return
    pages = (page for hole in holes for page in source.bars(series.symbol, series.timeframe, *hole))
    try:
        receive_pages(database, lease, source.name, source.origin(series.timeframe), pages, run_id=run_id, in_pieces=True)
    except SourceError as error:
        logger.warning("%s: %d holes of the archive stay open for now: %s", series, len(holes), error)


def from_archive_on(database: Database, archive: str, series: Series, part: Interval) -> Interval:
    """`part` without what lies before anything that the archive gave: a series that a window began grows at its end only."""
    read = coverage.read_coverage(database, archive, series).covered
    return part if read is None else Interval(max(part.start_ms, read.start_ms), part.end_ms)


def _begin_archive(database: Database, lease: SeriesLease, source: str, first_ms: int) -> None:
    """Let what the archive settles begin with the venue's first bar: when its first files are absent or not believed, what they
    should hold is a gap for others to close, and not the time before the series."""
    start = lease.series.timeframe.floor(first_ms)
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        register(cursor, lease, source, "archive")
        coverage.extend_coverage(cursor, source, lease.series, Interval(start, start), start)


def refuse_other_kind(archive: Archive, simulated: bool) -> None:
    """`CryptaiError` when the archive's market is made up and the venue's is not, or the other way round."""
    if archive.is_simulated() != simulated:
        kinds = ("real", "simulated")
        raise CryptaiError(
            f"{archive.name} holds a {kinds[not simulated]} market and the venue a {kinds[simulated]} one; "
            "accepted: CRYPTAI_ARCHIVE_URL=off, or the archive of that venue"
        )


def _first_open(source: BarSource, series: Series, within: Interval) -> int | None:
    """The first bar that the venue itself has in `within`: an archive cannot say where it begins but by what it lacks."""
    if within.start_ms >= within.end_ms:
        return None
    for page in source.bars(series.symbol, series.timeframe, *within):
        if row_count(page.rows):
            return int(page.rows["ts"][0])
    return None
