"""`data_quality` and `quarantine`: what is missing or wrong in a series, and the rows that were kept out, each with its reason.
The judgements are made in `quality`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from psycopg2.extras import Json

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value
from cryptai_pipelines.storage.database import Cursor, Database
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
    " missing = excluded.missing, severity = excluded.severity, details = excluded.details, detected_at = excluded.detected_at"
    " WHERE (q.period_end, q.expected, q.received, q.missing, q.severity, q.details) IS DISTINCT FROM (excluded.period_end,"
    " excluded.expected, excluded.received, excluded.missing, excluded.severity, excluded.details) RETURNING 1)"
    " SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM merged)"
)


def replace_findings(cursor: Cursor, series: Series, kind: str, within: Interval, findings: Sequence[Finding]) -> int:
    """Make `findings` all there is of `kind` (`gap`, `completeness`) about periods that start in `within`; how many rows were
    added, changed or removed. A finding that stays keeps the time it was detected.

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
    if isinstance(source, Database):
        rows = source.rows(statement, parameters)
    else:
        source.execute(statement, parameters)
        rows = source.fetchall()
    return [Finding(Interval(to_ms(start), to_ms(end)), *rest) for start, end, *rest in rows]  # type: ignore[arg-type]


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


def count_quarantined(db: Database, source: str, series: Series) -> dict[str, int]:
    """How many bars of a series are in quarantine by the rule they broke, the most frequent first; not those that the venue has
    mended since."""
    rows = db.rows(
        "SELECT q.rule, count(DISTINCT q.ts) FROM quarantine AS q LEFT JOIN market_data AS m USING (symbol, timeframe, ts)"
        " WHERE q.source = %s AND q.symbol = %s AND q.timeframe = %s AND m.ts IS NULL GROUP BY q.rule ORDER BY 2 DESC, 1",
        (source, *_keys(series).values()),
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
