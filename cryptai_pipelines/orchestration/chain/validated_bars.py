"""`validated_bars`: raw bars judged before they are written. At every open time stands the good bar of the most believed
source, or a filled one, where that was decided. Bad ones go to `quarantine` with their reason, gaps and monthly completeness to
`data_quality`, in the same transaction. The rules live in `quality`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval, clipped, merged
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.judged_part import (
    JUDGED,
    NOTHING_WRITTEN,
    VALIDATED,
    Judged,
    Reach,
    Written,
    bars_covered,
    judge_part,
    write_part,
)
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.prefetch import prefetched
from cryptai_pipelines.storage import gap_fills, market_data, quality_log, raw, series_sources, state, sync_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease

ASSET = VALIDATED
RAW = "raw_ohlcv"
BARS_PER_COMMIT = 100_000
# The next part is read and judged while the last one is written.
_PARTS_AHEAD = 1


def bring_up_to_date(
    database: Database, lease: SeriesLease, written: Written = NOTHING_WRITTEN, *, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Judge what changed in `raw_ohlcv` and what coverage has settled since, `BARS_PER_COMMIT` bar lengths a transaction.
    `written`: what was judged of the series on the way, which counts as this one's work.

    `BatchRejected` when a batch is broken as a whole; nothing of it is written, and the sync log says so.
    """
    try:
        written = _bring_up_to_date(database, lease, written, on_progress)
    except CryptaiError as error:
        with database.transaction() as cursor:
            sync_log.note_validation(cursor, lease, error=str(error))
        raise
    return _outcome(database, lease, written)


def _bring_up_to_date(database: Database, lease: SeriesLease, written: Written, on_progress: OnProgress) -> Written:
    series = lease.series
    received = state.read_state(database, RAW, series)
    reach = _reach(database, series, received)
    if received is None or reach is None:
        if written.change:
            on_progress(Progress(ASSET, series, 1, 1, written.change.rows))
        return written
    total, done = sum(end - start for start, end in reach.windows), 0
    on_progress(Progress(ASSET, series, 0, total, written.change.rows))
    judged = _judged_parts(database, series, reach)
    # A window after another one looks at the bars before it, which must have been written.
    ahead = len(reach.windows) == 1 and total > _part_ms(series)
    for one in prefetched(judged, _PARTS_AHEAD) if ahead else judged:
        written = written + write_part(database, lease, reach, one, received.revision)
        done += one.part.end_ms - one.part.start_ms
        on_progress(Progress(ASSET, series, done, total, written.change.rows))
    return written


def _reach(database: Database, series: Series, received: state.SeriesState | None) -> Reach | None:
    """What must be judged: everything when the code or the start of coverage is another one than before, otherwise what raw
    bars changed and what coverage has settled since. Rows that lie outside coverage wait until it has reached them."""
    reached = bars_covered(database, series)
    if received is None or reached is None:
        return None
    covered, first = reached
    whole = Interval(first, covered.end_ms)
    own = state.read_state(database, ASSET, series)
    fills = gap_fills.read_fills(database, series)
    known = own is not None and own.state is not None and own.code_version == lineage_version(ASSET)
    if not known or JUDGED.unpack(own.state)[:2] != (covered.start_ms, first):
        windows = [whole]
    else:
        changed = merged(
            _with_fills(database, series, one, fills) for one in _changed_windows(database, series, own, covered.end_ms)
        )
        windows = merged(clipped(one, whole) for one in changed)
    if not windows:
        return None
    return Reach(windows, first, covered, series_sources.read_sources(database, series), fills)


def _with_fills(database: Database, series: Series, window: Interval, fills: Sequence[Interval]) -> Interval:
    """`window` with the filled bars between it and the next one that a source has given: they carry a close in it."""
    following = [gap for gap in fills if gap.end_ms > window.end_ms]
    if not following:
        return window
    given = market_data.next_given(database, series, window.end_ms)
    carried = [gap.end_ms for gap in following if given is None or gap.start_ms < given]
    return Interval(window.start_ms, max([window.end_ms, *carried]))


def _changed_windows(database: Database, series: Series, own: state.SeriesState, until_ms: int) -> list[Interval]:
    """What changed, in whole slots of the grid, and what coverage has settled since."""
    timeframe = series.timeframe
    settled = Interval(JUDGED.unpack(own.state)[2], until_ms)
    changed = state.changes_since(database, RAW, series, own.input_revision)
    # A row off the grid lies in the slot that its open time falls into; its interval ends one length after it.
    slots = (Interval(timeframe.floor(one.start_ms), timeframe.floor(one.end_ms - 1) + timeframe.ms) for one in changed)
    return merged((settled, *slots))


def _part_ms(series: Series) -> int:
    return BARS_PER_COMMIT * series.timeframe.ms


def _parts(window: Interval, series: Series) -> Iterator[Interval]:
    length = _part_ms(series)
    for start in range(window.start_ms, window.end_ms, length):
        yield Interval(start, min(start + length, window.end_ms))


def _judged_parts(database: Database, series: Series, reach: Reach) -> Iterator[Judged]:
    for window in reach.windows:
        close = market_data.last_close_before(database, series, window.start_ms) if reach.fills else None
        for part in _parts(window, series):
            judged = _judge_part(database, series, reach, part, close)
            if len(judged.bars.opens):
                close = float(judged.bars.bars["close"][-1])
            yield judged


def _judge_part(database: Database, series: Series, reach: Reach, part: Interval, close: float | None) -> Judged:
    received = [(one, raw.read_current(database, one.source, series, *part)) for one in reach.sources]
    return judge_part(received, series, reach, part, close)


def _outcome(database: Database, lease: SeriesLease, written: Written) -> Outcome:
    series = lease.series
    expected, received = quality_log.count_bars(database, series)
    gaps, missing = quality_log.count_missing(database, series)
    own = state.read_state(database, ASSET, series)
    facts = {
        "rows_quarantined": written.quarantined,
        "gaps": gaps,
        "missing_bars": missing,
        "completeness": received / expected if expected else None,
        "changed_from_ms": written.change.first_ts,
    }
    return Outcome(ASSET, series, written.change.rows, received, own.revision if own else 0, facts)
