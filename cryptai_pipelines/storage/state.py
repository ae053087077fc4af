"""What each series of each asset was last made from, and what changed in it since when. "Is it stale?" is a query here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cryptai_pipelines.market.intervals import Interval, merged
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database, rows_of
from cryptai_pipelines.storage.times import to_datetime, to_ms


@dataclass(frozen=True)
class SeriesState:
    """Where one series of one asset stands. `revision` counts its own changes; `input_revision` is the revision of its input
    that it was made from, `further_revisions` those of its further inputs, in their order. `first_ts` and `last_ts`: epoch ms
    of its rows, both inclusive. `state`: bytes that only the asset reads, such as where its engine stopped."""

    asset: str
    series: Series
    revision: int = 0
    input_revision: int = 0
    code_version: str = ""
    first_ts: int | None = None
    last_ts: int | None = None
    state: bytes | None = None
    further_revisions: tuple[int, ...] = ()


class Derived(NamedTuple):
    """An asset, the asset that it is computed from, and the code version that now computes it."""

    asset: str
    input_asset: str
    code_version: str


class Stale(NamedTuple):
    """A derived series that has to be computed again. `behind` is the number of input revisions that it has not seen."""

    asset: str
    series: Series
    behind: int
    reason: str


_READ = (
    "SELECT revision, input_revision, code_version, first_ts, last_ts, state, further_revisions FROM series_state"
    " WHERE asset = %s AND symbol = %s AND timeframe = %s"
)


def read_state(source: Cursor | Database, asset: str, series: Series) -> SeriesState | None:
    """The state of a series, read in the transaction of a cursor or on its own; None when nothing was ever written."""
    rows = rows_of(source, _READ, _keys(asset, series))
    if not rows:
        return None
    revision, input_revision, code_version, first, last, state, further = rows[0]
    state = None if state is None else bytes(state)
    span = (to_ms(first), to_ms(last))
    return SeriesState(asset, series, revision, input_revision, code_version, *span, state, tuple(further))


def read_revisions(source: Cursor | Database, asset: str, symbol: str) -> dict[str, int]:
    """The revision of every series of a symbol that the asset has rows of, by the code of the timeframe."""
    statement = "SELECT timeframe, revision FROM series_state WHERE asset = %s AND symbol = %s AND last_ts IS NOT NULL"
    return dict(rows_of(source, statement, (asset, symbol)))


def write_further_revisions(cursor: Cursor, asset: str, series: Series, revisions: Sequence[int]) -> None:
    """Record that the series, as it stands, takes account of these revisions of its further inputs, too."""
    cursor.execute(
        "UPDATE series_state SET further_revisions = %s::bigint[], updated_at = now()"
        " WHERE asset = %s AND symbol = %s AND timeframe = %s",
        (list(revisions), *_keys(asset, series)),
    )


def write_own_state(cursor: Cursor, asset: str, series: Series, own_state: bytes) -> None:
    """Replace the bytes that only the asset reads; what it was made from and its revision stay."""
    cursor.execute(
        "UPDATE series_state SET state = %s, updated_at = now() WHERE asset = %s AND symbol = %s AND timeframe = %s",
        (own_state, *_keys(asset, series)),
    )


def write_state(
    cursor: Cursor,
    asset: str,
    series: Series,
    *,
    input_revision: int = 0,
    code_version: str = "",
    first_ts: int | None = None,
    last_ts: int | None = None,
    state: bytes | None = None,
    further_revisions: Sequence[int] = (),
) -> None:
    """Record what the series was made from; every field but `revision`, which only `record_change` moves."""
    values = (input_revision, code_version, to_datetime(first_ts), to_datetime(last_ts), state, list(further_revisions))
    cursor.execute(
        "INSERT INTO series_state AS s (asset, symbol, timeframe, input_revision, code_version, first_ts, last_ts, state,"
        " further_revisions, updated_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[], now())"
        " ON CONFLICT (asset, symbol, timeframe) DO UPDATE SET input_revision = excluded.input_revision,"
        " code_version = excluded.code_version, first_ts = excluded.first_ts, last_ts = excluded.last_ts,"
        " state = excluded.state, further_revisions = excluded.further_revisions, updated_at = excluded.updated_at"
        " WHERE (s.input_revision, s.code_version, s.first_ts, s.last_ts, s.state, s.further_revisions) IS DISTINCT FROM"
        " (excluded.input_revision, excluded.code_version, excluded.first_ts, excluded.last_ts, excluded.state,"
        " excluded.further_revisions)",
        (*_keys(asset, series), *values),
    )


def record_change(cursor: Cursor, asset: str, series: Series, change: Change) -> int:
    """The revision of the series after `change`: one more, with the change on record, when something changed."""
    if not change:
        rows = rows_of(
            cursor,
            "SELECT revision FROM series_state WHERE asset = %s AND symbol = %s AND timeframe = %s",
            _keys(asset, series),
        )
        return rows[0][0] if rows else 0
    rows = rows_of(
        cursor,
        "WITH bumped AS (INSERT INTO series_state AS s (asset, symbol, timeframe, revision, updated_at)"
        " VALUES (%s, %s, %s, 1, now()) ON CONFLICT (asset, symbol, timeframe)"
        " DO UPDATE SET revision = s.revision + 1, updated_at = excluded.updated_at RETURNING *)"
        " INSERT INTO series_changes (asset, symbol, timeframe, revision, first_ts, last_ts, rows, changed_at)"
        " SELECT asset, symbol, timeframe, revision, %s, %s, %s, now() FROM bumped RETURNING revision",
        (*_keys(asset, series), to_datetime(change.first_ts), to_datetime(change.last_ts), change.rows),
    )
    return rows[0][0]


def changed_since(source: Cursor | Database, asset: str, series: Series, revision: int) -> Interval | None:
    """The open times between which everything lies that changed after `revision`, both inclusive (`end_ms` is the open time of
    the last changed bar); None when nothing did."""
    first, last = rows_of(
        source,
        "SELECT min(first_ts), max(last_ts) FROM series_changes"
        " WHERE asset = %s AND symbol = %s AND timeframe = %s AND revision > %s",
        (*_keys(asset, series), revision),
    )[0]
    return None if first is None else Interval(to_ms(first), to_ms(last))  # type: ignore[arg-type]


def changes_since(source: Cursor | Database, asset: str, series: Series, revision: int) -> list[Interval]:
    """The open times that changed after `revision`, as intervals of which each ends after its last changed bar; ascending, and
    apart from each other by at least one bar."""
    rows = rows_of(
        source,
        "SELECT first_ts, last_ts FROM series_changes WHERE asset = %s AND symbol = %s AND timeframe = %s AND revision > %s"
        " ORDER BY first_ts, last_ts",
        (*_keys(asset, series), revision),
    )
    return merged(Interval(to_ms(first), to_ms(last) + series.timeframe.ms) for first, last in rows)  # type: ignore[arg-type,operator]


def stale(db: Database, lineage: Iterable[Derived]) -> list[Stale]:
    """Derived series that were never made, were made from an older revision of their input, or by another code version, for
    every series of each input asset; ordered by asset, symbol, timeframe."""
    edges = list(lineage)
    rows = db.rows(
        "SELECT edge.asset, input.symbol, input.timeframe, input.revision - coalesce(made.input_revision, 0),"
        " CASE WHEN made.asset IS NULL THEN 'never computed'"
        " WHEN made.code_version <> edge.code_version THEN 'made by code version ' || made.code_version"
        " ELSE 'input changed' END"
        " FROM unnest(%s::text[], %s::text[], %s::text[]) AS edge (asset, input_asset, code_version)"
        " JOIN series_state AS input ON input.asset = edge.input_asset"
        " LEFT JOIN series_state AS made ON made.asset = edge.asset AND made.symbol = input.symbol"
        " AND made.timeframe = input.timeframe"
        " WHERE input.revision > 0 AND (made.asset IS NULL OR made.input_revision < input.revision"
        " OR made.code_version <> edge.code_version)"
        " ORDER BY 1, 2, 3",
        ([e.asset for e in edges], [e.input_asset for e in edges], [e.code_version for e in edges]),
    )
    return [Stale(asset, Series(symbol, parse_timeframe(code)), behind, why) for asset, symbol, code, behind, why in rows]


def _keys(asset: str, series: Series) -> tuple[str, str, str]:
    return asset, series.symbol, series.timeframe.code
