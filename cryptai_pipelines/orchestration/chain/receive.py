"""Storing what any source of a series has given: pages into `raw_ohlcv` with their proof, the source's coverage, the sync log.
What is asked of which source is decided by the callers (`raw_ohlcv`, `holes`, `import_file`)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.market.bars import Columns, concat_columns, row_count
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.prefetch import batches
from cryptai_pipelines.orchestration.chain.restatement import record_restatements
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.storage import coverage, fetch_log, raw, series_sources, state, sync_log
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.leases import LeaseLost, SeriesLease, check_lease
from cryptai_pipelines.storage.series_sources import Place

RAW = "raw_ohlcv"
ROWS_PER_COMMIT = 25_000
PAGES_PER_COMMIT = 25
# What lies between two files, or two parts of an archive, is not claimed to be settled by anybody else.
_SPANS = ("archive", "csv", "udf")
_ROWS = struct.Struct("<q")


@dataclass
class Received:
    """What has been stored so far. `first_ts`: the first open time of all, epoch ms. `settled`: what the pages together asked
    for."""

    pages: int = 0
    fetched: int = 0
    change: Change = Change()
    first_ts: int | None = None
    settled: Interval | None = None

    def counts(self) -> dict[str, int]:
        """The counts of `sync_log.COUNTS` that are known here."""
        return {
            "pages": self.pages,
            "rows_fetched": self.fetched,
            "rows_new": self.change.new,
            "rows_restated": self.change.restated,
        }


@dataclass(frozen=True)
class Stored:
    """A batch that has been committed. `rows`: as `raw.read_current` would give them. `all_new`: there are some, ascending, and
    none was known before. `revision`: that of the series' raw bars with this batch, 0 when it changed nothing."""

    source: str
    asked: Interval
    rows: Columns
    all_new: bool
    revision: int


OnStored = Callable[[Stored], None]


def ignore_stored(_: Stored) -> None:
    """For callers that do nothing with them."""


def receive_pages(
    database: Database,
    lease: SeriesLease,
    source: str,
    origin: str,
    pages: Iterable[Page],
    *,
    run_id: str,
    asked: Interval | None = None,
    place: Place | None = None,
    in_pieces: bool = False,
    on_progress: OnProgress = ignore_progress,
    on_stored: OnStored = ignore_stored,
) -> Received:
    """Append `pages` of `source` to the leased series, a few pages a transaction, under a sync of its own in the log.

    `origin`: what bars of this source are marked with (`rest`, `archive`, `csv`, `udf`, `secondary`, `resampled`). `asked`: the
    whole of what the pages are about, for progress. `place`: from now on this source is believed before all others (`first`)
    or after them (`last`).
    `in_pieces`: the pages are about single gaps, and nobody was asked for what lies between them: no coverage is claimed.
    Raises what `pages` raises: what was committed stays, and the log says PARTIAL, or FAILED when nothing was received.
    """
    received = Received()
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        register(cursor, lease, source, origin, place)
    sync_id = sync_log.start_sync(database, lease, run_id, source)
    status, error = "FAILED", "interrupted"
    try:
        store_pages(database, lease, source, sync_id, pages, received, asked, on_progress, on_stored, in_pieces=in_pieces)
        status, error = "COMPLETED", None
    except Exception as failure:  # whatever it is, the sync log must say so; it is raised on
        status, error = failed_status(received, failure), str(failure)
        raise
    finally:
        with database.transaction() as cursor:
            sync_log.finish_sync(cursor, sync_id, status, received.counts(), error)
    return received


def register(cursor: Cursor, lease: SeriesLease, source: str, origin: str, place: Place | None = None) -> None:
    """Make `source` one of the series' sources. When that changes which source is believed, all bars count as changed.
    `LeaseLost` when others have begun to write the series since, under another name than that of `lease`."""
    series = lease.series
    known = series_sources.read_sources(cursor, series)
    if place or all((one.source, one.origin) != (source, origin) for one in known):
        series_sources.register_source(cursor, series, source, origin, place)
    name = series_sources.lease_name(cursor, series, otherwise=lease.source)
    # Whoever brings the very first bars is the first source by this, under the name that was given to the lease.
    if name not in (lease.source, source):
        raise LeaseLost(f"{series}: {name} has come to be its first source meanwhile; nothing of {source} was written")
    before = [one.source for one in known]
    after = [one.source for one in series_sources.read_sources(cursor, series)]
    whole = coverage.read_hull(cursor, series)
    if after[: len(before)] != before and whole is not None:
        state.record_change(cursor, RAW, series, Change(0, 1, whole.start_ms, whole.end_ms))


