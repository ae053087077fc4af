"""`validated_bars`: raw bars judged before they are written. At every open time stands the good bar of the most believed
source, or a filled one, where that was decided. Bad ones go to `quarantine` with their reason, gaps and monthly completeness to
`data_quality`, in the same transaction. The rules live in `quality`."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, WIRE_DTYPES, Columns, index_ms, take_rows
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval, clipped, merged
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.prefetch import prefetched
from cryptai_pipelines.quality.composition import Composed, SourceBars, compose
from cryptai_pipelines.quality.filling import CARRIED, carry_forward, missing_within
from cryptai_pipelines.quality.gaps import Gap, completeness, update_gaps
from cryptai_pipelines.quality.row_rules import Verdict, good_bars, judge
from cryptai_pipelines.quality.schemas import check_raw, check_validated
from cryptai_pipelines.storage import coverage, gap_fills, market_data, quality_log, raw, series_sources, state, sync_log
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease
from cryptai_pipelines.storage.quality_log import Finding
from cryptai_pipelines.storage.series_sources import SeriesSource

ASSET = "validated_bars"
RAW = "raw_ohlcv"
BARS_PER_COMMIT = 100_000
# The next part is read and judged while the last one is written.
_PARTS_AHEAD = 1
# Where coverage began, where bars began, and where coverage ended when the series was last judged.
_STATE = struct.Struct("<qqq")


@dataclass(frozen=True)
class _Reach:
    """`windows`: what is to be looked at again, within `covered`, ascending and apart. `first_ms`: where the series' bars
    begin. `sources`: the most believed first. `fills`: gaps that are to be filled, ascending."""

    windows: Sequence[Interval]
    first_ms: int
    covered: Interval
    sources: Sequence[SeriesSource]
    fills: Sequence[Interval]

    @property
    def until_ms(self) -> int:
        """Where coverage ends."""
        return self.covered.end_ms


def bring_up_to_date(database: Database, lease: SeriesLease, *, on_progress: OnProgress = ignore_progress) -> Outcome:
    """Judge what changed in `raw_ohlcv` and what coverage has settled since, `BARS_PER_COMMIT` bar lengths a transaction.

    `BatchRejected` when a batch is broken as a whole; nothing of it is written, and the sync log says so.
    """
    try:
        written, quarantined = _bring_up_to_date(database, lease, on_progress)
    except CryptaiError as error:
        with database.transaction() as cursor:
            sync_log.note_validation(cursor, lease, error=str(error))
        raise
    return _outcome(database, lease, written, quarantined)


def _bring_up_to_date(database: Database, lease: SeriesLease, on_progress: OnProgress) -> tuple[Change, int]:
    series = lease.series
    received = state.read_state(database, RAW, series)
    reach = _reach(database, series, received)
    written, quarantined = Change(), 0
    if received is None or reach is None:
        return written, quarantined
    total, done = sum(end - start for start, end in reach.windows), 0
    on_progress(Progress(ASSET, series, 0, total, 0))
    judged = _judged_parts(database, series, reach)
    # A window after another one looks at the bars before it, which must have been written.
    ahead = len(reach.windows) == 1 and total > _part_ms(series)
    for one in prefetched(judged, _PARTS_AHEAD) if ahead else judged:
        change, refused = _write_part(database, lease, reach, one, received)
        written, quarantined = written + change, quarantined + refused
        done += one.part.end_ms - one.part.start_ms
        on_progress(Progress(ASSET, series, done, total, written.rows))
    return written, quarantined


def _reach(database: Database, series: Series, received: state.SeriesState | None) -> _Reach | None:
    """What must be judged: everything when the code or the start of coverage is another one than before, otherwise what raw
    bars changed and what coverage has settled since. Rows that lie outside coverage wait until it has reached them."""
    covered, first = coverage.read_hull(database, series), coverage.read_first_and_last(database, series)[0]
    if received is None or covered is None or first is None:
        return None
    first = max(series.timeframe.floor(first), covered.start_ms)
    whole = Interval(first, covered.end_ms)
    own = state.read_state(database, ASSET, series)
    fills = gap_fills.read_fills(database, series)
    known = own is not None and own.state is not None and own.code_version == lineage_version(ASSET)
    if not known or _STATE.unpack(own.state)[:2] != (covered.start_ms, first):
        windows = [whole]
    else:
        changed = merged(
            _with_fills(database, series, one, fills) for one in _changed_windows(database, series, own, covered.end_ms)
        )
        windows = merged(clipped(one, whole) for one in changed)
    if not windows:
        return None
    return _Reach(windows, first, covered, series_sources.read_sources(database, series), fills)


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
    settled = Interval(_STATE.unpack(own.state)[2], until_ms)
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


@dataclass(frozen=True)
class _Refused:
    """The bad rows of one source, and what is wrong with them."""

    source: str
    rows: Columns
    verdict: Verdict


@dataclass(frozen=True)
class _Judged:
    """A part of the window before it is written: the bars that stand, those that are filled, and what was refused."""

    part: Interval
    bars: Composed
    filled: Columns
    refused: Sequence[_Refused]

    @property
    def refused_opens(self) -> np.ndarray:
        """Open times of the refused rows of any source, ascending."""
        return np.unique(np.concatenate([np.empty(0, "int64"), *(one.rows["ts"] for one in self.refused)]))


def _judged_parts(database: Database, series: Series, reach: _Reach) -> Iterator[_Judged]:
    for window in reach.windows:
        close = market_data.last_close_before(database, series, window.start_ms) if reach.fills else None
        for part in _parts(window, series):
            judged = _judge_part(database, series, reach, part, close)
            if len(judged.bars.opens):
                close = float(judged.bars.bars["close"][-1])
            yield judged


def _judge_part(database: Database, series: Series, reach: _Reach, part: Interval, close: float | None) -> _Judged:
    """`close`: that of the last bar before `part`."""
    ranked, refused = [], []
    for source in reach.sources:
        bars, bad = judge_source(raw.read_current(database, source.source, series, *part), source, series, reach.until_ms)
        ranked.append(bars)
        if len(bad.verdict.bad):
            refused.append(bad)
    composed = compose(ranked)
    missing = missing_within(composed.opens, series.timeframe, reach.fills, part)
    return _Judged(part, composed, carry_forward(composed.bars, missing, close), refused)


def judge_source(rows: Columns, source: SeriesSource, series: Series, until_ms: int) -> tuple[SourceBars, _Refused]:
    """The good bars of one source's raw rows (`raw.read_current`), and the rest with what is wrong with it. `until_ms`: bars
    that close later are refused."""
    check_raw({name: rows[name] for name in WIRE_DTYPES})
    verdict = judge(rows, series.timeframe, until_ms)
    bars = good_bars(rows, verdict)
    check_validated(bars, series.timeframe)
    columns = {"ts": index_ms(bars.index), **{name: bars[name].to_numpy() for name in BAR_COLUMNS}}
    refused = _Refused(source.source, take_rows(rows, verdict.bad), verdict)
    return SourceBars(source.source, source.origin, columns), refused


def _write_part(
    database: Database, lease: SeriesLease, reach: _Reach, judged: _Judged, received: state.SeriesState
) -> tuple[Change, int]:
    series, opens = lease.series, judged.bars.opens
    months = _months(database, series, reach, judged.part, opens)
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        change = market_data.upsert(cursor, series, judged.bars.bars, judged.bars.source, judged.bars.origin)
        change += market_data.upsert(cursor, series, judged.filled, reach.sources[0].source, CARRIED, is_filled=True)
        change += _remove_gone(cursor, series, reach, judged)
        refused = sum(_quarantine(cursor, series, one) for one in judged.refused)
        _replace_gaps(cursor, series, judged.part, opens)
        quality_log.replace_findings(cursor, series, "completeness", months.asked, months.findings)
        sync_log.note_validation(cursor, lease, change.rows, refused)
        if judged.part.end_ms == reach.windows[-1].end_ms:
            _remember(cursor, series, reach, received)
    return change, refused


def _remove_gone(cursor: Cursor, series: Series, reach: _Reach, judged: _Judged) -> Change:
    """A bar that was good until its venue restated it leaves the validated bars, and so does a filled one of a gap that is not
    to be filled any more."""
    suspects = np.union1d(judged.refused_opens, market_data.read_filled_opens(cursor, series, judged.part))
    if not len(suspects):
        return Change()
    gone = np.setdiff1d(suspects, np.concatenate((judged.bars.opens, judged.filled["ts"])))
    removed = market_data.remove(cursor, series, gone)
    return Change(0, removed, int(gone[0]), int(gone[-1])) if removed else Change()


def _quarantine(cursor: Cursor, series: Series, refused: _Refused) -> int:
    verdict = refused.verdict
    told = {"rule": np.array(verdict.rules, dtype=object), "reason": np.array(verdict.reasons, dtype=object)}
    # A bar is put into quarantine by what was known of it; when somebody looked is of no interest.
    known_at = int(refused.rows["known_at"].max())
    return quality_log.quarantine_rows(cursor, refused.source, series, {**refused.rows, **told}, known_at)


def _replace_gaps(cursor: Cursor, series: Series, within: Interval, opens: np.ndarray) -> None:
    """Gaps that `within` touches are cut, joined or renewed; the others are not read. What was found out about a gap stays with
    it for as long as its bounds are the same."""
    found = quality_log.read_findings(cursor, series, "gap", touching=within)
    known = [Gap(finding.period.start_ms, finding.period.end_ms, finding.missing or 0) for finding in found]
    before = {finding.period: finding for finding in found}
    findings = [
        before.get(Interval(gap.start_ms, gap.end_ms))
        or Finding(Interval(gap.start_ms, gap.end_ms), "warning", gap.missing, 0, gap.missing)
        for gap in update_gaps(known, opens, series.timeframe, within)
    ]
    start = min([within.start_ms, *(gap.start_ms for gap in known)])
    quality_log.replace_findings(cursor, series, "gap", Interval(start, within.end_ms + 1), findings)


@dataclass(frozen=True)
class _Months:
    asked: Interval
    findings: list[Finding]


def _months(database: Database, series: Series, reach: _Reach, within: Interval, opens: np.ndarray) -> _Months:
    """Completeness of every month that `within` touches: its own `opens`, and what is stored of those months beside it."""
    start, end = _month_edges(within)
    asked = Interval(max(start, reach.first_ms), min(end, reach.until_ms))
    before = market_data.read_opens(database, series, asked.start_ms, within.start_ms, filled=False)
    after = market_data.read_opens(database, series, within.end_ms, asked.end_ms, filled=False)
    rows = completeness(np.concatenate((before, opens, after)), series.timeframe, asked)
    findings = [Finding(Interval(row.start_ms, row.end_ms), "info" if not row.missing else "warning", *row[2:]) for row in rows]
    return _Months(Interval(start, end), findings)


def _month_edges(within: Interval) -> tuple[int, int]:
    months = np.array([within.start_ms, max(within.start_ms, within.end_ms - 1)], "datetime64[ms]").astype("datetime64[M]")
    edges = np.array([months[0], months[1] + np.timedelta64(1, "M")]).astype("datetime64[ms]").astype("int64")
    return int(edges[0]), int(edges[1])


def _remember(cursor: Cursor, series: Series, reach: _Reach, received: state.SeriesState) -> None:
    """Call the series judged up to here. Whole windows count as changed, whatever of them an interrupted run had written
    before: what is made of them must look at all of it."""
    stored = market_data.span(cursor, series)
    for start, end in reach.windows:
        state.record_change(cursor, ASSET, series, Change(new=1, first_ts=start, last_ts=end - series.timeframe.ms))
    state.write_state(
        cursor,
        ASSET,
        series,
        input_revision=received.revision,
        code_version=lineage_version(ASSET),
        first_ts=None if stored is None else stored.start_ms,
        last_ts=None if stored is None else stored.end_ms,
        state=_STATE.pack(reach.covered.start_ms, reach.first_ms, reach.until_ms),
    )


def _outcome(database: Database, lease: SeriesLease, written: Change, quarantined: int) -> Outcome:
    series = lease.series
    expected, received = quality_log.count_bars(database, series)
    gaps, missing = quality_log.count_missing(database, series)
    own = state.read_state(database, ASSET, series)
    facts = {
        "rows_quarantined": quarantined,
        "gaps": gaps,
        "missing_bars": missing,
        "completeness": received / expected if expected else None,
        "changed_from_ms": written.first_ts,
    }
    return Outcome(ASSET, series, written.rows, received, own.revision if own else 0, facts)
