"""`gap_attempts` and `gap_fills`: who was asked for the bars of a gap, and which gaps are to be filled. What is decided
is up to `orchestration.chain.holes`; what a filled bar looks like, in `quality.filling`."""

from __future__ import annotations

from typing import NamedTuple

from cryptai_pipelines.market.intervals import Interval, merged
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms


class Attempt(NamedTuple):
    """A source that was asked for the bars of a gap: how many it had, or why it gave none."""

    source: str
    gap: Interval
    asked_at_ms: int
    bars: int
    error: str | None = None


def record_attempt(cursor: Cursor, series: Series, attempt: Attempt) -> None:
    """Keep the latest attempt of each source at each gap."""
    cursor.execute(
        "INSERT INTO gap_attempts AS a (symbol, timeframe, source, gap_start, gap_end, asked_at, bars, error)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (symbol, timeframe, source, gap_start) DO UPDATE SET"
        " gap_end = excluded.gap_end, asked_at = excluded.asked_at, bars = excluded.bars, error = excluded.error",
        (
            *_keys(series),
            attempt.source,
            to_datetime(attempt.gap.start_ms),
            to_datetime(attempt.gap.end_ms),
            to_datetime(attempt.asked_at_ms),
            attempt.bars,
            attempt.error,
        ),
    )


def read_attempts(db: Database, series: Series) -> list[Attempt]:
    """The latest attempts at the gaps of a series, by gap and time."""
    rows = db.rows(
        "SELECT source, gap_start, gap_end, asked_at, bars, error FROM gap_attempts WHERE symbol = %s AND timeframe = %s"
        " ORDER BY gap_start, asked_at, source",
        _keys(series),
    )
    return [
        Attempt(source, Interval(to_ms(start), to_ms(end)), to_ms(asked), bars, error)  # type: ignore[arg-type]
        for source, start, end, asked, bars, error in rows
    ]


def decide_fill(cursor: Cursor, series: Series, gap: Interval, policy: str, decided_at_ms: int) -> bool:
    """Have the missing bars of `gap` filled by `policy` from now on; whether that is news. A decision stands: a bar that comes
    later takes the place of the filled one by itself. Of a gap that has grown, the decision before stays on record."""
    cursor.execute(
        "INSERT INTO gap_fills (symbol, timeframe, gap_start, gap_end, policy, decided_at)"
        " SELECT %(symbol)s, %(timeframe)s, %(start)s, %(end)s, %(policy)s, %(at)s WHERE NOT EXISTS (SELECT FROM gap_fills"
        " WHERE symbol = %(symbol)s AND timeframe = %(timeframe)s AND gap_start <= %(start)s AND gap_end >= %(end)s"
        " AND withdrawn_at IS NULL)",
        {
            "symbol": series.symbol,
            "timeframe": series.timeframe.code,
            "start": to_datetime(gap.start_ms),
            "end": to_datetime(gap.end_ms),
            "policy": policy,
            "at": to_datetime(decided_at_ms),
        },
    )
    return cursor.rowcount > 0


def withdraw_fills(cursor: Cursor, series: Series, withdrawn_at_ms: int) -> Interval | None:
    """End every decision to fill that stands; the open times between which they lay, None when there was none."""
    cursor.execute(
        "WITH gone AS (UPDATE gap_fills SET withdrawn_at = %s WHERE symbol = %s AND timeframe = %s AND withdrawn_at IS NULL"
        " RETURNING gap_start, gap_end) SELECT min(gap_start), max(gap_end) FROM gone",
        (to_datetime(withdrawn_at_ms), *_keys(series)),
    )
    start, end = cursor.fetchone()  # type: ignore[misc]
    return None if start is None else Interval(to_ms(start), to_ms(end))  # type: ignore[arg-type]


def read_fills(db: Database, series: Series, known_at_ms: int | None = None) -> list[Interval]:
    """The gaps of a series that are to be filled, ascending and apart; with `known_at_ms` those of which that stood then."""
    rows = db.rows(
        "SELECT gap_start, gap_end FROM gap_fills WHERE symbol = %s AND timeframe = %s"
        " AND CASE WHEN %s::timestamptz IS NULL THEN withdrawn_at IS NULL"
        " ELSE decided_at <= %s AND coalesce(withdrawn_at, 'infinity') > %s END",
        (*_keys(series), *[to_datetime(known_at_ms)] * 3),
    )
    return merged(Interval(to_ms(start), to_ms(end)) for start, end in rows)  # type: ignore[arg-type]


def _keys(series: Series) -> tuple[str, str]:
    return series.symbol, series.timeframe.code
