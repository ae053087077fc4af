"""`raw_ohlcv`: closed bars as the venue gave them, with proof of each answer. What is fetched follows from the coverage
record: what is missing, and an overlap in which a restated bar is seen. A long history comes from the venue's archive first.
How pages are stored is in `receive`; whether a bar is good is judged by the next asset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cryptai_pipelines.market.bars import row_count
from cryptai_pipelines.market.clock import closed_until, format_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.archive_history import Archive, from_archive_on, read_archive
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.prefetch import fetched_together, prefetched
from cryptai_pipelines.orchestration.chain.receive import (
    PAGES_PER_COMMIT,
    RAW,
    OnStored,
    Received,
    failed_status,
    ignore_stored,
    register,
    store_pages,
    stored_rows,
)
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage import coverage, series_sources, state, symbols, sync_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease
from cryptai_pipelines.storage.series_sources import SeriesSource

logger = logging.getLogger(__name__)

ASSET = RAW
# As many as one commit takes, so that fetching never waits for a commit.
_PAGES_AHEAD = PAGES_PER_COMMIT
_BARS_WORTH_A_THREAD = 1_000
# What one of several threads fetches at a time; a history of twice as much is worth having them.
_BARS_TOGETHER = 10_000


@dataclass(frozen=True)
class FetchPolicy:
    """How a series is fetched. `overlap_bars`: stored bars asked for again; `grace_ms`: how long a bar may still change after
    its close; `only_due`: leave a series alone of which no bar has closed since it was last covered; `threads`: how many
    stretches of a long history are fetched at a time."""

    overlap_bars: int
    grace_ms: int
    only_due: bool = False
    threads: int = 1


@dataclass(frozen=True)
class VenueNow:
    """What the venue said of itself at the start of a walk: its clock (epoch ms), and whether its market is made up."""

    time_ms: int
    simulated: bool


def bring_up_to_date(
    database: Database,
    source: BarSource,
    venue_now: Callable[[], VenueNow],
    lease: SeriesLease,
    policy: FetchPolicy,
    *,
    run_id: str,
    archive: Archive | None = None,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
    on_stored: OnStored = ignore_stored,
) -> Outcome:
    """Fetch what coverage lacks of the leased series, or all of `window` (epoch ms), and append it; commits every
    `PAGES_PER_COMMIT` pages, each commit with its proof and its coverage, so that a kill loses at most the pages since the
    last one, and hands each to `on_stored`. A series of which nothing is covered yet is read from `archive` as far as that
    reaches.

    Raises `SourceError` when the venue fails: what was committed stays, and the sync log says PARTIAL, or FAILED when nothing
    was received. `CryptaiError` when the series has another exchange, or is of another kind (simulated, real) than what
    the venue serves now. `BadInput` when `window` starts after the last closed bar.
    """
    series, received = lease.series, Received()
    covered = coverage.read_coverage(database, source.name, series).covered
    sync_id, status, error = None, "FAILED", "interrupted"
    try:
        now = venue_now()
        until = closed_until(now.time_ms, series.timeframe, policy.grace_ms)
        if policy.only_due and window is None and covered is not None and covered.end_ms >= until:
            return _outcome(database, source.name, series, received, due=False)
        sync_id = sync_log.start_sync(database, lease, run_id, source.name)
        known = series_sources.read_sources(database, series)
        _refuse_mixing(database, source.name, series, now, known)
        origin = source.origin(series.timeframe)
        # A source stays registered, so a tick that finds it so has nothing to write.
        if (source.name, origin) not in {(one.source, one.origin) for one in known}:
            with database.transaction() as cursor:
                check_lease(cursor, lease)
                register(cursor, lease, source.name, origin)
        part = to_fetch(covered, until, series, policy, window)
        if archive is not None and covered is None:
            if window is None:
                part = from_archive_on(database, archive.name, series, part)
            part = read_archive(database, source, archive, lease, part, run_id, on_progress, on_stored, now.simulated)
        _fetch(database, source, lease, sync_id, part, policy.threads, received, on_progress, on_stored)
        status, error = "COMPLETED", None
    except Exception as failure:  # whatever it is, the sync log must say so; it is raised on
        sync_id = sync_id or sync_log.start_sync(database, lease, run_id, source.name)
        status, error = failed_status(received, failure), str(failure)
        raise
    finally:
        if sync_id is not None:
            with database.transaction() as cursor:
                sync_log.finish_sync(cursor, sync_id, status, received.counts(), error)
    return _outcome(database, source.name, series, received, due=True)


def to_fetch(covered: Interval | None, until_ms: int, series: Series, policy: FetchPolicy, window: Interval | None) -> Interval:
    """What to ask the venue for, from one open time to another; empty (`start >= end`) when there is nothing. Coverage stays
    one interval without holes, so a window that lies apart from it is extended until it touches."""
    timeframe = series.timeframe
    if window is not None:
        window = Interval(timeframe.ceil(window.start_ms), timeframe.floor(min(window.end_ms, until_ms)))
        if window.start_ms >= until_ms:
            at, last = format_time(window.start_ms), format_time(until_ms)
            raise BadInput(f"the window of {series} starts at {at}; accepted: a start before {last}, where its closed bars end")
    if covered is None:
        return window or Interval(timeframe.ceil(0), until_ms)
    if window is None:
        overlap = policy.overlap_bars * timeframe.ms
        return Interval(max(covered.start_ms, covered.end_ms - overlap), max(until_ms, covered.end_ms))
    return Interval(min(window.start_ms, covered.end_ms), max(window.end_ms, min(covered.start_ms, until_ms)))


def _refuse_mixing(database: Database, venue: str, series: Series, now: VenueNow, known: Sequence[SeriesSource]) -> None:
    feeding = series_sources.feeding_venue(known) or venue
    if feeding != venue:
        raise CryptaiError(f"{series} is fed by {feeding} in this store; a series has one exchange, so {venue} is refused")
    listed = symbols.is_simulated(database, venue, series.symbol)
    if listed is not None and listed != now.simulated:
        kinds = ("real", "simulated")
        raise CryptaiError(
            f"{venue} serves a {kinds[now.simulated]} market now and this store holds a {kinds[listed]} one; "
            "accepted: another CRYPTAI_HOME or CRYPTAI_DATABASE_URL for it"
        )


def _fetch(
    database: Database,
    source: BarSource,
    lease: SeriesLease,
    sync_id: int,
    part: Interval,
    threads: int,
    received: Received,
    on_progress: OnProgress,
    on_stored: OnStored,
) -> None:
    if part.start_ms >= part.end_ms:
        return
    on_progress(Progress(ASSET, lease.series, 0, part.end_ms - part.start_ms, 0))
    pages = _pages(source, lease.series, part, threads)
    # A tick's few bars are one page; a thread of its own, with a client of its own, would cost more than it saves.
    long = part.end_ms - part.start_ms > _BARS_WORTH_A_THREAD * lease.series.timeframe.ms
    ahead = prefetched(pages, _PAGES_AHEAD) if long else pages
    kept = _from_what_is_kept(database, lease, source.name, part, ahead)
    store_pages(database, lease, source.name, sync_id, kept, received, part, on_progress, on_stored)


def _from_what_is_kept(
    database: Database, lease: SeriesLease, venue: str, part: Interval, pages: Iterator[Page]
) -> Iterator[Page]:
    """`pages` of `part`. When the venue no longer keeps the bars between what is covered and the first page, that is covered,
    too: there is nothing left to receive, and what is missing there is a gap for others to close."""
    series = lease.series
    for number, page in enumerate(pages):
        if number == 0 and page.asked.start_ms > part.start_ms:
            with database.transaction() as cursor:
                check_lease(cursor, lease)
                covered = coverage.read_coverage(cursor, venue, series).covered
                if covered is not None and part.start_ms <= covered.end_ms < page.asked.start_ms:
                    lost = Interval(covered.end_ms, page.asked.start_ms)
                    logger.warning("%s: %s no longer keeps the bars from %s on", series, venue, format_time(lost.start_ms))
                    coverage.extend_coverage(cursor, venue, series, lost)
        yield page


def _pages(source: BarSource, series: Series, part: Interval, threads: int) -> Iterator[Page]:
    """The pages of `part`, of a long one by `threads` as soon as it is known where its bars begin. Every stretch is settled by
    itself, by the rules of its source, and the stretches tile what is left."""
    timeframe = series.timeframe
    pages = source.bars(series.symbol, timeframe, *part)
    for page in pages:
        yield page
        left = Interval(page.asked.end_ms, part.end_ms)
        long = left.end_ms - left.start_ms >= 2 * _BARS_TOGETHER * timeframe.ms
        if threads > 1 and long and row_count(page.rows):
            break
    else:
        return
    length = _BARS_TOGETHER * timeframe.ms
    cuts = [left.start_ms, *range(timeframe.floor(left.start_ms) + length, left.end_ms, length), left.end_ms]
    stretches = [Interval(*ends) for ends in pairwise(cuts)]
    yield from fetched_together(stretches, lambda one: source.bars(series.symbol, timeframe, *one), threads)


def _outcome(database: Database, venue: str, series: Series, received: Received, *, due: bool) -> Outcome:
    covered = coverage.read_coverage(database, venue, series)
    own = state.read_state(database, ASSET, series)
    facts = {
        "source": venue,
        "simulated": bool(symbols.is_simulated(database, venue, series.symbol)),
        "due": due,
        "rows_fetched": received.fetched,
        "rows_restated": received.change.restated,
        "first_bar": None if covered.first_ts is None else format_time(covered.first_ts),
        "last_bar": None if covered.last_ts is None else format_time(covered.last_ts),
        "covered_until": None if covered.covered is None else format_time(covered.covered.end_ms),
        "changed_from_ms": received.change.first_ts,
    }
    return Outcome(ASSET, series, received.change.rows, stored_rows(own), own.revision if own else 0, facts)
