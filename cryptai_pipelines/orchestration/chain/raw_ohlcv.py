"""`raw_ohlcv`: closed bars as the venue gave them, with proof of each answer. What is fetched follows from the coverage
record: what is missing, and an overlap in which a restated bar is seen. Whether a bar is good is judged by the next asset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.market.bars import concat_columns, row_count
from cryptai_pipelines.market.clock import closed_until, format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.prefetch import batches, prefetched
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage import coverage, fetch_log, leases, raw, state, symbols, sync_log
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database

ASSET = "raw_ohlcv"
PAGES_PER_COMMIT = 25
_PAGES_AHEAD = 8


@dataclass(frozen=True)
class FetchPolicy:
    """How a series is fetched. `overlap_bars`: stored bars asked for again; `grace_ms`: how long a bar may still change
    after its close; `lease_s`: how long this writer may be silent before another may take the series."""

    overlap_bars: int
    grace_ms: int
    lease_s: float


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
    series: Series,
    policy: FetchPolicy,
    *,
    run_id: str,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Fetch what coverage lacks of `series`, or all of `window` (epoch ms), and append it; commits every `PAGES_PER_COMMIT`
    pages, each commit with its proof and its coverage, so that a kill loses at most the pages since the last one.

    Raises `SourceError` when the venue fails: what was committed stays, and the sync log says PARTIAL, or FAILED when nothing
    was received. `SeriesBusy` when another live writer holds the series.
    """
    with leases.take_series(database, source.name, series, holder=run_id, lease_s=policy.lease_s) as lease:
        sync_id = sync_log.start_sync(database, lease, run_id)
        tally, status, error = _Tally(), "COMPLETED", None
        try:
            until = closed_until(source.server_time(), series.timeframe, policy.grace_ms)
            part = to_fetch(coverage.read_coverage(database, source.name, series).covered, until, series, policy, window)
            on_progress(Progress(ASSET, series, 0, max(1, part.end_ms - part.start_ms), 0))
            pages = source.bars(series.symbol, series.timeframe, *part) if part.start_ms < part.end_ms else ()
            for batch in batches(prefetched(pages, _PAGES_AHEAD), PAGES_PER_COMMIT):
                _store(database, lease, sync_id, part, batch, tally)
                _tell(on_progress, series, part, batch[-1].asked.end_ms, tally)
        except SourceError as failure:
            status, error = ("PARTIAL" if tally.pages else "FAILED"), str(failure)
            raise
        except Exception as failure:  # the sync log must not say RUNNING of what has ended, whatever ended it
            status, error = "FAILED", str(failure)
            raise
        finally:
            with database.transaction() as cursor:
                sync_log.finish_sync(cursor, sync_id, status, tally.counts(), error)
    return _outcome(database, source.name, series, tally)


def to_fetch(
    covered: Interval | None, until_ms: int, series: Series, policy: FetchPolicy, window: Interval | None
) -> Interval:
    """What to ask the venue for; empty (`start >= end`) when there is nothing. Coverage stays one interval without holes, so a
    window that lies apart from it is extended until it touches."""
    length = series.timeframe.ms
    if covered is None:
        return Interval(window.start_ms, min(window.end_ms, until_ms)) if window else Interval(0, until_ms)
    if window is None:
        return Interval(max(covered.start_ms, covered.end_ms - policy.overlap_bars * length), max(until_ms, covered.end_ms))
    start, end = min(window.start_ms, covered.end_ms), min(window.end_ms, until_ms)
    return Interval(start, max(end, covered.start_ms) if end < covered.start_ms else end)


def _store(
    database: Database, lease: leases.SeriesLease, sync_id: int, part: Interval, pages: Sequence[Page], tally: _Tally
) -> None:
    rows = concat_columns([page.rows for page in pages])
    counts = [row_count(page.rows) for page in pages]
    known_at = np.repeat(np.array([page.fetched_at_ms for page in pages], dtype="int64"), counts)
    with database.transaction() as cursor:
        leases.check_lease(cursor, lease)
        fetch_ids = fetch_log.log_fetches(cursor, sync_id, lease.source, lease.series, pages)
        change = raw.append(cursor, lease.source, lease.series, rows, np.repeat(fetch_ids, counts), known_at)
        state.record_change(cursor, ASSET, lease.series, change)
        _extend_coverage(cursor, lease, Interval(part.start_ms, pages[-1].asked.end_ms), rows["ts"])
    tally.pages += len(pages)
    tally.fetched += len(rows["ts"])
    tally.change += change
    if tally.first_ts is None and len(rows["ts"]):
        tally.first_ts = int(rows["ts"][0])


def _extend_coverage(cursor: object, lease: leases.SeriesLease, settled: Interval, ts: np.ndarray) -> None:
    """A part before all coverage is claimed when it has reached it; until then a kill fetches it again."""
    known = coverage.read_coverage(cursor, lease.source, lease.series).covered
    if known is not None and settled.end_ms < known.start_ms:
        return
    first, last = (int(ts.min()), int(ts.max())) if len(ts) else (None, None)
    coverage.extend_coverage(cursor, lease.source, lease.series, settled, first, last)


def _tell(on_progress: OnProgress, series: Series, part: Interval, done_ms: int, tally: _Tally) -> None:
    # A whole history is asked for from 1970 on; progress counts from the first bar there is.
    start = max(part.start_ms, part.start_ms if tally.first_ts is None else tally.first_ts)
    on_progress(Progress(ASSET, series, done_ms - start, part.end_ms - start, tally.fetched))


def _outcome(database: Database, venue: str, series: Series, tally: _Tally) -> Outcome:
    covered = coverage.read_coverage(database, venue, series)
    own = state.read_state(database, ASSET, series)
    facts = {
        "source": venue,
        "simulated": symbols.is_simulated(database, venue, series.symbol),
        "rows_fetched": tally.fetched,
        "rows_restated": tally.change.restated,
        "first_bar": None if covered.first_ts is None else format_time(covered.first_ts),
        "last_bar": None if covered.last_ts is None else format_time(covered.last_ts),
        "covered_until": None if covered.covered is None else format_time(covered.covered.end_ms),
        "changed_from_ms": tally.change.first_ts,
    }
    rows = state.rows_recorded(database, ASSET, series)
    return Outcome(ASSET, series, tally.change.rows, rows, own.revision if own else 0, facts)
