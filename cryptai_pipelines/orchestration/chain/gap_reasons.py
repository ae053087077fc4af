"""Why bars of a venue's series are absent: its outages are found and kept, each gap of `data_quality` is given its class and
the evidence, each month what of it is excused. The reasoning lives in `quality.outages` and `quality.gap_classes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.quality.completeness import excused_by_month
from cryptai_pipelines.quality.gap_classes import (
    NEIGHBOURS,
    ClassedGap,
    FailedSpan,
    Known,
    classify,
    neighbourhood,
    unlisted_spans,
)
from cryptai_pipelines.quality.gaps import Gap
from cryptai_pipelines.quality.outages import find_outages, lacked_by_venue
from cryptai_pipelines.storage import market_data, outages, quality_log
from cryptai_pipelines.storage.database import Cursor, Database, run_transaction

BARS_PER_BLOCK = 100_000
Failures = Mapping[Series, Sequence[tuple[Interval, str]]]
# Where quiet bars are left out, two quiet markets often miss the same bar; most of the venue must miss it.
_MANY_SYMBOLS, _MOST_SYMBOLS = 3, 0.9


def bring_outages_up_to_date(database: Database, venue: str, failures: Failures, now_ms: int, omits_empty: bool | None) -> int:
    """Find the outages of `venue` in what it lacks of all its series, whoever closed a hole of them; how many rows changed."""
    gaps, covered = quality_log.read_venue_gaps(database, venue)
    lacked = lacked_by_venue(gaps, covered, outages.read_looked(database, venue))
    unexplained = {
        series: [span for span in spans if not any(_overlap(span, failed) for failed, _ in failures.get(series, ()))]
        for series, spans in lacked.items()
    }
    strict = {"least_symbols": _MANY_SYMBOLS, "least_share": _MOST_SYMBOLS} if omits_empty else {}
    found = find_outages(unexplained, covered, **strict)  # type: ignore[arg-type]
    return run_transaction(database, lambda cursor: outages.replace_outages(cursor, venue, found, now_ms))


def explain(
    database: Database,
    series: Series,
    listing: Listing | None,
    failures: Failures,
    known_outages: Sequence[Interval],
    omits_empty: bool | None,
) -> int:
    """Class the gaps of a series and note what of each month is excused; how many findings changed."""
    found = quality_log.read_findings(database, series, "gap")
    months = [one.period for one in quality_log.read_findings(database, series, "completeness")]
    gaps = [Gap(one.period.start_ms, one.period.end_ms, one.missing or 0) for one in found]
    known = _known(database, series, listing, failures, known_outages, omits_empty)
    details = {one.period: dict(one.details) for one in found}
    for classed in _classed(database, series, gaps, known):
        period = Interval(classed.gap.start_ms, classed.gap.end_ms)
        details[period] |= {"class": classed.gap_class, "evidence": classed.evidence}
    excused = _excused(series, gaps, months, known)

    def write(cursor: Cursor) -> int:
        changed = quality_log.describe_findings(cursor, series, "gap", details)
        return changed + quality_log.describe_findings(cursor, series, "completeness", excused)

    return run_transaction(database, write)


def _known(
    database: Database,
    series: Series,
    listing: Listing | None,
    failures: Failures,
    known_outages: Sequence[Interval],
    omits_empty: bool | None,
) -> Known:
    timeframe = series.timeframe
    refused = quality_log.read_refused_opens(database, series)
    return Known(
        listed_at_ms=None if listing is None else listing.listed_at_ms,
        delisted_at_ms=None if listing is None else listing.delisted_at_ms,
        failed=[FailedSpan(*span, what) for span, what in failures.get(series, ())],
        outages=known_outages,
        refused_ms=refused - (refused - timeframe.anchor_ms) % timeframe.ms,
        omits_empty=omits_empty,
    )


def _classed(database: Database, series: Series, gaps: Sequence[Gap], known: Known) -> Iterator[ClassedGap]:
    if known.omits_empty is False:
        yield from (classify(gap, series.timeframe, known) for gap in gaps)
        return
    for group in _grouped(gaps, BARS_PER_BLOCK * series.timeframe.ms):
        reach = NEIGHBOURS * series.timeframe.ms
        near = Interval(group[0].start_ms - reach, group[-1].end_ms + reach)
        bars = market_data.read(database, series, *near, columns=("trades", "is_filled"))
        bars = bars[~bars["is_filled"].to_numpy()]
        opens, trades = index_ms(bars.index), bars["trades"].to_numpy()
        for gap in group:
            yield classify(gap, series.timeframe, known, neighbourhood(gap, opens, series.timeframe, trades))


def _grouped(gaps: Sequence[Gap], length_ms: int) -> Iterator[list[Gap]]:
    """Neighbouring gaps that start within `length_ms` of the first of them."""
    group: list[Gap] = []
    for gap in gaps:
        if group and gap.start_ms - group[0].start_ms > length_ms:
            yield group
            group = []
        group.append(gap)
    if group:
        yield group


def _excused(series: Series, gaps: Sequence[Gap], months: Sequence[Interval], known: Known) -> dict[Interval, dict[str, int]]:
    if not months:
        return {}
    whole = Interval(months[0].start_ms, months[-1].end_ms)
    unlisted = unlisted_spans(known.listed_at_ms, known.delisted_at_ms, whole)
    counts = excused_by_month(gaps, series.timeframe, months, unlisted, known.outages)
    return {month: {"unlisted": before, "in_outage": during} for month, (before, during) in zip(months, counts, strict=True)}


def _overlap(one: Interval, other: Interval) -> bool:
    return one.start_ms < other.end_ms and one.end_ms > other.start_ms
