"""`reconciliations` of a series: what its sources hold of the same months, held against each other. How bars are compared and
who is believed stand in `quality`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress, ignore_progress
from cryptai_pipelines.quality.beliefs import API, ARCHIVE, FILE, OTHER, SOURCE, VENUE, FoundBar, believed_side, found_bars
from cryptai_pipelines.quality.reconciliation import (
    CROSS_VENUE,
    DISAGREEING,
    KINDS,
    ONLY_OTHER,
    ONLY_SOURCE,
    SAME_VENUE,
    Comparison,
    Rule,
    agrees,
    compare,
    is_mislabelled,
    months,
    verdict,
)
from cryptai_pipelines.storage import fetch_log, raw, reconciliations, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.reconciliations import HeldSource, ReconciledMonth

ASSET = "reconciliations"
RAW = "raw_ohlcv"
VERSION = "2"
MOST_BARS = 500
"""So many bars of a month are kept with it; the counts are of all."""
_ARCHIVE = "_archive"
_WITHOUT_VENUE = ("file:", "udf:")


@dataclass(frozen=True)
class Pair:
    """Two sources of a series, the one of lower rank first unless a person named them otherwise; how they are compared, what
    each of them is (`beliefs.ROLES`), the span in which both have something, and the times in which each is known to hold all
    that it has."""

    source: HeldSource
    other: HeldSource
    rule: Rule
    roles: tuple[str, str]
    within: Interval
    settled: tuple[Sequence[Interval], Sequence[Interval]]


@dataclass(frozen=True)
class Reconciled:
    """`months`: all that is stored of the pairs asked for. `written`: how many of them were added or changed now."""

    months: tuple[ReconciledMonth, ...]
    written: int


def reconcile(
    database: Database,
    series: Series,
    source: str | None = None,
    other: str | None = None,
    rule: Rule | None = None,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Reconciled:
    """Compare what the store holds of two sources of a series, or of every pair of its sources when none is named, month by
    month in their common span, and store the result. A month of which nothing changed since it was compared is not read again.

    `rule`: None compares sources of one venue for equality and those of two venues within a band. `BadInput` when a source that
    is named has no bars of the series, or when only one is.
    """
    held = reconciliations.held_sources(database, series)
    settled = {one.source: _settled(database, series, one) for one in held}
    pairs = [
        Pair(*two, *_manner(two, held, rule), _span(two, series), (settled[two[0].source], settled[two[1].source]))
        for two in _chosen(series, held, source, other)
    ]
    total = sum(max(0, pair.within.end_ms - pair.within.start_ms) for pair in pairs)
    done = written = bars = 0
    for pair in pairs:
        on_progress(Progress(ASSET, series, done, total, bars))
        for part, month in _stale_months(database, series, pair, held):
            with database.transaction() as cursor:
                written += reconciliations.upsert(cursor, [month])
            bars += month.compared
            on_progress(Progress(ASSET, series, done + part.end_ms - pair.within.start_ms, total, bars))
        done += max(0, pair.within.end_ms - pair.within.start_ms)
    stored = [one for pair in pairs for one in reconciliations.read(database, series, pair.source.source, pair.other.source)]
    return Reconciled(tuple(stored), written)


def _chosen(
    series: Series, held: Sequence[HeldSource], source: str | None, other: str | None
) -> list[tuple[HeldSource, HeldSource]]:
    if source is None and other is None:
        return list(combinations(held, 2))
    if source is None or other is None or source == other:
        raise BadInput(f"to reconcile {series} takes two different sources; given: {source or 'none'} and {other or 'none'}")
    known = {one.source: one for one in held}
    for name in (source, other):
        if name not in known:
            raise BadInput(f"{series} has no bars of source {name!r}; in this store: {', '.join(known) or 'none'}")
    return [(known[source], known[other])]


def _manner(two: tuple[HeldSource, HeldSource], held: Sequence[HeldSource], rule: Rule | None) -> tuple[Rule, tuple[str, str]]:
    """How two sources are compared, and what each is. The series' own venue is that of its most believed source."""
    home = next((venue for venue in (_venue(one.source) for one in held) if venue), None)
    source, other = (_role(one.source, home) for one in two)
    return rule or (CROSS_VENUE if VENUE in (source, other) else SAME_VENUE), (source, other)


def _venue(source: str) -> str | None:
    return None if source.startswith(_WITHOUT_VENUE) else source.removesuffix(_ARCHIVE)


def _role(source: str, home: str | None) -> str:
    venue = _venue(source)
    if venue is None:
        return FILE
    if venue != home:
        return VENUE
    return ARCHIVE if source.endswith(_ARCHIVE) else API


def _span(two: tuple[HeldSource, HeldSource], series: Series) -> Interval:
    """Where both sources have bars or are settled, from the first bar that either has there."""
    reach = [Interval(*(one.bars if one.settled is None else _hull(one.bars, one.settled))) for one in two]
    start = max(min(one.bars.start_ms for one in two), *(one.start_ms for one in reach))
    return Interval(start, max(start, min(one.end_ms for one in reach)))


def _settled(database: Database, series: Series, one: HeldSource) -> Sequence[Interval]:
    """The times in which a source is known to hold all that it has. The coverage of files spans what lies between them, too."""
    if one.settled is None:
        return ()
    if not (one.source.startswith(_WITHOUT_VENUE) or one.source.endswith(_ARCHIVE)):
        return (one.settled,)
    return fetch_log.asked_spans(database, one.source, series)


