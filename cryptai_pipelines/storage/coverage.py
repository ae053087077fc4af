"""`historical_data_range`: from when to when a series of a source is settled. The lease in the same row is in `leases`."""

from __future__ import annotations

from dataclasses import dataclass

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms


@dataclass(frozen=True)
class Coverage:
    """`covered`: the interval in which every bar that the venue has was received. `first_ts` and `last_ts`: open times (epoch
    ms) of the first and the last bar received, both inclusive."""

    covered: Interval | None = None
    first_ts: int | None = None
    last_ts: int | None = None


def read_coverage(source: Cursor | Database, venue: str, series: Series) -> Coverage:
    """What is covered of `series` at `venue`, read in the transaction of a cursor or on its own; all None when nothing is."""
    statement = (
        "SELECT covered_from, covered_until, first_ts, last_ts FROM historical_data_range"
        " WHERE source = %s AND symbol = %s AND timeframe = %s"
    )
    keys = (venue, series.symbol, series.timeframe.code)
    if isinstance(source, Database):
        rows = source.rows(statement, keys)
    else:
        source.execute(statement, keys)
        rows = source.fetchall()
    covered_from, covered_until, first, last = rows[0] if rows else (None, None, None, None)
    covered = None if covered_from is None else Interval(to_ms(covered_from), to_ms(covered_until))  # type: ignore[arg-type]
    return Coverage(covered, to_ms(first), to_ms(last))


def read_hull(source: Cursor | Database, series: Series) -> Interval | None:
    """From the first open time that any source of the series covers to the last one (exclusive); None when none does."""
    statement = "SELECT min(covered_from), max(covered_until) FROM historical_data_range WHERE symbol = %s AND timeframe = %s"
    keys = (series.symbol, series.timeframe.code)
    if isinstance(source, Database):
        start, end = source.rows(statement, keys)[0]
    else:
        source.execute(statement, keys)
        start, end = source.fetchone()  # type: ignore[misc]
    return None if start is None else Interval(to_ms(start), to_ms(end))  # type: ignore[arg-type]


def covered_series(db: Database) -> list[Series]:
    """The series of which any source covers anything, by symbol and length of the timeframe."""
    rows = db.rows("SELECT DISTINCT symbol, timeframe FROM historical_data_range WHERE covered_until IS NOT NULL")
    return sorted((Series(symbol, parse_timeframe(code)) for symbol, code in rows), key=lambda one: (one[0], one[1].ms))


def read_first_and_last(db: Database, series: Series) -> tuple[int | None, int | None]:
    """The open times of the first and the last bar that any source has given, epoch ms."""
    rows = db.rows(
        "SELECT min(first_ts), max(last_ts) FROM historical_data_range WHERE symbol = %s AND timeframe = %s",
        (series.symbol, series.timeframe.code),
    )
    return to_ms(rows[0][0]), to_ms(rows[0][1])


def extend_coverage(
    cursor: Cursor, venue: str, series: Series, settled: Interval, first_ts: int | None = None, last_ts: int | None = None
) -> Coverage:
    """Add the interval `settled`, and the first and last bar received in it (None without bars); what is covered now.

    `ValueError` when `settled` does not touch what is covered: what lies between would be claimed and is not known.
    """
    keys = (venue, series.symbol, series.timeframe.code)
    cursor.execute(
        "INSERT INTO historical_data_range AS r (source, symbol, timeframe, covered_from, covered_until, first_ts, last_ts)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, symbol, timeframe) DO UPDATE SET"
        " covered_from = least(r.covered_from, excluded.covered_from),"
        " covered_until = greatest(r.covered_until, excluded.covered_until),"
        " first_ts = least(r.first_ts, excluded.first_ts), last_ts = greatest(r.last_ts, excluded.last_ts),"
        " updated_at = now() WHERE r.covered_from IS NULL"
        " OR (excluded.covered_from <= r.covered_until AND excluded.covered_until >= r.covered_from)",
        (*keys, *(to_datetime(ts) for ts in (*settled, first_ts, last_ts))),
    )
    now = read_coverage(cursor, venue, series)
    if cursor.rowcount and now.covered and (settled.start_ms < now.covered.start_ms or settled.end_ms > now.covered.end_ms):
        raise ValueError(f"{venue} {series}: {settled} does not touch what is covered, {now.covered}")
    return now
