"""`data_sync_log`: one row per attempt to bring a series up to date. PENDING: a run is going to; RUNNING: under a lease that is
never older; then COMPLETED, PARTIAL (a part was received, or what was received is not usable) or FAILED. Abandoned rows are
closed in `leases`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg2 import sql

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.leases import SeriesLease

COUNTS = ("pages", "rows_fetched", "rows_new", "rows_restated", "rows_validated", "rows_quarantined")
FINAL_STATUSES = ("COMPLETED", "PARTIAL", "FAILED")
_EXPIRED = "abandoned: its lease ran out"


def plan_syncs(db: Database, source: str, series: Sequence[Series], run_id: str, lease_s: float) -> None:
    """A PENDING row for each of `series`, which the run is going to bring up to date one after another. `start_sync` takes it
    up by the run and the series; what is never begun is forgotten again, by `forget_planned` or when the run shows no life for
    `lease_s`."""
    if not series:
        return
    # What runs have left that were killed; without the daemon nobody else looks.
    close_expired(db)
    db.rows(
        "INSERT INTO data_sync_log (source, symbol, timeframe, status, started_at, lease_until, run_id)"
        " SELECT %s, symbol, timeframe, 'PENDING', clock_timestamp(), clock_timestamp() + %s * interval '1 second', %s"
        " FROM unnest(%s::text[], %s::text[]) AS planned (symbol, timeframe) RETURNING id",
        (source, lease_s, run_id, [one.symbol for one in series], [one.timeframe.code for one in series]),
    )


def forget_planned(db: Database, run_id: str) -> int:
    """Remove what a run has planned and not begun; how many rows. Nothing was tried, so there is nothing to tell."""
    return len(db.rows("DELETE FROM data_sync_log WHERE run_id = %s AND status = 'PENDING' RETURNING id", (run_id,)))


def start_sync(db: Database, lease: SeriesLease, run_id: str | None = None, source: str | None = None) -> int:
    """A RUNNING row under `lease`, committed at once so that it is seen while the work goes on; its id. It is the one that the
    run has planned, if there is one. `source`: which source is asked, if it is not the one that the lease is named after."""
    rows = db.rows(
        "WITH asked AS (SELECT %s AS source, %s AS symbol, %s AS timeframe, %s::text AS run_id, %s::bigint AS token,"
        " clock_timestamp() AS now, clock_timestamp() + %s * interval '1 second' AS until), begun AS ("
        " UPDATE data_sync_log AS l SET status = 'RUNNING', started_at = asked.now, lease_until = asked.until,"
        " token = asked.token FROM asked WHERE l.id = (SELECT min(p.id) FROM data_sync_log AS p, asked AS a"
        " WHERE p.status = 'PENDING' AND (p.source, p.symbol, p.timeframe, p.run_id)"
        " = (a.source, a.symbol, a.timeframe, a.run_id)) AND l.status = 'PENDING' RETURNING l.id), added AS ("
        " INSERT INTO data_sync_log (source, symbol, timeframe, status, started_at, lease_until, token, run_id)"
        " SELECT source, symbol, timeframe, 'RUNNING', now, until, token, run_id FROM asked"
        " WHERE NOT EXISTS (SELECT FROM begun) RETURNING id) SELECT id FROM begun UNION ALL SELECT id FROM added",
        (source or lease.source, lease.series.symbol, lease.series.timeframe.code, run_id, lease.token, lease.lease_s),
    )
    return rows[0][0]


def finish_sync(cursor: Cursor, sync_id: int, status: str, counts: Mapping[str, int], error: str | None = None) -> None:
    """Close a RUNNING row. `counts`: any of `COUNTS`. A row that was closed by a process that took the series over stays as it
    is; one that was closed because its writer had been silent for too long was not taken over, and is told the truth now."""
    if status not in FINAL_STATUSES:
        raise BadInput(f"sync status {status!r} is not final; accepted: {' '.join(FINAL_STATUSES)}")
    unknown = [name for name in counts if name not in COUNTS]
    if unknown:
        raise BadInput(f"sync count {unknown[0]!r} is not known; accepted: {' '.join(COUNTS)}")
    given = [sql.SQL(", {} = %s").format(sql.Identifier(name)) for name in counts]
    cursor.execute(
        sql.SQL(
            "UPDATE data_sync_log SET status = %s, finished_at = clock_timestamp(), error = %s{} WHERE id = %s"
            " AND (status = 'RUNNING' OR error = %s)"
        ).format(sql.SQL("").join(given)),
        (status, error, *(int(value) for value in counts.values()), sync_id, _EXPIRED),
    )


def close_expired(db: Database) -> int:
    """Close the RUNNING rows whose lease has run out, for whoever looks at the log before the series is next written; how many
    there were. A lease goes on with the commits, in `historical_data_range`. PENDING rows of a run that holds no series
    any more are removed."""
    rows = db.rows(
        "UPDATE data_sync_log AS l SET status = 'FAILED', finished_at = clock_timestamp(), error = %s"
        " WHERE status = 'RUNNING' AND lease_until < clock_timestamp() AND NOT EXISTS ("
        " SELECT FROM historical_data_range AS h WHERE h.symbol = l.symbol AND h.timeframe = l.timeframe"
        " AND h.lease_token = l.token AND h.lease_until > clock_timestamp()) RETURNING id",
        (_EXPIRED,),
    )
    db.rows(
        "DELETE FROM data_sync_log AS l WHERE status = 'PENDING' AND lease_until < clock_timestamp() AND NOT EXISTS ("
        " SELECT FROM historical_data_range AS h WHERE h.holder = l.run_id AND h.lease_until > clock_timestamp()) RETURNING id"
    )
    return len(rows)


def note_validation(
    cursor: Cursor, lease: SeriesLease, validated: int = 0, quarantined: int = 0, error: str | None = None
) -> None:
    """Add what validation did to the latest sync made under `lease`. With `error` a sync that had COMPLETED becomes PARTIAL:
    its bars were received and are not usable."""
    cursor.execute(
        "UPDATE data_sync_log SET rows_validated = coalesce(rows_validated, 0) + %s,"
        " rows_quarantined = coalesce(rows_quarantined, 0) + %s, error = coalesce(%s, error),"
        " status = CASE WHEN %s::text IS NOT NULL AND status = 'COMPLETED' THEN 'PARTIAL' ELSE status END"
        " WHERE id = (SELECT max(id) FROM data_sync_log WHERE symbol = %s AND timeframe = %s AND token = %s)",
        (validated, quarantined, error, error, lease.series.symbol, lease.series.timeframe.code, lease.token),
    )


_COLUMNS = (
    "id",
    "source",
    "status",
    "started_at",
    "finished_at",
    "lease_until",
    "token",
    *COUNTS,
    "run_id",
    "error",
    "duration_seconds",
)


def read_syncs(db: Database, series: Series, limit: int = 20) -> list[dict[str, Any]]:
    """The latest syncs of a series from any source, newest first, one mapping per row."""
    rows = db.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM data_sync_log WHERE symbol = %s AND timeframe = %s"
        " ORDER BY started_at DESC, id DESC LIMIT %s",
        (series.symbol, series.timeframe.code, limit),
    )
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
