"""`reconciliations`: per series, pair of sources and month, how far they agree and which one is believed; and what of a series
each of its sources holds. The bars are compared in `quality.reconciliation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extras import Json

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import iso, to_ms


@dataclass(frozen=True)
class HeldSource:
    """A source of a series. `bars`: its first open time and, exclusive, the moment after its last one. `settled`: where it is
    known to hold all that the source has; None where nothing is."""

    source: str
    rank: int
    bars: Interval
    settled: Interval | None


@dataclass(frozen=True)
class ReconciledMonth:
    """How two sources of a series stood in one month (`month_ms`: its first moment, UTC). `believed`: the name of a source,
    `both`, `mixed` or `neither`. `raw_revision`: the revision of the series' raw bars that were compared."""

    series: Series
    source: str
    other: str
    month_ms: int
    compared: int
    agreeing: int
    only_source: int
    only_other: int
    disagreeing: int
    believed: str
    raw_revision: int
    details: Mapping[str, Any]


def held_sources(db: Database, series: Series) -> list[HeldSource]:
    """The sources of a series that have bars in the store, the most believed first."""
    rows = db.rows(
        "SELECT s.source, s.rank, first.ts, last.ts, h.covered_from, h.covered_until FROM series_sources AS s"
        " LEFT JOIN historical_data_range AS h USING (source, symbol, timeframe)"
        " CROSS JOIN LATERAL (SELECT min(ts) AS ts FROM raw_ohlcv AS r WHERE r.source = s.source AND r.symbol = s.symbol"
        " AND r.timeframe = s.timeframe) AS first CROSS JOIN LATERAL (SELECT max(ts) AS ts FROM raw_ohlcv AS r"
        " WHERE r.source = s.source AND r.symbol = s.symbol AND r.timeframe = s.timeframe) AS last"
        " WHERE s.symbol = %s AND s.timeframe = %s AND first.ts IS NOT NULL ORDER BY s.rank",
        _keys(series),
    )
    return [
        HeldSource(
            source,
            rank,
            Interval(to_ms(first), to_ms(last) + 1),  # type: ignore[arg-type,operator]
            None if covered_from is None else Interval(to_ms(covered_from), to_ms(covered_until)),  # type: ignore[arg-type]
        )
        for source, rank, first, last, covered_from, covered_until in rows
    ]


_MERGE = (
    "WITH merged AS (INSERT INTO reconciliations AS r (symbol, timeframe, source, other_source, month, compared, agreeing,"
    " only_source, only_other, disagreeing, believed, raw_revision, details, reconciled_at)"
    " SELECT symbol, timeframe, source, other_source, month, compared, agreeing, only_source, only_other, disagreeing,"
    " believed, raw_revision, details, now() FROM jsonb_populate_recordset(NULL::reconciliations, %s) ORDER BY month"
    " ON CONFLICT (symbol, timeframe, source, other_source, month) DO UPDATE SET compared = excluded.compared,"
    " agreeing = excluded.agreeing, only_source = excluded.only_source, only_other = excluded.only_other,"
    " disagreeing = excluded.disagreeing, believed = excluded.believed, raw_revision = excluded.raw_revision,"
    " details = excluded.details, reconciled_at = excluded.reconciled_at"
    " WHERE excluded.raw_revision >= r.raw_revision AND (r.compared, r.agreeing, r.only_source, r.only_other, r.disagreeing,"
    " r.believed, r.raw_revision, r.details) IS DISTINCT FROM (excluded.compared, excluded.agreeing, excluded.only_source,"
    " excluded.only_other, excluded.disagreeing, excluded.believed, excluded.raw_revision, excluded.details) RETURNING 1)"
    " SELECT count(*) FROM merged"
)


def upsert(cursor: Cursor, months: Sequence[ReconciledMonth]) -> int:
    """Store months, each once per pair of sources; how many were added or changed. One made of newer raw bars stays."""
    rows = [
        {
            "symbol": one.series.symbol,
            "timeframe": one.series.timeframe.code,
            "source": one.source,
            "other_source": one.other,
            "month": iso(one.month_ms),
            "compared": one.compared,
            "agreeing": one.agreeing,
            "only_source": one.only_source,
            "only_other": one.only_other,
            "disagreeing": one.disagreeing,
            "believed": one.believed,
            "raw_revision": one.raw_revision,
            "details": dict(one.details),
        }
        for one in months
    ]
    cursor.execute(_MERGE, (Json(rows),))
    return cursor.fetchone()[0]  # type: ignore[index]


def read(db: Database, series: Series, source: str | None = None, other: str | None = None) -> list[ReconciledMonth]:
    """The stored months of a series, of one pair of sources when both are named, by source, other and month."""
    rows = db.rows(
        "SELECT source, other_source, month, compared, agreeing, only_source, only_other, disagreeing, believed, raw_revision,"
        " details FROM reconciliations WHERE symbol = %s AND timeframe = %s AND source = coalesce(%s, source)"
        " AND other_source = coalesce(%s, other_source) ORDER BY source, other_source, month",
        (*_keys(series), source, other),
    )
    return [ReconciledMonth(series, mine, theirs, to_ms(month), *rest) for mine, theirs, month, *rest in rows]  # type: ignore[arg-type]


def _keys(series: Series) -> tuple[str, str]:
    return series.symbol, series.timeframe.code
