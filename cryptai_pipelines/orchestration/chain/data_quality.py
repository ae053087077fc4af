"""`data_quality`: what is known of how good the bars of a venue are: outages, the class of every gap, what the series rules
find, and completeness with what nobody could have received taken out. No bar is changed here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import gap_reasons, series_findings
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, ignore_progress
from cryptai_pipelines.orchestration.chain.series_findings import ASSET, PREFIX
from cryptai_pipelines.quality.gap_classes import UNKNOWN
from cryptai_pipelines.quality.outages import Outage
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.storage import market_data, outages, quality_log, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.quality_log import Finding

__all__ = ["ASSET", "MonthQuality", "QualityAssessment", "SeriesQuality", "assess", "read_assessment"]


class MonthQuality(NamedTuple):
    """A calendar month (UTC) of one series: bars that should be there, those that are, and of the others how many could not be
    received because the symbol was not listed or the venue stood still."""

    start_ms: int
    expected: int
    received: int
    unlisted: int
    in_outage: int

    @property
    def completeness(self) -> float | None:
        """Received bars as a share of those that could be received; None when there were none."""
        possible = self.expected - self.unlisted - self.in_outage
        return self.received / possible if possible > 0 else None


@dataclass(frozen=True)
class SeriesQuality:
    """What is known of one series. `oldest_ms`: its first bar, None without bars. `gaps` and `missing`: number of gaps and of
    bars in them by class. `findings`: by rule, `quarantined`: bars by rule."""

    series: Series
    oldest_ms: int | None
    months: tuple[MonthQuality, ...]
    gaps: Mapping[str, int]
    missing: Mapping[str, int]
    findings: Mapping[str, Sequence[Finding]]
    quarantined: Mapping[str, int]

    @property
    def total(self) -> MonthQuality:
        """All months as one; it starts with the first."""
        sums = [sum(column) for column in zip(*(month[1:] for month in self.months), strict=True)] or [0, 0, 0, 0]
        return MonthQuality(self.months[0].start_ms if self.months else 0, *sums)


@dataclass(frozen=True)
class QualityAssessment:
    """What is known of the series of a venue. `changed`: how many rows of `data_quality` and `venue_outages` the assessment has
    added, changed or removed; 0 when nothing was new."""

    venue: str
    series: tuple[SeriesQuality, ...]
    outages: tuple[Outage, ...]
    changed: int = 0

    @property
    def oldest_ms(self) -> int | None:
        """The first bar of all series."""
        return min((one.oldest_ms for one in self.series if one.oldest_ms is not None), default=None)


def assess(
    database: Database,
    venue: str,
    series_list: Sequence[Series],
    now_ms: int,
    *,
    omits_empty: bool | None = None,
    on_progress: OnProgress = ignore_progress,
) -> QualityAssessment:
    """Bring what is known of `series_list` up to date and return it. Running it again changes nothing.

    `omits_empty`: does the venue leave out bars in which nothing was traded? None for what is known of the venue. Outages are
    found in all stored series of the venue, whatever is asked for. What was found out of a gap stays with it while its bounds
    do; a writer of the series may be at work at the same time.
    """
    if omits_empty is None:
        omits_empty = _omits_empty(venue)
    listings = {listing.symbol: listing for listing in symbols.read_symbols(database, venue)}
    failures = quality_log.read_failed_spans(database, venue)
    changed = gap_reasons.bring_outages_up_to_date(database, venue, failures, now_ms, omits_empty)
    spans = [Interval(one.start_ms, one.end_ms) for one in outages.read_outages(database, venue)]
    for series in series_list:
        listing = listings.get(series.symbol)
        tick = None if listing is None else listing.tick_size
        changed += series_findings.bring_up_to_date(database, venue, series, tick, on_progress=on_progress)
        changed += gap_reasons.explain(database, series, listing, failures, spans, omits_empty)
    found = read_assessment(database, venue, series_list)
    return QualityAssessment(found.venue, found.series, found.outages, changed)


def _omits_empty(venue: str) -> bool | None:
    """Whether the venue gives no row for a bar without trades; None for one that nothing is known of."""
    known = VENUES.get(venue)
    return None if known is None else known.empty_bars == "omitted"


def read_assessment(database: Database, venue: str, series_list: Sequence[Series]) -> QualityAssessment:
    """What is stored of the series' quality, without looking at any bar."""
    told = tuple(_read_series(database, venue, series) for series in series_list)
    return QualityAssessment(venue, told, tuple(outages.read_outages(database, venue)))


def _read_series(database: Database, venue: str, series: Series) -> SeriesQuality:
    gaps, missing = Counter[str](), Counter[str]()
    for gap in quality_log.read_findings(database, series, "gap"):
        gaps[gap.details.get("class", UNKNOWN)] += 1
        missing[gap.details.get("class", UNKNOWN)] += gap.missing or 0
    stored = market_data.span(database, series)
    return SeriesQuality(
        series,
        None if stored is None else stored.start_ms,
        tuple(_month(one) for one in quality_log.read_findings(database, series, "completeness")),
        dict(gaps),
        dict(missing),
        quality_log.read_kinds(database, series, PREFIX),
        quality_log.count_quarantined(database, series),
    )


def _month(found: Finding) -> MonthQuality:
    excused = (int(found.details.get(name, 0)) for name in ("unlisted", "in_outage"))
    return MonthQuality(found.period.start_ms, found.expected or 0, found.received or 0, *excused)
