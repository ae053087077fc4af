"""`fetch_log`: the proof of every page that was received: where it came from and the SHA-256 of its payload."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryptai_pipelines.market.bars import row_count
from cryptai_pipelines.market.intervals import Interval, merged
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms


def log_fetch(cursor: Cursor, sync_id: int | None, source: str, series: Series, page: Page) -> int:
    """Record one page; its id."""
    return int(log_fetches(cursor, sync_id, source, series, [page])[0])


def log_fetches(cursor: Cursor, sync_id: int | None, source: str, series: Series, pages: Sequence[Page]) -> np.ndarray:
    """Record many pages in one statement; their ids (int64), in the order of `pages`."""
    if not pages:
        return np.empty(0, dtype="int64")
    cursor.execute(
        "INSERT INTO fetch_log (sync_id, source, symbol, timeframe, url, sha256, row_count, asked_from, asked_until,"
        " fetched_at) SELECT %s, %s, %s, %s, page.url, page.sha256, page.row_count, page.asked_from, page.asked_until,"
        " page.fetched_at"
        " FROM unnest(%s::text[], %s::text[], %s::int[], %s::timestamptz[], %s::timestamptz[], %s::timestamptz[])"
        " WITH ORDINALITY AS page (url, sha256, row_count, asked_from, asked_until, fetched_at, position)"
        " ORDER BY page.position RETURNING id",
        (
            sync_id,
            source,
            series.symbol,
            series.timeframe.code,
            [page.url for page in pages],
            [page.sha256 for page in pages],
            [row_count(page.rows) for page in pages],
            [to_datetime(page.asked.start_ms) for page in pages],
            [to_datetime(page.asked.end_ms) for page in pages],
            [to_datetime(page.fetched_at_ms) for page in pages],
        ),
    )
    return np.array(sorted(identity for (identity,) in cursor.fetchall()), dtype="int64")


def asked_spans(db: Database, source: str, series: Series) -> list[Interval]:
    """The times that the pages of `source` were about, ascending and apart."""
    rows = db.rows(
        "SELECT DISTINCT asked_from, asked_until FROM fetch_log WHERE source = %s AND symbol = %s AND timeframe = %s",
        (source, series.symbol, series.timeframe.code),
    )
    return merged(Interval(to_ms(start), to_ms(end)) for start, end in rows)  # type: ignore[arg-type]


def stored_hashes(db: Database, source: str, series: Series) -> set[str]:
    """The SHA-256 of every payload of `source` whose bars were stored."""
    statement = "SELECT DISTINCT sha256 FROM fetch_log WHERE source = %s AND symbol = %s AND timeframe = %s"
    return {sha256 for (sha256,) in db.rows(statement, (source, series.symbol, series.timeframe.code))}


def first_fetched_at(db: Database, series: Series) -> int | None:
    """When the first page about a series was received, epoch ms; None when none ever was."""
    rows = db.rows(
        "SELECT min(fetched_at) FROM fetch_log WHERE symbol = %s AND timeframe = %s", (series.symbol, series.timeframe.code)
    )
    return to_ms(rows[0][0])
