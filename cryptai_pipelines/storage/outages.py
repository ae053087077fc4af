"""`venue_outages`: when a venue stood still, as found in what its symbols miss or as declared by a person. How outages are
found is in `quality.outages`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from psycopg2.extras import Json

from cryptai_pipelines.quality.outages import Outage
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import iso, to_datetime, to_ms

_REPLACE = (
    "WITH given AS (SELECT * FROM jsonb_to_recordset(%(outages)s) AS f (outage_start timestamptz, outage_end timestamptz,"
    " symbols integer, evidence jsonb)), gone AS (DELETE FROM venue_outages AS o WHERE o.venue = %(venue)s"
    " AND NOT o.evidence ? 'declared_by' AND NOT EXISTS (SELECT FROM given WHERE given.outage_start = o.outage_start)"
    # A hole that another source has closed since is no gap any more; the venue stood still all the same.
    " AND EXISTS (SELECT FROM raw_ohlcv AS r WHERE r.source = o.venue AND r.symbol IN (SELECT jsonb_array_elements_text("
    " o.evidence -> 'symbols')) AND r.timeframe IN (SELECT jsonb_array_elements_text(o.evidence -> 'timeframes'))"
    " AND r.ts >= o.outage_start AND r.ts < o.outage_end) RETURNING 1), merged AS ("
    " INSERT INTO venue_outages AS o (venue, outage_start, outage_end, symbols, evidence, detected_at)"
    " SELECT %(venue)s, outage_start, outage_end, symbols, evidence, %(now)s FROM given ORDER BY outage_start"
    " ON CONFLICT (venue, outage_start) DO UPDATE SET outage_end = excluded.outage_end, symbols = excluded.symbols,"
    " evidence = excluded.evidence, detected_at = excluded.detected_at WHERE NOT o.evidence ? 'declared_by'"
    " AND (o.outage_end, o.symbols, o.evidence) IS DISTINCT FROM (excluded.outage_end, excluded.symbols, excluded.evidence)"
    " RETURNING 1) SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM merged)"
)


def replace_outages(cursor: Cursor, venue: str, outages: Sequence[Outage], detected_at_ms: int) -> int:
    """Make `outages` what is found of `venue`; how many rows were added, changed or removed. A declared outage stays, and so
    does a found one that is not seen any more only because other sources have closed its holes."""
    given = [
        {
            "outage_start": iso(one.start_ms),
            "outage_end": iso(one.end_ms),
            "symbols": len(one.symbols),
            "evidence": {
                "symbols": list(one.symbols),
                "of_symbols": one.of_symbols,
                "timeframes": list(one.timeframes),
            },
        }
        for one in outages
    ]
    cursor.execute(_REPLACE, {"venue": venue, "outages": Json(given), "now": to_datetime(detected_at_ms)})
    return cursor.fetchone()[0]  # type: ignore[index]


def declare_outage(cursor: Cursor, venue: str, outage: Outage, declared_by: str, detected_at_ms: int) -> bool:
    """Keep an outage that is known from elsewhere, such as the venue's announcement; it is never withdrawn by what is found.
    False when one that began at the same moment is known, found or declared: that stays as it is."""
    evidence = {
        "symbols": list(outage.symbols),
        "of_symbols": outage.of_symbols,
        "timeframes": list(outage.timeframes),
        "declared_by": declared_by,
    }
    cursor.execute(
        "INSERT INTO venue_outages (venue, outage_start, outage_end, symbols, evidence, detected_at)"
        " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (venue, outage_start) DO NOTHING",
        (
            venue,
            to_datetime(outage.start_ms),
            to_datetime(outage.end_ms),
            max(1, outage.of_symbols),
            Json(evidence),
            to_datetime(detected_at_ms),
        ),
    )
    return cursor.rowcount == 1


def withdraw_outage(cursor: Cursor, venue: str, start_ms: int) -> int:
    """Forget the declared outage of `venue` that began then (epoch ms); how many there were, 0 or 1."""
    cursor.execute(
        "DELETE FROM venue_outages WHERE venue = %s AND outage_start = %s AND evidence ? 'declared_by'",
        (venue, to_datetime(start_ms)),
    )
    return cursor.rowcount


class KnownOutage(NamedTuple):
    """An outage, and where it is known from when a person has declared it; None when it was found."""

    outage: Outage
    declared_by: str | None


def read_known_outages(db: Database, venue: str) -> list[KnownOutage]:
    """The known outages of a venue, found and declared, ascending."""
    rows = db.rows(
        "SELECT outage_start, outage_end, evidence FROM venue_outages WHERE venue = %s ORDER BY outage_start", (venue,)
    )
    return [KnownOutage(_outage(start, end, evidence), evidence.get("declared_by")) for start, end, evidence in rows]


def read_outages(db: Database, venue: str) -> list[Outage]:
    """As `read_known_outages`, without where they are known from."""
    return [one.outage for one in read_known_outages(db, venue)]


def _outage(start: dt.datetime, end: dt.datetime, evidence: Mapping[str, Any]) -> Outage:
    return Outage(
        to_ms(start),  # type: ignore[arg-type]
        to_ms(end),  # type: ignore[arg-type]
        tuple(evidence.get("symbols", ())),
        evidence.get("of_symbols", 0),
        tuple(evidence.get("timeframes", ())),
    )
