"""`raw_ohlcv`: closed bars as the venue gave them, with proof of each answer. What is fetched follows from the coverage
record: what is missing, and an overlap in which a restated bar is seen. Whether a bar is good is judged by the next asset."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.market.bars import concat_columns, row_count
from cryptai_pipelines.market.clock import closed_until, format_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.prefetch import batches, prefetched
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage import coverage, fetch_log, raw, state, symbols, sync_log
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease

ASSET = "raw_ohlcv"
PAGES_PER_COMMIT = 25
# As many as one commit takes, so that fetching never waits for a commit.
_PAGES_AHEAD = PAGES_PER_COMMIT
_BARS_WORTH_A_THREAD = 1_000
_ROWS = struct.Struct("<q")


@dataclass(frozen=True)
class FetchPolicy:
    """How a series is fetched. `overlap_bars`: stored bars asked for again; `grace_ms`: how long a bar may still change after
    its close; `only_due`: leave a series alone of which no bar has closed since it was last covered."""

    overlap_bars: int
    grace_ms: int
    only_due: bool = False


@dataclass(frozen=True)
class VenueNow:
    """What the venue said of itself at the start of a walk: its clock (epoch ms), and whether its market is made up."""

    time_ms: int
    simulated: bool


@dataclass
class _Tally:
    pages: int = 0
    fetched: int = 0
    change: Change = Change()
    first_ts: int | None = None

    def counts(self) -> dict[str, int]:
        return {
            "pages": self.pages,
            "rows_fetched": self.fetched,
            "rows_new": self.change.new,
            "rows_restated": self.change.restated,
        }


def bring_up_to_date(
    database: Database,
    source: BarSource,
    venue_now: Callable[[], VenueNow],
    lease: SeriesLease,
    policy: FetchPolicy,
    *,
    run_id: str,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Fetch what coverage lacks of the leased series, or all of `window` (epoch ms), and append it; commits every
    `PAGES_PER_COMMIT` pages, each commit with its proof and its coverage, so that a kill loses at most the pages since the
    last one.

    Raises `SourceError` when the venue fails: what was committed stays, and the sync log says PARTIAL, or FAILED when nothing
    was received. `CryptaiError` when the series is fed by another source, or is of another kind (simulated, real) than what
    the venue serves now. `BadInput` when `window` starts after the last closed bar.
    """
    series, tally = lease.series, _Tally()
    covered = coverage.read_coverage(database, source.name, series).covered
    sync_id, status, error = None, "FAILED", "interrupted"
    try:
        now = venue_now()
        until = closed_until(now.time_ms, series.timeframe, policy.grace_ms)
        if policy.only_due and window is None and covered is not None and covered.end_ms >= until:
            return _outcome(database, source.name, series, tally, due=False)
        sync_id = sync_log.start_sync(database, lease, run_id)
        _refuse_mixing(database, source.name, series, now)
        part = to_fetch(covered, until, series, policy, window)
        _fetch(database, source, lease, sync_id, part, tally, on_progress)
        status, error = "COMPLETED", None
    except Exception as failure:  # whatever it is, the sync log must say so; it is raised on
        sync_id = sync_id or sync_log.start_sync(database, lease, run_id)
        status, error = ("PARTIAL" if tally.pages and isinstance(failure, SourceError) else "FAILED"), str(failure)
        raise
    finally:
        if sync_id is not None:
            with database.transaction() as cursor:
                sync_log.finish_sync(cursor, sync_id, status, tally.counts(), error)
    return _outcome(database, source.name, series, tally, due=True)


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


