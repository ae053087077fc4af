"""`series_sources`: where a series may take its bars from, in the order in which they are believed. What becomes of bars that
several sources have is decided in `quality.composition`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from psycopg2 import sql

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.merge_rows import lock_key
from cryptai_pipelines.storage.times import to_datetime

PRIMARY_RANK = 0
Place = Literal["first", "last"]
# What the bars are marked with that a series' own exchange gives, directly or made of shorter ones.
_OF_A_VENUE = ("rest", "resampled", "udf")


class SeriesSource(NamedTuple):
    """One source of a series. The lowest `rank` is believed first; rank 0 is the primary. `origin`: what its bars are marked
    with in `market_data`."""

    source: str
    rank: int
    origin: str


def read_sources(source: Cursor | Database, series: Series, at_ms: int | None = None) -> list[SeriesSource]:
    """The sources of a series, the most believed first; empty before anything was received. With `at_ms` in the order of that
    moment (epoch ms): those that came later stand behind, and before any order was on record it is that of now."""
    statement = "SELECT source, rank, origin FROM series_sources WHERE symbol = %s AND timeframe = %s ORDER BY rank"
    known = [SeriesSource(*row) for row in rows_of(source, statement, _keys(series))]
    if at_ms is None:
        return known
    statement = (
        "SELECT sources FROM series_source_ranks WHERE symbol = %s AND timeframe = %s AND ranked_at <= %s"
        " ORDER BY ranked_at DESC LIMIT 1"
    )
    rows = rows_of(source, statement, (*_keys(series), to_datetime(at_ms)))
    then = rows[0][0] if rows else []
    ordered = sorted(known, key=lambda one: (then.index(one.source) if one.source in then else len(then), one.rank))
    return [one._replace(rank=rank) for rank, one in enumerate(ordered)]


def feeding_venue(known: Sequence[SeriesSource]) -> str | None:
    """The venue that feeds a series with `known` sources, whether or not a file is believed before it; None when none does."""
    return next((one.source for one in known if one.origin in _OF_A_VENUE), None)


def lease_name(source: Cursor | Database, series: Series, otherwise: str) -> str:
    """The name under which every writer leases a series, whatever source it brings bars from: that of the source which the
    series had first, so that it stays the same when another one becomes the primary. `otherwise` while it has none."""
    statement = "SELECT source FROM series_sources WHERE symbol = %s AND timeframe = %s ORDER BY added_at, source LIMIT 1"
    rows = rows_of(source, statement, _keys(series))
    return rows[0][0] if rows else otherwise


def register_source(cursor: Cursor, series: Series, source: str, origin: str, place: Place | None = None) -> SeriesSource:
    """Make sure that `source` is one of the series' sources and return it as it stands.

    Without a `place` it stays where it is; a new one comes after those that are known, so that it changes no bar that they
    have. `first`: it becomes rank 0 and the others move back; `last`: it moves behind all others. The order is on record with
    its time. `CryptaiError` when `source` is known with another origin: its bars are marked already.
    """
    # Two who are the first at the same time are so one after the other.
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock_key("series_sources", *_keys(series)),))
    known = read_sources(cursor, series)
    own = next((one for one in known if one.source == source), None)
    if own is not None and own.origin != origin:
        raise CryptaiError(f"{series}: the bars of {source} are marked {own.origin} in this store; {origin} is refused")
    before, others = [one.source for one in known], [one.source for one in known if one.source != source]
    if own is None:
        rank = known[-1].rank + 1 if known else PRIMARY_RANK
        cursor.execute(
            "INSERT INTO series_sources (symbol, timeframe, source, rank, origin) VALUES (%s, %s, %s, %s, %s)",
            (*_keys(series), source, rank, origin),
        )
    order = before if own is not None else [*others, source]
    order = {"first": [source, *others], "last": [*others, source], None: order}[place]
    if order != before:
        _reorder(cursor, series, order)
    return SeriesSource(source, order.index(source), origin)


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
    cursor.execute(
        "INSERT INTO series_source_ranks (symbol, timeframe, ranked_at, sources) VALUES (%s, %s, clock_timestamp(), %s)",
        (*_keys(series), sources),
    )


def _keys(series: Series) -> tuple[str, str]:
    return series.symbol, series.timeframe.code
