"""`archive_files`: what became of each file of an archive. Fetching and believing them is the business of `sources`."""

from __future__ import annotations

from cryptai_pipelines.market.archive_file import STATUSES, ArchiveFile
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms

_RECORD = (
    "INSERT INTO archive_files AS known (source, path, symbol, timeframe, period_start, period_end, status, expected_sha256,"
    " received_sha256, row_count, error, first_tried_at, last_tried_at)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source, path) DO UPDATE SET"
    " status = excluded.status, expected_sha256 = excluded.expected_sha256, received_sha256 = excluded.received_sha256,"
    " row_count = excluded.row_count, error = excluded.error, last_tried_at = excluded.last_tried_at,"
    " attempts = known.attempts + 1"
)


def record_file(cursor: Cursor, file: ArchiveFile) -> None:
    """Keep what became of a file. Of one that is known already the latest fate is kept, and one more attempt is counted."""
    cursor.execute(
        _RECORD,
        (
            file.source,
            file.path,
            file.series.symbol,
            file.series.timeframe.code,
            *map(to_datetime, file.period),
            file.status,
            file.expected_sha256,
            file.received_sha256,
            file.row_count,
            file.error,
            to_datetime(file.tried_at_ms),
            to_datetime(file.tried_at_ms),
        ),
    )


def read_files(db: Database, series: Series | None = None, status: str | None = None) -> list[ArchiveFile]:
    """The files of one series or of all, in one status or in any, by source, series and period. `BadArgument` for an unknown
    status."""
    if status is not None and status not in STATUSES:
        raise BadArgument(f"file status {status!r} is not known; accepted: {' '.join(STATUSES)}")
    symbol, timeframe = (None, None) if series is None else (series.symbol, series.timeframe.code)
    rows = db.rows(
        "SELECT source, path, symbol, timeframe, period_start, period_end, status, last_tried_at, expected_sha256,"
        " received_sha256, row_count, error, attempts, first_tried_at FROM archive_files"
        " WHERE symbol = coalesce(%s, symbol) AND timeframe = coalesce(%s, timeframe) AND status = coalesce(%s, status)"
        " ORDER BY source, symbol, timeframe, period_start, path",
        (symbol, timeframe, status),
    )
    return [
        ArchiveFile(
            source,
            path,
            Series(slug, Timeframe(code)),
            Interval(to_ms(start), to_ms(end)),  # type: ignore[arg-type]
            fate,
            to_ms(last),  # type: ignore[arg-type]
            *proof,
            attempts,
            to_ms(first),
        )
        for source, path, slug, code, start, end, fate, last, *proof, attempts, first in rows
    ]
