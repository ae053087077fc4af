"""`series_sources`: where a series may take its bars from, in the order in which they are believed. What becomes of bars that
several sources have is decided in `quality.composition`."""

from __future__ import annotations

from typing import NamedTuple

from psycopg2 import sql

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.merge_rows import lock_key

PRIMARY_RANK = 0


class SeriesSource(NamedTuple):
    """One source of a series. The lowest `rank` is believed first; rank 0 is the primary. `origin`: what its bars are marked
    with in `market_data`."""

    source: str
    rank: int
    origin: str


def read_sources(source: Cursor | Database, series: Series) -> list[SeriesSource]:
    """The sources of a series, the most believed first; empty before anything was received."""
    statement = "SELECT source, rank, origin FROM series_sources WHERE symbol = %s AND timeframe = %s ORDER BY rank"
    return [SeriesSource(*row) for row in rows_of(source, statement, _keys(series))]


def primary_source(database: Database, series: Series, otherwise: str) -> str:
    """The source of rank 0; `otherwise` while the series has none."""
    known = read_sources(database, series)
    return known[0].source if known and known[0].rank == PRIMARY_RANK else otherwise


def lease_name(source: Cursor | Database, series: Series, otherwise: str) -> str:
    """The name under which every writer leases a series, whatever source it brings bars from: that of the source which the
    series had first, so that it stays the same when another one becomes the primary. `otherwise` while it has none."""
    statement = "SELECT source FROM series_sources WHERE symbol = %s AND timeframe = %s ORDER BY added_at, source LIMIT 1"
    rows = rows_of(source, statement, _keys(series))
    return rows[0][0] if rows else otherwise


def register_source(cursor: Cursor, series: Series, source: str, origin: str, *, as_primary: bool = False) -> SeriesSource:
    """Make sure that `source` is one of the series' sources and return it as it stands.

    A new one comes after those that are known, so that it changes no bar that they have; with `as_primary` it becomes rank 0
    and the others move back, unless it is rank 0 already. The first source of a series is its primary in any case.
    `CryptaiError` when `source` is known with another origin: its bars are marked already.
    """
    # Two who are the first at the same time are so one after the other.
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("series_sources", *_keys(series)),))
    known = read_sources(cursor, series)
    own = next((one for one in known if one.source == source), None)
    if own is not None and own.origin != origin:
        raise CryptaiError(f"{series}: the bars of {source} are marked {own.origin} in this store; {origin} is refused")
    if own is None:
        rank = known[-1].rank + 1 if known else PRIMARY_RANK
        cursor.execute(
            "INSERT INTO series_sources (symbol, timeframe, source, rank, origin) VALUES (%s, %s, %s, %s, %s)",
            (*_keys(series), source, rank, origin),
        )
        own = SeriesSource(source, rank, origin)
    if not as_primary or own.rank == PRIMARY_RANK:
        return own
    _reorder(cursor, series, [own.source, *(one.source for one in known if one.source != own.source)])
    return own._replace(rank=PRIMARY_RANK)


def _reorder(cursor: Cursor, series: Series, sources: list[str]) -> None:
    # Out of the way first: the ranks of a series are unique at every moment.
    cursor.execute("UPDATE series_sources SET rank = rank + 10000 WHERE symbol = %s AND timeframe = %s", _keys(series))
    cursor.execute(
        sql.SQL(
            "UPDATE series_sources AS s SET rank = ordered.place - 1 FROM unnest(%s::text[]) WITH ORDINALITY"
            " AS ordered (source, place) WHERE s.symbol = %s AND s.timeframe = %s AND s.source = ordered.source"
        ),
        (sources, *_keys(series)),
    )


def _keys(series: Series) -> tuple[str, str]:
    return series.symbol, series.timeframe.code