def _refuse_mixing(database: Database, venue: str, series: Series, now: VenueNow) -> None:
    others = coverage.other_sources(database, venue, series)
    if others:
        raise CryptaiError(f"{series} is fed by {others[0]} in this store; a series has one source, so {venue} is refused")
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
    tally: _Tally,
    on_progress: OnProgress,
) -> None:
    if part.start_ms >= part.end_ms:
        return
    on_progress(Progress(ASSET, lease.series, 0, part.end_ms - part.start_ms, 0))
    pages = source.bars(lease.series.symbol, lease.series.timeframe, *part)
    # A tick's few bars are one page; a thread of its own, with a client of its own, would cost more than it saves.
    long = part.end_ms - part.start_ms > _BARS_WORTH_A_THREAD * lease.series.timeframe.ms
    for batch in batches(prefetched(pages, _PAGES_AHEAD) if long else pages, PAGES_PER_COMMIT):
        _store(database, lease, sync_id, part, batch, tally)
        _tell(on_progress, lease.series, part, batch[-1].asked.end_ms, tally)


def _store(database: Database, lease: SeriesLease, sync_id: int, part: Interval, pages: Sequence[Page], tally: _Tally) -> None:
    rows = concat_columns([page.rows for page in pages])
    counts = [row_count(page.rows) for page in pages]
    known_at = np.repeat(np.array([page.fetched_at_ms for page in pages], dtype="int64"), counts)
    if tally.first_ts is None and len(rows["ts"]):
        tally.first_ts = int(rows["ts"].min())
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        fetch_ids = fetch_log.log_fetches(cursor, sync_id, lease.source, lease.series, pages)
        change = raw.append(cursor, lease.source, lease.series, rows, np.repeat(fetch_ids, counts), known_at)
        _count_rows(cursor, lease.series, change)
        _extend_coverage(cursor, lease, part, pages[-1].asked.end_ms, rows["ts"], tally)
    tally.pages += len(pages)
    tally.fetched += len(rows["ts"])
    tally.change += change


def _count_rows(cursor: Cursor, series: Series, change: Change) -> None:
    """Record what changed, and keep the number of rows beside it: counting them would cost more with every year."""
    if not change:
        return
    before = state.read_state(cursor, ASSET, series)
    known = _ROWS.unpack(before.state)[0] if before and before.state else 0
    state.record_change(cursor, ASSET, series, change)
    state.write_state(cursor, ASSET, series, code_version=lineage_version(ASSET), state=_ROWS.pack(known + change.rows))


def _extend_coverage(
    cursor: Cursor, lease: SeriesLease, part: Interval, settled_ms: int, ts: np.ndarray, tally: _Tally
) -> None:
    """A part before all coverage is claimed when it has reached it; until then a kill fetches it again. Coverage ends on the
    grid: a page may end in the middle of a bar's time, and that bar is settled with the next page."""
    settled = Interval(part.start_ms, lease.series.timeframe.floor(settled_ms))
    known = coverage.read_coverage(cursor, lease.source, lease.series).covered
    if settled.start_ms >= settled.end_ms or (known is not None and settled.end_ms < known.start_ms):
        return
    last = int(ts.max()) if len(ts) else None
    coverage.extend_coverage(cursor, lease.source, lease.series, settled, tally.first_ts, last)


def _tell(on_progress: OnProgress, series: Series, part: Interval, done_ms: int, tally: _Tally) -> None:
    # A whole history is asked for from 1970 on; progress counts from the first bar there is.
    start = part.start_ms if tally.first_ts is None else max(part.start_ms, tally.first_ts)
    on_progress(Progress(ASSET, series, done_ms - start, part.end_ms - start, tally.fetched))


def _outcome(database: Database, venue: str, series: Series, tally: _Tally, *, due: bool) -> Outcome:
    covered = coverage.read_coverage(database, venue, series)
    own = state.read_state(database, ASSET, series)
    facts = {
        "source": venue,
        "simulated": bool(symbols.is_simulated(database, venue, series.symbol)),
        "due": due,
        "rows_fetched": tally.fetched,
        "rows_restated": tally.change.restated,
        "first_bar": None if covered.first_ts is None else format_time(covered.first_ts),
        "last_bar": None if covered.last_ts is None else format_time(covered.last_ts),
        "covered_until": None if covered.covered is None else format_time(covered.covered.end_ms),
        "changed_from_ms": tally.change.first_ts,
    }
    rows = _ROWS.unpack(own.state)[0] if own and own.state else 0
    return Outcome(ASSET, series, tally.change.rows, rows, own.revision if own else 0, facts)
