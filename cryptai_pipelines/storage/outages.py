"""`venue_outages`: when a venue stood still, as found in what its symbols miss or as declared by a person. How outages are
found is in `quality.outages`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from psycopg2.extras import Json

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.quality.outages import Looked, Outage
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import iso, to_datetime, to_ms

# Good bars that the venue itself (`%(venue)s`) or its archive has given, each by its last revision: one that was restated into
# a bad one is lacking again.
_DELIVERED = (
    "FROM raw_ohlcv AS r WHERE r.source IN (%(venue)s, %(venue)s || '_archive') AND r.symbol = {span}.symbol"
    " AND r.timeframe = {span}.timeframe AND r.ts >= {span}.span_start AND r.ts < {span}.span_end"
    " AND NOT EXISTS (SELECT FROM raw_ohlcv AS l WHERE l.source = r.source AND l.symbol = r.symbol"
    " AND l.timeframe = r.timeframe AND l.ts = r.ts AND l.revision > r.revision)"
    " AND NOT EXISTS (SELECT FROM quarantine AS q WHERE q.source = r.source AND q.symbol = r.symbol"
    " AND q.timeframe = r.timeframe AND q.ts = r.ts AND q.revision = r.revision)"
)
# What an outage that was found says of each of its series.
_SPANS_OF_FOUND = (
    "SELECT symbol, timeframe, o.outage_start AS span_start, o.outage_end AS span_end FROM venue_outages AS o,"
    " jsonb_array_elements_text(o.evidence -> 'symbols') AS symbol,"
    " jsonb_array_elements_text(o.evidence -> 'timeframes') AS timeframe"
    " WHERE o.venue = %(venue)s AND NOT o.evidence ? 'declared_by'"
)
# Where another source had bars for a gap. An attempt is overwritten when what is left of the gap is asked for again; the pages
# of a secondary source stay on record, and it is asked for nothing but gaps.
_SPANS_CLOSED = (
    "SELECT symbol, timeframe, gap_start AS span_start, gap_end AS span_end FROM gap_attempts JOIN members"
    " USING (symbol, timeframe) WHERE bars > 0 AND source NOT IN (%(venue)s, %(venue)s || '_archive')"
    " UNION SELECT symbol, timeframe, asked_from, asked_until FROM series_sources JOIN members USING (symbol, timeframe)"
    " JOIN fetch_log USING (source, symbol, timeframe) WHERE origin = 'secondary' AND row_count > 0"
    " AND source NOT IN (%(venue)s, %(venue)s || '_archive')"
)
_LOOKED = (
    "WITH members AS (SELECT DISTINCT symbol, timeframe FROM historical_data_range"
    " WHERE source IN (%(venue)s, %(venue)s || '_archive') AND covered_until IS NOT NULL),"
    f" spans AS ({_SPANS_OF_FOUND} UNION {_SPANS_CLOSED}) SELECT symbol, timeframe, span_start, span_end,"
    f" ARRAY(SELECT r.ts {_DELIVERED.format(span='spans')}) FROM spans ORDER BY 1, 2, 3, 4"
)
_REPLACE = (
    "WITH given AS (SELECT * FROM jsonb_to_recordset(%(outages)s) AS f (outage_start timestamptz, outage_end timestamptz,"
    f" symbols integer, evidence jsonb)), spans AS ({_SPANS_OF_FOUND}), gone AS (DELETE FROM venue_outages AS o"
    " WHERE o.venue = %(venue)s AND NOT o.evidence ? 'declared_by'"
    " AND NOT EXISTS (SELECT FROM given WHERE given.outage_start = o.outage_start)"
    # What is not seen any more may be hidden by a failure of ours; the venue stood still all the same until it delivers.
    " AND (EXISTS (SELECT FROM given WHERE given.outage_start < o.outage_end AND given.outage_end > o.outage_start)"
    # A scalar subquery, because EXISTS would be planned as a join that reads the series from its first bar on.
    " OR EXISTS (SELECT FROM spans WHERE spans.span_start = o.outage_start"
    f" AND (SELECT true {_DELIVERED.format(span='spans')} LIMIT 1))) RETURNING 1), merged AS ("
    " INSERT INTO venue_outages AS o (venue, outage_start, outage_end, symbols, evidence, detected_at)"
    " SELECT %(venue)s, outage_start, outage_end, symbols, evidence, %(now)s FROM given ORDER BY outage_start"
    " ON CONFLICT (venue, outage_start) DO UPDATE SET outage_end = excluded.outage_end, symbols = excluded.symbols,"
    " evidence = excluded.evidence, detected_at = excluded.detected_at WHERE NOT o.evidence ? 'declared_by'"
    " AND (o.outage_end, o.symbols, o.evidence) IS DISTINCT FROM (excluded.outage_end, excluded.symbols, excluded.evidence)"
    " RETURNING 1) SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM merged)"
)


def read_looked(db: Database, venue: str) -> dict[Series, list[Looked]]:
    """Where other sources may have closed holes of `venue`, by series: the gaps that another source had bars for, and the
    outages that were found before; with the good bars that the venue itself or its archive has there by now.

    One query; of `raw_ohlcv` only those spans are read.
    """
    looked: dict[Series, list[Looked]] = {}
    for symbol, code, start, end, delivered in db.rows(_LOOKED, {"venue": venue}):
        span = Interval(to_ms(start), to_ms(end))  # type: ignore[arg-type]
        opens = np.array([to_ms(ts) for ts in delivered], dtype="int64")
        looked.setdefault(Series(symbol, parse_timeframe(code)), []).append(Looked(span, opens))
    return looked


def replace_outages(cursor: Cursor, venue: str, outages: Sequence[Outage], detected_at_ms: int) -> int:
    """Make `outages` what is found of `venue`; how many rows were added, changed or removed. A declared outage stays, and so
    does a found one that is not seen any more although the venue has given no good bar in it since."""
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