def _hull(one: Interval, another: Interval) -> Interval:
    return Interval(min(one.start_ms, another.start_ms), max(one.end_ms, another.end_ms))


def _stale_months(
    database: Database, series: Series, pair: Pair, held: Sequence[HeldSource]
) -> Iterator[tuple[Interval, ReconciledMonth]]:
    """Every month of the pair that was not compared yet or changed since, compared."""
    names = (pair.source.source, pair.other.source)
    known = {one.month_ms: one for one in reconciliations.read(database, series, *names)}
    own = state.read_state(database, RAW, series)
    revision = own.revision if own else 0
    changed = cache(lambda since: state.changed_since(database, RAW, series, since))
    for month_ms, part in months(pair.within):
        made_of = _made_of(pair, part, held)
        before = known.get(month_ms)
        if before is not None and before.details.get("made_of") == made_of and not _touches(changed(before.raw_revision), part):
            continue
        read = cache(lambda source, part=part: raw.read_current(database, source, series, *part))
        yield part, _compared(series, pair, part, month_ms, held, read, revision, made_of)


def _touches(changed: Interval | None, part: Interval) -> bool:
    return changed is not None and changed.start_ms < part.end_ms and changed.end_ms >= part.start_ms


def _made_of(pair: Pair, part: Interval, held: Sequence[HeldSource]) -> dict[str, Any]:
    """All that the result of a month depends on beside the raw bars, as plain data."""
    spans = [[list(one) for one in _within(settled, part)] for settled in pair.settled]
    voters = [one.source for one in held]
    rule = {**asdict(pair.rule), "columns": list(pair.rule.columns)}
    return {
        "version": VERSION,
        "rule": rule,
        "span": list(part),
        "settled": spans,
        "sources": voters,
        "roles": list(pair.roles),
    }


def _within(spans: Sequence[Interval], part: Interval) -> list[Interval]:
    return [inside for inside in (clipped(one, part) for one in spans) if inside.start_ms < inside.end_ms]


def _compared(
    series: Series,
    pair: Pair,
    part: Interval,
    month_ms: int,
    held: Sequence[HeldSource],
    read: Callable[[str], Columns],
    revision: int,
    made_of: Mapping[str, Any],
) -> ReconciledMonth:
    names = (pair.source.source, pair.other.source)
    mine, theirs = read(names[0]), read(names[1])
    found = compare(mine, theirs, series.timeframe, pair.rule, part, *pair.settled)
    votes = _votes(series, pair, found, held, read)
    bars = found_bars(found, mine, theirs, pair.roles, votes)
    told = month_result(found, bars, pair.rule, names, MOST_BARS)
    told["details"]["made_of"] = made_of
    return ReconciledMonth(series, *names, month_ms, raw_revision=revision, **told)


def month_result(
    found: Comparison, bars: Sequence[FoundBar], rule: Rule, names: tuple[str, str], most_bars: int | None = None
) -> dict[str, Any]:
    """The counts of a month, the name of the side that is believed, and the `details`, as plain data for JSON. `names`: of both
    sides. `most_bars`: how many of the bars are told one by one; None for all."""
    named = {SOURCE: names[0], OTHER: names[1]}
    believed = believed_side(bars)
    return {
        "compared": found.compared,
        "agreeing": found.agreeing,
        "only_source": found.count(ONLY_SOURCE),
        "only_other": found.count(ONLY_OTHER),
        "disagreeing": found.disagreeing,
        "believed": named.get(believed, believed),
        "details": {
            "verdict": verdict(found, rule, *names),
            "suspicious": is_mislabelled(found, rule),
            "identical": found.identical,
            "repeated": [found.repeated_source, found.repeated_other],
            "kinds": {kind: found.count(kind) for kind in KINDS if found.count(kind)},
            "bars_found": len(bars),
            "bars": [_bar_details(bar, named) for bar in bars[:most_bars]],
        },
    }


def _votes(
    series: Series, pair: Pair, found: Comparison, held: Sequence[HeldSource], read: Callable[[str], Columns]
) -> tuple[np.ndarray, np.ndarray] | None:
    """For each finding, how many of the series' further sources agree with one side only."""
    third = [one for one in held if one not in (pair.source, pair.other)]
    at = np.isin(found.kind, DISAGREEING)
    if not third or not at.any():
        return None
    ts = found.ts[at]
    votes = np.zeros((2, len(found.ts)), dtype="int64")
    for voter in third:
        says = [
            agrees(read(voter.source), read(side.source), ts, series.timeframe, _manner((voter, side), held, None)[0])
            for side in (pair.source, pair.other)
        ]
        votes[0, at] += says[0] & ~says[1]
        votes[1, at] += says[1] & ~says[0]
    return votes[0], votes[1]


def _bar_details(bar: FoundBar, named: Mapping[str, str]) -> dict[str, Any]:
    """A finding as plain data for JSON, which has no NaN; `named`: the names of `source` and `other`."""
    return {
        "at": format_time(bar.ts_ms),
        "kind": bar.kind,
        "difference": {name: value if np.isfinite(value) else None for name, value in bar.difference.items()},
        "source": _finite(bar.source),
        "other": _finite(bar.other),
        "believed": named.get(bar.believed, bar.believed),
        "rule": bar.rule,
    }


def _finite(values: Mapping[str, float] | None) -> dict[str, float | None] | None:
    return None if values is None else {name: value if np.isfinite(value) else None for name, value in values.items()}
