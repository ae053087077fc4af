"""`data_quality` and `quarantine`: what is missing or wrong in a series, and the rows that were kept out, each with its reason.
The judgements are made in `quality`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from psycopg2.extras import Json

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.merge_rows import merge_staged, stage
from cryptai_pipelines.storage.tables import TABLES
from cryptai_pipelines.storage.times import iso, to_datetime, to_ms

_QUARANTINE = TABLES["quarantine"]


@dataclass(frozen=True)
class Finding:
    """One finding about the period `[period.start_ms, period.end_ms)` of a series; counts are of bars."""

    period: Interval
    severity: str
    expected: int | None = None
    received: int | None = None
    missing: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


_REPLACE = (
    "WITH given AS (SELECT * FROM jsonb_to_recordset(%(findings)s) AS f (period_start timestamptz, period_end timestamptz,"
    " expected bigint, received bigint, missing bigint, severity text, details jsonb)), gone AS ("
    " DELETE FROM data_quality AS q WHERE q.symbol = %(symbol)s AND q.timeframe = %(timeframe)s AND q.kind = %(kind)s"
    " AND q.period_start >= %(start)s AND q.period_start < %(end)s"
    " AND NOT EXISTS (SELECT FROM given WHERE given.period_start = q.period_start) RETURNING 1), merged AS ("
    " INSERT INTO data_quality AS q (symbol, timeframe, kind, period_start, period_end, expected, received, missing, severity,"
    " details) SELECT %(symbol)s, %(timeframe)s, %(kind)s, period_start, period_end, expected, received, missing, severity,"
    " details FROM given ORDER BY period_start ON CONFLICT (symbol, timeframe, kind, period_start) DO UPDATE SET"
    " period_end = excluded.period_end, expected = excluded.expected, received = excluded.received,"
    " missing = excluded.missing, severity = excluded.severity, details = {details}, detected_at = excluded.detected_at"
    " WHERE (q.period_end, q.expected, q.received, q.missing, q.severity, q.details) IS DISTINCT FROM (excluded.period_end,"
    " excluded.expected, excluded.received, excluded.missing, excluded.severity, {details}) RETURNING 1)"
    " SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM merged)"
).format(
    details="CASE WHEN excluded.details = '{}' AND q.missing IS NOT DISTINCT FROM excluded.missing THEN q.details"
    " ELSE excluded.details END"
)


def replace_findings(cursor: Cursor, series: Series, kind: str, within: Interval, findings: Sequence[Finding]) -> int:
    """Make `findings` all there is of `kind` (`gap`, `completeness`) about periods that start in `within`; how many rows were
    added, changed or removed.

    `BadInput` for a finding that starts outside `within` or for two that start at the same time.
    """
    starts = [finding.period.start_ms for finding in findings]
    if len(set(starts)) < len(starts) or any(not within.start_ms <= start < within.end_ms for start in starts):
        raise BadInput(f"findings of {kind} for {series} must start at different times within {within}")
    given = [
        {
            "period_start": iso(finding.period.start_ms),
            "period_end": iso(finding.period.end_ms),
            "expected": finding.expected,
            "received": finding.received,
            "missing": finding.missing,
            "severity": finding.severity,
            "details": dict(finding.details),
        }
        for finding in findings
    ]
    parameters = {**_keys(series), "kind": kind, "start": to_datetime(within.start_ms), "end": to_datetime(within.end_ms)}
    cursor.execute(_REPLACE, {**parameters, "findings": Json(given)})
    return cursor.fetchone()[0]  # type: ignore[index]


def read_findings(source: Cursor | Database, series: Series, kind: str, touching: Interval | None = None) -> list[Finding]:
    """The findings of `kind` about a series, by period; with `touching` only those that overlap it or end or begin where it
    does."""
    statement = (
        "SELECT period_start, period_end, severity, expected, received, missing, details FROM data_quality"
        " WHERE symbol = %s AND timeframe = %s AND kind = %s AND period_end >= %s AND period_start <= %s ORDER BY period_start"
    )
    bounds = ("-infinity", "infinity") if touching is None else tuple(to_datetime(ts) for ts in touching)
    parameters = (*_keys(series).values(), kind, *bounds)
    rows = rows_of(source, statement, parameters)
    return [Finding(Interval(to_ms(start), to_ms(end)), *rest) for start, end, *rest in rows]  # type: ignore[arg-type]


def describe_findings(cursor: Cursor, series: Series, kind: str, details: Mapping[Interval, Mapping[str, Any]]) -> int:
    """Set the details of findings of `kind` by their period; how many changed. A finding whose period is another one by now is
    left alone: what is told is not about it."""
    if not details:
        return 0
    given = [{"s": iso(period.start_ms), "e": iso(period.end_ms), "d": dict(told)} for period, told in details.items()]
    cursor.execute(
        "UPDATE data_quality AS q SET details = given.d FROM jsonb_to_recordset(%s) AS given (s timestamptz, e timestamptz,"
        " d jsonb) WHERE q.symbol = %s AND q.timeframe = %s AND q.kind = %s AND q.period_start = given.s"
        " AND q.period_end = given.e AND q.details <> given.d",
        (Json(given), *_keys(series).values(), kind),
    )
    return cursor.rowcount


def read_kinds(db: Database, series: Series, prefix: str) -> dict[str, list[Finding]]:
    """The findings whose kind begins with `prefix`, by kind without the prefix, each by period."""
    rows = db.rows(
        "SELECT kind, period_start, period_end, severity, expected, received, missing, details FROM data_quality"
        " WHERE symbol = %s AND timeframe = %s AND starts_with(kind, %s) ORDER BY kind, period_start",
        (*_keys(series).values(), prefix),
    )
    found: dict[str, list[Finding]] = {}
    for kind, start, end, *rest in rows:
        one = Finding(Interval(to_ms(start), to_ms(end)), *rest)  # type: ignore[arg-type]
        found.setdefault(kind.removeprefix(prefix), []).append(one)
    return found


def completeness_adjusted(db: Database, series: Series) -> tuple[int, int, int]:
    """How many bars a series should have, how many it has, and how many of those it lacks are excused by the details of its
    monthly completeness (`unlisted`, `in_outage`): complete is received / (expected - excused)."""
    rows = db.rows(
        "SELECT coalesce(sum(expected), 0)::bigint, coalesce(sum(received), 0)::bigint,"
        " coalesce(sum(coalesce((details ->> 'unlisted')::bigint, 0)"
        " + coalesce((details ->> 'in_outage')::bigint, 0)), 0)::bigint"
        " FROM data_quality WHERE symbol = %s AND timeframe = %s AND kind = 'completeness'",
        tuple(_keys(series).values()),
    )
    return rows[0]


def read_failed_spans(db: Database, venue: str) -> dict[Series, list[tuple[Interval, str]]]:
    """For every series the times that were asked of `venue` in vain: gaps it was asked for last with an error, and files of its
    archive that are quarantined; each with a line that says what happened."""
    rows = db.rows(
        "SELECT symbol, timeframe, gap_start, gap_end, source || ' failed: ' || error FROM gap_attempts"
        " WHERE source = %s AND error IS NOT NULL"
        " UNION ALL SELECT symbol, timeframe, period_start, period_end, path || ' is quarantined: '"
        " || coalesce(error, 'its checksum does not match') FROM archive_files"
        " WHERE source IN (%s, %s || '_archive') AND status = 'quarantined' ORDER BY 1, 2, 3, 4",
        (venue, venue, venue),
    )
    found: dict[Series, list[tuple[Interval, str]]] = {}
    for symbol, code, start, end, what in rows:
        span = Interval(to_ms(start), to_ms(end))  # type: ignore[arg-type]
        found.setdefault(Series(symbol, parse_timeframe(code)), []).append((span, what))
    return found


def read_venue_gaps(db: Database, venue: str) -> tuple[dict[Series, list[Interval]], dict[Series, Interval]]:
    """Of every series that has bars of `venue`: its gaps, and what is covered of it, from its first bar on."""
    members = (
        "WITH members AS (SELECT symbol, timeframe, max(covered_until) AS until, min(greatest(covered_from, first_ts)) AS since"
        " FROM historical_data_range WHERE source IN (%s, %s || '_archive') AND first_ts IS NOT NULL"
        " AND covered_until IS NOT NULL GROUP BY symbol, timeframe)"
    )
    covered = db.rows(f"{members} SELECT symbol, timeframe, since, until FROM members WHERE since < until", (venue, venue))
    gaps = db.rows(
        f"{members} SELECT q.symbol, q.timeframe, q.period_start, q.period_end FROM data_quality AS q"
        " JOIN members USING (symbol, timeframe) WHERE q.kind = 'gap' ORDER BY 1, 2, 3",
        (venue, venue),
    )
    spans: dict[Series, Interval] = {
        Series(symbol, parse_timeframe(code)): Interval(to_ms(since), to_ms(until))  # type: ignore[arg-type]
        for symbol, code, since, until in covered
    }
    found: dict[Series, list[Interval]] = {}
    for symbol, code, start, end in gaps:
        gap = Interval(to_ms(start), to_ms(end))  # type: ignore[arg-type]
        found.setdefault(Series(symbol, parse_timeframe(code)), []).append(gap)
    return found, spans


def read_refused_opens(db: Database, series: Series) -> np.ndarray:
    """Open times (int64 epoch ms, ascending) of the rows of a series that are in quarantine, whatever their source."""
    rows = db.rows(
        "SELECT DISTINCT ts FROM quarantine WHERE symbol = %s AND timeframe = %s AND isfinite(ts) ORDER BY ts",
        tuple(_keys(series).values()),
    )
    return np.array([to_ms(ts) for (ts,) in rows], dtype="int64")


def count_bars(db: Database, series: Series) -> tuple[int, int]:
    """How many bars a series should have and how many it has, from its monthly completeness: no count over the history."""
    rows = db.rows(
        "SELECT coalesce(sum(expected), 0)::bigint, coalesce(sum(received), 0)::bigint FROM data_quality"
        " WHERE symbol = %s AND timeframe = %s AND kind = 'completeness'",
        tuple(_keys(series).values()),
    )
    return rows[0]


def count_missing(db: Database, series: Series) -> tuple[int, int]:
    """How many gaps a series has, and how many bars they miss."""
    rows = db.rows(
        "SELECT count(*), coalesce(sum(missing), 0)::bigint FROM data_quality WHERE symbol = %s AND timeframe = %s"
        " AND kind = 'gap'",
        tuple(_keys(series).values()),
    )
    return rows[0]


def quarantine_rows(cursor: Cursor, source: str, series: Series, rows: Columns, quarantined_at_ms: int) -> int:
    """Keep bad rows with their reasons; how many were not there yet.

    `rows`: what `raw.read_current` gives (`bars.WIRE_DTYPES`, `revision`, `fetch_id`) and `rule`, `reason` (texts), one row
    per broken rule. A row that is there already, by source, series, ts, revision and rule, stays as it was first written.
    """
    count = len(rows["ts"])
    if count == 0:
        return 0
    values: dict[str, Value] = {name: rows[name] for name in _QUARANTINE.types if name in rows}
    values |= {"source": source, **_keys(series), "quarantined_at": quarantined_at_ms}
    stage(cursor, _QUARANTINE, values, count)
    change: Change = merge_staged(cursor, _QUARANTINE, tuple(values), update=False)
    return change.new


def count_quarantined(db: Database, series: Series) -> dict[str, int]:
    """How many bars of a series, of whatever source, are in quarantine by the rule they broke, the most frequent first; not
    those in whose place a good one stands by now."""
    rows = db.rows(
        "SELECT q.rule, count(DISTINCT q.ts) FROM quarantine AS q WHERE q.symbol = %s AND q.timeframe = %s"
        " AND NOT EXISTS (SELECT FROM market_data AS m WHERE m.symbol = q.symbol AND m.timeframe = q.timeframe AND m.ts = q.ts"
        " AND NOT m.is_filled) GROUP BY q.rule ORDER BY 2 DESC, 1",
        tuple(_keys(series).values()),
    )
    return dict(rows)


def read_quarantine(db: Database, source: str, series: Series) -> pd.DataFrame:
    """The quarantined rows of a series, by ts, revision and rule; `ts` and the other times are datetime columns in UTC."""
    table = db.read(
        "SELECT ts, revision, rule, reason, open, high, low, close, volume, close_ts, quote_volume, trades, taker_buy_base,"
        " taker_buy_quote, unused, fetch_id, quarantined_at FROM quarantine"
        " WHERE source = $1 AND symbol = $2 AND timeframe = $3 ORDER BY ts, revision, rule",
        (source, *_keys(series).values()),
    )
    return table.to_pandas()


def _keys(series: Series) -> dict[str, str]:
    return {"symbol": series.symbol, "timeframe": series.timeframe.code}
