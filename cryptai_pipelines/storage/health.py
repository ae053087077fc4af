"""What is late, failing or not believed, by series and by file: read from the logs and the bars, judged elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptai_pipelines.market.series import Series, parse_series
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.times import to_ms

# An attempt that nobody has repeated for longer than this is history: a week's bar, and a day; sources that are only asked
# about gaps are asked again within a day for as long as there is one.
_REPEATED_WITHIN = "CASE WHEN s.rank > 0 THEN interval '1 day' ELSE interval '8 days' END"


class LastBar(NamedTuple):
    """The newest bar of a series that a source gave, as open time; up to where the source is settled; when that was found out
    by the database's clock. All epoch ms."""

    source: str
    series: Series
    last_ts: int
    covered_until: int
    settled_at: int


class FailedSync(NamedTuple):
    """A series whose latest finished sync from `source` did not complete. `since_ms`: start of the first of its syncs that
    failed since one completed."""

    source: str
    series: Series
    status: str
    error: str
    since_ms: int
    run_id: str | None


class DoubtedFile(NamedTuple):
    """A file of an archive that is in quarantine, or that was restated after it had been loaded."""

    source: str
    path: str
    series: Series
    status: str
    error: str | None
    since_ms: int


_ASKED = "asked (symbol, timeframe) AS (SELECT * FROM unnest(%(symbols)s::text[], %(timeframes)s::text[]))"


def lacking_series(db: Database, source: str, series: Sequence[Series]) -> list[Series]:
    """Those of `series` without coverage from `source`, or whose latest sync from it is not COMPLETED."""
    rows = db.rows(
        f"WITH {_ASKED} SELECT a.symbol, a.timeframe FROM asked AS a"
        " LEFT JOIN historical_data_range AS h ON h.source = %(source)s AND h.symbol = a.symbol AND h.timeframe = a.timeframe"
        " LEFT JOIN LATERAL (SELECT status FROM data_sync_log AS l WHERE l.source = %(source)s AND l.symbol = a.symbol"
        " AND l.timeframe = a.timeframe AND l.status <> 'PENDING' ORDER BY started_at DESC, id DESC LIMIT 1) AS latest ON true"
        " WHERE h.covered_until IS NULL OR latest.status <> 'COMPLETED'",
        {**_columns(series), "source": source},  # type: ignore[arg-type]
    )
    return [_series(symbol, timeframe) for symbol, timeframe in rows]


def last_bars(db: Database, source: str, series: Sequence[Series]) -> list[LastBar]:
    """The newest bar of each of `series` that has one and whose symbol is still listed. A filled bar is not a bar here: a dead
    venue would look alive by what was carried forward."""
    rows = db.rows(
        f"WITH {_ASKED} SELECT h.symbol, h.timeframe, newest.ts, h.covered_until, h.updated_at FROM asked AS a"
        " JOIN historical_data_range AS h ON h.source = %(source)s AND h.symbol = a.symbol AND h.timeframe = a.timeframe"
        " LEFT JOIN symbols AS s ON s.venue = %(source)s AND s.symbol = a.symbol"
        " CROSS JOIN LATERAL (SELECT ts FROM market_data AS m WHERE m.symbol = a.symbol AND m.timeframe = a.timeframe"
        " AND NOT m.is_filled ORDER BY ts DESC LIMIT 1) AS newest"
        " WHERE h.covered_until IS NOT NULL AND s.delisted_at IS NULL",
        {**_columns(series), "source": source},  # type: ignore[arg-type]
    )
    return [
        LastBar(source, _series(symbol, timeframe), to_ms(ts), to_ms(covered), to_ms(settled))  # type: ignore[arg-type]
        for symbol, timeframe, ts, covered, settled in rows
    ]


def failed_syncs(db: Database, series: Sequence[Series]) -> list[FailedSync]:
    """Every source of `series` whose latest finished sync FAILED or is PARTIAL, by source and series. Not imports of files: who
    imports one sees what becomes of it."""
    rows = db.rows(
        f"WITH {_ASKED}, fed AS ("
        " SELECT source, symbol, timeframe FROM historical_data_range JOIN asked USING (symbol, timeframe)"
        " UNION SELECT source, symbol, timeframe FROM series_sources JOIN asked USING (symbol, timeframe))"
        " SELECT f.source, f.symbol, f.timeframe, latest.status, coalesce(latest.error, ''), latest.run_id,"
        " coalesce((SELECT min(l.started_at) FROM data_sync_log AS l WHERE (l.source, l.symbol, l.timeframe)"
        "  = (f.source, f.symbol, f.timeframe) AND l.status IN ('FAILED', 'PARTIAL') AND l.started_at > coalesce("
        "   (SELECT max(started_at) FROM data_sync_log AS g WHERE (g.source, g.symbol, g.timeframe)"
        "    = (f.source, f.symbol, f.timeframe) AND g.status = 'COMPLETED'), '-infinity')), latest.started_at)"
        " FROM fed AS f CROSS JOIN LATERAL (SELECT status, error, run_id, started_at FROM data_sync_log AS l"
        "  WHERE (l.source, l.symbol, l.timeframe) = (f.source, f.symbol, f.timeframe)"
        "  AND l.status IN ('COMPLETED', 'FAILED', 'PARTIAL') ORDER BY started_at DESC, id DESC LIMIT 1) AS latest"
        " LEFT JOIN series_sources AS s USING (source, symbol, timeframe)"
        f" WHERE latest.status <> 'COMPLETED' AND latest.started_at > now() - {_REPEATED_WITHIN}"
        " AND f.source NOT LIKE 'file:%%'"
        " ORDER BY f.source, f.symbol, f.timeframe",
        _columns(series),  # type: ignore[arg-type]
    )
    return [
        FailedSync(source, _series(symbol, timeframe), status, error, to_ms(since), run_id)  # type: ignore[arg-type]
        for source, symbol, timeframe, status, error, run_id, since in rows
    ]


def failed_in_runs(db: Database, run_ids: Sequence[str]) -> list[tuple[str, Series]]:
    """The run and the series of each sync of these runs that FAILED or is PARTIAL, whatever became of the series since."""
    if not run_ids:
        return []
    rows = db.rows(
        "SELECT DISTINCT run_id, symbol, timeframe FROM data_sync_log WHERE run_id = ANY(%s)"
        " AND status IN ('FAILED', 'PARTIAL')",
        (list(run_ids),),
    )
    return [(run_id, _series(symbol, timeframe)) for run_id, symbol, timeframe in rows]


def doubted_files(db: Database) -> list[DoubtedFile]:
    """The files of archives that are quarantined or restated, by source and path."""
    rows = db.rows(
        "SELECT source, path, symbol, timeframe, status, error, last_tried_at FROM archive_files"
        " WHERE status IN ('quarantined', 'restated') ORDER BY source, path"
    )
    return [
        DoubtedFile(source, path, _series(symbol, timeframe), status, error, to_ms(since))  # type: ignore[arg-type]
        for source, path, symbol, timeframe, status, error, since in rows
    ]


def _columns(series: Sequence[Series]) -> dict[str, list[str]]:
    return {"symbols": [one.symbol for one in series], "timeframes": [one.timeframe.code for one in series]}


def _series(symbol: str, timeframe: str) -> Series:
    return parse_series(f"{symbol}|{timeframe}")