def failed_status(received: Received, failure: Exception) -> str:
    """What the log says of a sync that `failure` ended: PARTIAL when a venue failed after it had given something."""
    return "PARTIAL" if received.pages and isinstance(failure, SourceError) else "FAILED"


def store_pages(
    database: Database,
    lease: SeriesLease,
    source: str,
    sync_id: int,
    pages: Iterable[Page],
    received: Received,
    asked: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
    on_stored: OnStored = ignore_stored,
    *,
    in_pieces: bool = False,
) -> None:
    """Append `pages`, `PAGES_PER_COMMIT` or `ROWS_PER_COMMIT` a transaction, adding what was stored to `received` as it is
    committed, and handing it to `on_stored`."""
    for batch in batches(pages, PAGES_PER_COMMIT, lambda page: row_count(page.rows), ROWS_PER_COMMIT):
        on_stored(_store(database, lease, source, sync_id, batch, received, in_pieces))
        if asked is not None:
            # A whole history is asked for from 1970 on; progress counts from the first bar there is.
            start = asked.start_ms if received.first_ts is None else max(asked.start_ms, received.first_ts)
            done = batch[-1].asked.end_ms - start
            on_progress(Progress(RAW, lease.series, done, asked.end_ms - start, received.fetched))


def _store(
    database: Database,
    lease: SeriesLease,
    source: str,
    sync_id: int,
    pages: Sequence[Page],
    received: Received,
    in_pieces: bool,
) -> Stored:
    rows = concat_columns([page.rows for page in pages])
    counts = [row_count(page.rows) for page in pages]
    known_at = np.repeat(np.array([page.fetched_at_ms for page in pages], dtype="int64"), counts)
    if received.first_ts is None and len(rows["ts"]):
        received.first_ts = int(rows["ts"].min())
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        fetch_ids = fetch_log.log_fetches(cursor, sync_id, source, lease.series, pages)
        of_rows = np.repeat(fetch_ids, counts)
        change = raw.append(cursor, source, lease.series, rows, of_rows, known_at)
        revision = _count_rows(cursor, lease.series, change)
        record_restatements(cursor, source, lease.series, fetch_ids, known_at, sync_id, change)
        if not in_pieces:
            start = pages[0].asked.start_ms if received.settled is None else received.settled.start_ms
            received.settled = Interval(start, pages[-1].asked.end_ms)
            _extend_coverage(cursor, lease.series, source, received, rows["ts"])
    received.pages += len(pages)
    received.fetched += len(rows["ts"])
    received.change += change
    ts = rows["ts"]
    all_new = 0 < len(ts) == change.new == change.rows and bool((ts[1:] > ts[:-1]).all())
    asked = Interval(pages[0].asked.start_ms, pages[-1].asked.end_ms)
    return Stored(source, asked, raw.as_read(rows, of_rows, known_at), all_new, revision)


def _count_rows(cursor: Cursor, series: Series, change: Change) -> int:
    """Record what changed, and keep the number of rows beside it: counting them would cost more with every year. The revision
    of the series with it, 0 without a change."""
    if not change:
        return 0
    before = state.read_state(cursor, RAW, series)
    known = stored_rows(before)
    revision = state.record_change(cursor, RAW, series, change)
    state.write_state(cursor, RAW, series, code_version=lineage_version(RAW), state=_ROWS.pack(known + change.rows))
    return revision


def stored_rows(own: state.SeriesState | None) -> int:
    """How many rows of `raw_ohlcv` a series has, all sources and revisions together, by its state."""
    return _ROWS.unpack(own.state)[0] if own and own.state else 0


def _extend_coverage(cursor: Cursor, series: Series, source: str, received: Received, ts: np.ndarray) -> None:
    """A part before all coverage is claimed when it has reached it; until then a kill fetches it again. Coverage ends on the
    grid: a page may end in the middle of a bar's time, and that bar is settled with the next page."""
    assert received.settled is not None
    settled = Interval(series.timeframe.ceil(received.settled.start_ms), series.timeframe.floor(received.settled.end_ms))
    known = coverage.read_coverage(cursor, source, series).covered
    if settled.start_ms >= settled.end_ms:
        return
    if known is not None and not (settled.start_ms <= known.end_ms and settled.end_ms >= known.start_ms):
        if _origin(cursor, series, source) not in _SPANS:
            return
        settled = Interval(min(known.start_ms, settled.start_ms), max(known.end_ms, settled.end_ms))
    last = int(ts.max()) if len(ts) else None
    coverage.extend_coverage(cursor, source, series, settled, received.first_ts, last)


def _origin(cursor: Cursor, series: Series, source: str) -> str:
    return next(one.origin for one in series_sources.read_sources(cursor, series) if one.source == source)
