"""Closing the holes of a series: the primary source is asked again, then the archive, then other venues; what nobody has is
filled by the policy, flagged. Who has been asked, and what was decided, is on record. Where gaps are is found in
`validated_bars`; what a filled bar looks like is in `quality.filling`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from cryptai_pipelines.market.bars import row_count
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.receive import RAW, receive_pages
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.storage import gap_fills, market_data, quality_log, series_sources, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.gap_fills import Attempt
from cryptai_pipelines.storage.leases import SeriesLease, check_lease

logger = logging.getLogger(__name__)

ASSET = "data_quality"
CARRY_FORWARD, NO_FILL = "carry_forward", "none"
POLICIES = (CARRY_FORWARD, NO_FILL)
# A gap that a source could not close is asked of it again after this long: exchanges mend their history, but rarely.
_PATIENCE_MS = 6 * 24 * 3_600_000
# A venue that is down answers no other gap either, and each would wait for its own deadline.
_FAILURES_ENOUGH = 3
_NEVER_FILLED = ("before_listing", "after_delisting")


class _Unanswered(SourceError):
    """A door did not answer for all gaps."""


@dataclass(frozen=True)
class Door:
    """A source that may be asked for the bars of a gap. `bars(start_ms, end_ms)` gives pages; `origin` marks what comes."""

    source: str
    origin: str
    bars: Callable[[int, int], Iterator[Page]]


OpenDoors = Callable[[Series], Sequence[Door]]
"""The doors of a series in the order in which they are knocked at. Opening them calls nobody."""


@dataclass(frozen=True)
class Closed:
    """What became of the gaps of a series. `closed_by`: bars by the source that had them. `filled`: bars that were filled.
    `left`: bars that are still missing, filled ones included."""

    series: Series
    gaps: int
    closed_by: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    left: int = 0
    errors: tuple[str, ...] = ()


def close_holes(
    database: Database,
    lease: SeriesLease,
    doors: Sequence[Door],
    policy: str,
    now_ms: int,
    *,
    run_id: str,
    ask_again: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> Closed:
    """Ask `doors` in turn for what is missing of the leased series, then fill by `policy` what nobody has.

    A door that fails for one gap is told of in `errors` and asked for the next one; one that fails three times in a row is left
    alone until the next time. A gap that a door was asked for during the last six days is not asked of it again, unless
    `ask_again`. Everything is committed as it comes; a kill loses nothing.
    """
    series = lease.series
    begun, closed_by, errors = len(_gaps(database, series)), {}, []
    for door in doors:
        gaps = _to_ask(database, series, door.source, now_ms, ask_again)
        if not gaps:
            continue
        before = _missing(database, series)
        attempts = _ask(database, lease, _as_known(database, series, door), gaps, now_ms, run_id, on_progress)
        errors += [f"{door.source}: {one.error}" for one in attempts if one.error]
        if any(one.bars for one in attempts):
            validated_bars.bring_up_to_date(database, lease)
            # A source may have bars for a gap and close none of it, when all of them are refused.
            if closed := before - _missing(database, series):
                closed_by[door.source] = closed
    filled = _fill(database, lease, policy, now_ms)
    return Closed(series, begun, closed_by, filled, _missing(database, series), tuple(dict.fromkeys(errors)))


def _as_known(database: Database, series: Series, door: Door) -> Door:
    """`door` with the origin that its bars have in this store. A venue that is asked and does not feed the series is another
    venue, whatever the settings call it by now."""
    known = series_sources.read_sources(database, series)
    own = next((one for one in known if one.source == door.source), None)
    if own is not None:
        return replace(door, origin=own.origin)
    return door if not known or door.origin == "archive" else replace(door, origin="secondary")


def _gaps(database: Database, series: Series) -> list[quality_log.Finding]:
    return quality_log.read_findings(database, series, "gap")


def _missing(database: Database, series: Series) -> int:
    return quality_log.count_missing(database, series)[1]


def _to_ask(database: Database, series: Series, source: str, now_ms: int, ask_again: bool) -> list[Interval]:
    asked = {
        one.gap.start_ms: one.gap.end_ms
        for one in gap_fills.read_attempts(database, series)
        if one.source == source and one.error is None and one.asked_at_ms > now_ms - _PATIENCE_MS
    }
    gaps = [finding.period for finding in _gaps(database, series)]
    return [gap for gap in gaps if ask_again or asked.get(gap.start_ms, 0) < gap.end_ms]


def _ask(
    database: Database,
    lease: SeriesLease,
    door: Door,
    gaps: Sequence[Interval],
    now_ms: int,
    run_id: str,
    on_progress: OnProgress,
) -> list[Attempt]:
    attempts: list[Attempt] = []

    def pages() -> Iterator[Page]:
        for number, gap in enumerate(gaps):
            if len(attempts) >= _FAILURES_ENOUGH and all(one.error for one in attempts[-_FAILURES_ENOUGH:]):
                break
            bars, error = 0, None
            on_progress(Progress(ASSET, lease.series, number, len(gaps), bars))
            try:
                for page in door.bars(*gap):
                    bars += row_count(page.rows)
                    yield page
            except (SourceError, CryptaiError) as failure:
                error = str(failure)
            attempts.append(Attempt(door.source, gap, now_ms, bars, error))
        if failed := [one for one in attempts if one.error]:
            raise _Unanswered(f"{len(failed)} of {len(gaps)} gaps were not answered, the first: {failed[0].error}")

    try:
        receive_pages(database, lease, door.source, door.origin, pages(), run_id=run_id, in_pieces=True)
    except _Unanswered as error:
        # The sync log says so by now; the attempts say it of each gap.
        logger.warning("%s: %s", lease.series, error)
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        for one in attempts:
            gap_fills.record_attempt(cursor, lease.series, one)
    return attempts


def _fill(database: Database, lease: SeriesLease, policy: str, now_ms: int) -> int:
    """Decide what is filled and have it done; the number of filled bars now stored."""
    series = lease.series
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        if policy == NO_FILL:
            changed = gap_fills.withdraw_fills(cursor, series, now_ms)
        else:
            changed = None
            for gap in _fillable(database, series):
                if gap_fills.decide_fill(cursor, series, gap, policy, now_ms):
                    changed = Interval(min(gap.start_ms, changed.start_ms if changed else gap.start_ms), gap.end_ms)
        if changed is not None:
            last = changed.end_ms - series.timeframe.ms
            state.record_change(cursor, RAW, series, Change(0, 1, changed.start_ms, last))
    if changed is not None:
        validated_bars.bring_up_to_date(database, lease)
    return market_data.count_filled(database, series)


def _fillable(database: Database, series: Series) -> list[Interval]:
    """Gaps with a bar on either side, ascending: what lies before the first or after the last bar is not carried into."""
    stored = market_data.span(database, series)
    if stored is None:
        return []
    return [
        finding.period
        for finding in _gaps(database, series)
        if stored.start_ms < finding.period.start_ms
        and finding.period.end_ms <= stored.end_ms
        and finding.details.get("class") not in _NEVER_FILLED
    ]


def as_outcome(database: Database, closed: Closed) -> Outcome:
    """What a person is told of the holes of one series."""
    own = state.read_state(database, validated_bars.ASSET, closed.series)
    facts = {
        "gaps": closed.gaps,
        "closed_by": ", ".join(f"{count} by {source}" for source, count in closed.closed_by.items()) or "none",
        "filled_bars": closed.filled,
        "missing_bars": closed.left,
        "errors": "; ".join(closed.errors[:5]) or None,
    }
    return Outcome(ASSET, closed.series, sum(closed.closed_by.values()), closed.left, own.revision if own else 0, facts)
