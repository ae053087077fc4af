"""Mending the stored series of a venue: archive files that were replaced are read again, gaps are classed and closed, and what
is then known of the bars is assessed. How a hole is closed is in `holes`, how a gap is classed in `data_quality`; when this is
done is up to the schedule and the command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptai_pipelines.market.archive_file import ArchiveFile
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import data_quality, holes, validated_bars
from cryptai_pipelines.orchestration.chain.data_quality import QualityAssessment
from cryptai_pipelines.orchestration.chain.holes import Closed, OpenDoors
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.receive import RAW, receive_pages
from cryptai_pipelines.orchestration.chain.steps import holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, Step, walk
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.binance_archive import BinanceArchive, check_restated
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.storage import archive_files, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease

ASSET = "archive_files"
_ARCHIVE = "archive"
# What the archive has replaced, and what was not believed when it came: both are worth another look.
_READ_AGAIN = ("restated", "quarantined")


@dataclass(frozen=True)
class Reread:
    """What became of a series' archive files. `replaced`: paths of files that the archive has replaced since they were loaded.
    `pending`: paths of those that are still to be read again. `restated`: bars that are others now, `new`: bars that came with
    them. `error`: why the archive could not be asked."""

    replaced: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    restated: int = 0
    new: int = 0
    error: str | None = None


@dataclass(frozen=True)
class MendedSeries:
    """What became of one series. `closed` is None when it did not come that far; `error` says why, and `failed_at` where."""

    series: Series
    reread: Reread = Reread()
    closed: Closed | None = None
    failed_at: str | None = None
    error: str | None = None

    @property
    def troubles(self) -> tuple[str, ...]:
        """What kept sources from answering, without ending the work on the series."""
        told = (f"{ASSET}: {self.reread.error}",) if self.reread.error else ()
        return told + (self.closed.errors if self.closed else ())


@dataclass(frozen=True)
class MendResult:
    """What became of the series of a venue, in the order in which they were named, and what is known of them afterwards; None
    for `assessment` when that failed, which `error` tells."""

    venue: str
    series: tuple[MendedSeries, ...]
    assessment: QualityAssessment | None
    error: str | None = None
    closed_by: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        total = Counter[str]()
        for one in self.series:
            total.update(one.closed.closed_by if one.closed else {})
        object.__setattr__(self, "closed_by", dict(total))

    @property
    def failed(self) -> tuple[MendedSeries, ...]:
        """The series that did not reach the end."""
        return tuple(one for one in self.series if one.error)

    @property
    def filled(self) -> int:
        """Filled bars that are now stored."""
        return sum(one.closed.filled for one in self.series if one.closed)

    @property
    def left(self) -> int:
        """Bars that are still missing, filled ones included."""
        return sum(one.closed.left for one in self.series if one.closed)

    @property
    def restated(self) -> int:
        """Bars that the archive has changed."""
        return sum(one.reread.restated for one in self.series)


def mend(
    database: Database,
    settings: Settings,
    doors: OpenDoors,
    series_list: Sequence[Series],
    now_ms: int,
    run_id: str,
    on_progress: OnProgress = ignore_progress,
    *,
    archive: BinanceArchive | None = None,
    ask_again: bool = False,
) -> MendResult:
    """Mend `series_list`, up to `settings.fetch_threads` of them at a time, each under its lease.

    1. Gaps are classed, so that what nobody could have received is not filled.
    2. Of every series: its files of `archive` are held against what the archive says of them now; a replaced one is read again,
       and what differs becomes a revision and an entry of the ledger. Then `doors` are asked for its gaps, and what nobody has
       is filled by `settings.fill`. `ask_again`: also sources that were asked within the last days.
    3. Everything is assessed anew.

    A series that fails, at whatever step, is told of and does not stop the others. Everything is committed as it comes: after a
    kill the next run goes on. A second run right after the first changes nothing.
    """
    venue = settings.exchange.strip().lower()
    unclassed = _classes(database, venue, series_list, now_ms)
    reread: dict[Series, Reread] = {}
    closed: dict[Series, Closed] = {}

    def read_again(lease: SeriesLease) -> Outcome:
        reread[lease.series] = read_files_again(database, lease, archive, run_id=run_id, on_progress=on_progress)
        own = state.read_state(database, RAW, lease.series)
        changed = reread[lease.series].restated + reread[lease.series].new
        return Outcome(ASSET, lease.series, changed, changed, own.revision if own else 0)

    def close(lease: SeriesLease) -> Outcome:
        found = holes.close_holes(
            database,
            lease,
            doors(lease.series),
            settings.fill,
            now_ms,
            run_id=run_id,
            ask_again=ask_again,
            on_progress=on_progress,
        )
        closed[lease.series] = found
        return holes.as_outcome(database, found)

    sound = [one for one in series_list if one not in unclassed]
    steps = [*([] if archive is None else [Step(ASSET, read_again)]), Step(holes.ASSET, close)]
    hold = holding(database, venue, settings, run_id)
    results = {one.series: one for one in walk(sound, steps, hold, settings.fetch_threads)}
    mended = tuple(_mended(one, unclassed, results, reread, closed) for one in series_list)
    assessment, error = _assessed(database, venue, sound, now_ms, on_progress)
    return MendResult(venue, mended, assessment, error)


def _classes(database: Database, venue: str, series_list: Sequence[Series], now_ms: int) -> dict[Series, str]:
    """Class the gaps of all series. Those that cannot be assessed, with the reason: they are left alone, because what is not
    classed might be filled wrongly."""
    _, error = _assessed(database, venue, series_list, now_ms, ignore_progress)
    if error is None:
        return {}
    each = {one: _assessed(database, venue, [one], now_ms, ignore_progress)[1] for one in series_list}
    return {one: failure for one, failure in each.items() if failure is not None}


def _assessed(
    database: Database, venue: str, series_list: Sequence[Series], now_ms: int, on_progress: OnProgress
) -> tuple[QualityAssessment | None, str | None]:
    try:
        return data_quality.assess(database, venue, series_list, now_ms, on_progress=on_progress), None
    except Exception as error:  # noqa: BLE001 - a fault of one series, of any kind, must not keep its siblings from being mended
        return None, " ".join(str(error).split()) or type(error).__name__


def _mended(
    series: Series,
    unclassed: Mapping[Series, str],
    results: Mapping[Series, SeriesResult],
    reread: Mapping[Series, Reread],
    closed: Mapping[Series, Closed],
) -> MendedSeries:
    if series in unclassed:
        return MendedSeries(series, failed_at=data_quality.ASSET, error=unclassed[series])
    result = results[series]
    return MendedSeries(series, reread.get(series, Reread()), closed.get(series), result.failed_at, result.error)


def read_files_again(
    database: Database,
    lease: SeriesLease,
    archive: BinanceArchive | None,
    *,
    run_id: str,
    on_progress: OnProgress = ignore_progress,
) -> Reread:
    """Read those of the leased series' archive files again that the archive has replaced since they were loaded, and those that
    were not believed when they came. An archive that fails is told of; the files stay to be read again the next time."""
    if archive is None:
        return Reread()
    series, replaced, error = lease.series, (), None
    try:
        replaced = _note_replaced(database, series, archive)
    except SourceError as failure:
        error = str(failure)
    files = [one for one in _files(database, series, archive, _READ_AGAIN) if error is None]
    restated = new = 0
    if files:
        try:
            pages = _pages(archive, files, series, on_progress)
            received = receive_pages(database, lease, archive.name, _ARCHIVE, pages, run_id=run_id)
            restated, new = received.change.restated, received.change.new
        except SourceError as failure:
            error = str(failure)
        validated_bars.bring_up_to_date(database, lease, on_progress=on_progress)
    pending = tuple(one.path for one in _files(database, series, archive, _READ_AGAIN))
    return Reread(replaced, pending, restated, new, error)


def _files(database: Database, series: Series, archive: BinanceArchive, statuses: Iterable[str]) -> list[ArchiveFile]:
    """In order of their time, which is that in which pages must come."""
    found = [one for status in statuses for one in archive_files.read_files(database, series, status)]
    return sorted((one for one in found if one.source == archive.name), key=lambda one: (one.period, one.path))


def _note_replaced(database: Database, series: Series, archive: BinanceArchive) -> tuple[str, ...]:
    found = check_restated(archive, archive_files.read_files(database, series, "loaded"))
    if found:
        with database.transaction() as cursor:
            for file in found:
                archive_files.record_file(cursor, file)
    return tuple(one.path for one in found)


def _pages(archive: BinanceArchive, files: Sequence[ArchiveFile], series: Series, on_progress: OnProgress) -> Iterator[Page]:
    # The files of a month and of one of its days hold the same bars; each is asked for by its own period, which names it.
    for number, file in enumerate(files):
        on_progress(Progress(ASSET, series, number, len(files), 0))
        yield from archive.bars(series.symbol, series.timeframe, *file.period)
    on_progress(Progress(ASSET, series, len(files), len(files), 0))
