"""A part of a series: its raw rows judged, and what came of them written in one transaction: bars, refused rows, gaps and
monthly completeness. Which parts are judged and where their rows come from is for the callers; the rules live in `quality`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, WIRE_DTYPES, Columns, index_ms, take_rows
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.quality.composition import Composed, SourceBars, compose
from cryptai_pipelines.quality.filling import CARRIED, carry_forward, missing_within
from cryptai_pipelines.quality.gaps import Gap, completeness, update_gaps
from cryptai_pipelines.quality.row_rules import Verdict, good_bars, judge
from cryptai_pipelines.quality.schemas import check_raw, check_validated
from cryptai_pipelines.storage import coverage, market_data, quality_log, state, sync_log
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease
from cryptai_pipelines.storage.quality_log import Finding
from cryptai_pipelines.storage.series_sources import SeriesSource

VALIDATED = "validated_bars"
# Where coverage began, where bars began, and where coverage ended when the series was last judged.
JUDGED = struct.Struct("<qqq")


@dataclass(frozen=True)
class Reach:
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


def bars_covered(database: Database, series: Series) -> tuple[Interval, int] | None:
    """What any source covers of a series, and where its bars begin in that (epoch ms); None before the first bar."""
    covered, first = coverage.read_hull(database, series), coverage.read_first_and_last(database, series)[0]
    if covered is None or first is None:
        return None
    return covered, max(series.timeframe.floor(first), covered.start_ms)


@dataclass(frozen=True)
class Written:
    """What writing judged parts changed, and how many rows were refused."""

    change: Change = Change()
    quarantined: int = 0

    def __add__(self, later: Written) -> Written:
        return Written(self.change + later.change, self.quarantined + later.quarantined)


NOTHING_WRITTEN = Written()


@dataclass(frozen=True)
class Refused:
    """The bad rows of one source, and what is wrong with them."""

    source: str
    rows: Columns
    verdict: Verdict


@dataclass(frozen=True)
class Judged:
    """A part of the window before it is written: the bars that stand, those that are filled, and what was refused."""

    part: Interval
    bars: Composed
    filled: Columns
    refused: Sequence[Refused]

    @property
    def refused_opens(self) -> np.ndarray:
        """Open times of the refused rows of any source, ascending."""
        return np.unique(np.concatenate([np.empty(0, "int64"), *(one.rows["ts"] for one in self.refused)]))


def judge_part(
    received: Sequence[tuple[SeriesSource, Columns]], series: Series, reach: Reach, part: Interval, close: float | None
) -> Judged:
    """`received`: what each source has in `part` (`raw.read_current`), the most believed first. `close`: that of the last bar
    before `part`."""
    ranked, refused = [], []
    for source, rows in received:
        bars, bad = judge_source(rows, source, series, reach.until_ms)
        ranked.append(bars)
        if len(bad.verdict.bad):
            refused.append(bad)
    composed = compose(ranked)
    missing = missing_within(composed.opens, series.timeframe, reach.fills, part)
    return Judged(part, composed, carry_forward(composed.bars, missing, close), refused)


def judge_source(rows: Columns, source: SeriesSource, series: Series, until_ms: int) -> tuple[SourceBars, Refused]:
    """The good bars of one source's raw rows (`raw.read_current`), and the rest with what is wrong with it. `until_ms`: bars
    that close later are refused."""
    check_raw({name: rows[name] for name in WIRE_DTYPES})
    verdict = judge(rows, series.timeframe, until_ms)
    bars = good_bars(rows, verdict)
    check_validated(bars, series.timeframe)
    columns = {"ts": index_ms(bars.index), **{name: bars[name].to_numpy() for name in BAR_COLUMNS}}
    refused = Refused(source.source, take_rows(rows, verdict.bad), verdict)
    return SourceBars(source.source, source.origin, columns), refused


def write_part(database: Database, lease: SeriesLease, reach: Reach, judged: Judged, revision: int) -> Written:
    """Write a judged part in one transaction. With the end of the last window of `reach` the series counts as judged up to
    `revision` of `raw_ohlcv`."""
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
            _remember(cursor, series, reach, revision)
    return Written(change, refused)


def _remove_gone(cursor: Cursor, series: Series, reach: Reach, judged: Judged) -> Change:
    """A bar that was good until its venue restated it leaves the validated bars, and so does a filled one of a gap that is not
    to be filled any more."""
    suspects = np.union1d(judged.refused_opens, market_data.read_filled_opens(cursor, series, judged.part))
    if not len(suspects):
        return Change()
    gone = np.setdiff1d(suspects, np.concatenate((judged.bars.opens, judged.filled["ts"])))
    removed = market_data.remove(cursor, series, gone)
    return Change(0, removed, int(gone[0]), int(gone[-1])) if removed else Change()


def _quarantine(cursor: Cursor, series: Series, refused: Refused) -> int:
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


def _months(database: Database, series: Series, reach: Reach, within: Interval, opens: np.ndarray) -> _Months:
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


def _remember(cursor: Cursor, series: Series, reach: Reach, revision: int) -> None:
    """Call the series judged up to here. Whole windows count as changed, whatever of them an interrupted run had written
    before: what is made of them must look at all of it."""
    stored = market_data.span(cursor, series)
    for start, end in reach.windows:
        state.record_change(cursor, VALIDATED, series, Change(new=1, first_ts=start, last_ts=end - series.timeframe.ms))
    state.write_state(
        cursor,
        VALIDATED,
        series,
        input_revision=revision,
        code_version=lineage_version(VALIDATED),
        first_ts=None if stored is None else stored.start_ms,
        last_ts=None if stored is None else stored.end_ms,
        state=JUDGED.pack(reach.covered.start_ms, reach.first_ms, reach.until_ms),
    )
