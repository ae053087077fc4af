"""`symbols`: how each venue lists and spells its symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from psycopg2.extras import Json

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms

_COLUMNS = [name.removesuffix("_ms") for name in (field.name for field in fields(Listing))]
_VALUES = [name for name in _COLUMNS if name not in ("venue", "symbol")]
_UPSERT = (
    f"WITH merged AS (INSERT INTO symbols AS t ({', '.join(_COLUMNS)}, synced_at)"
    f" SELECT {', '.join(_COLUMNS)}, now() FROM jsonb_to_recordset(%s) AS given (venue text, symbol text, venue_symbol text,"
    " base text, quote text, status text, tick_size float8, lot_size float8, min_notional float8, listed_at timestamptz,"
    " delisted_at timestamptz, simulated boolean) ORDER BY venue, symbol ON CONFLICT (venue, symbol) DO UPDATE SET"
    f" {', '.join(f'{name} = excluded.{name}' for name in _VALUES)}, synced_at = excluded.synced_at"
    f" WHERE ({', '.join(f't.{name}' for name in _VALUES)}) IS DISTINCT FROM"
    f" ({', '.join(f'excluded.{name}' for name in _VALUES)}) RETURNING xmax = 0 AS inserted)"
    " SELECT count(*) FILTER (WHERE inserted), count(*) FILTER (WHERE NOT inserted) FROM merged"
)


def upsert_listings(cursor: Cursor, listings: Sequence[Listing]) -> Change:
    """Store listings; how many are new and how many changed (`Change` without times). Of two with one key the last counts."""
    latest = {(listing.venue, listing.symbol): listing for listing in listings}
    if not latest:
        return Change()
    cursor.execute(_UPSERT, (Json([_record(listing) for listing in latest.values()]),))
    new, changed = cursor.fetchone()  # type: ignore[misc]
    return Change(new, changed)


class Comings(NamedTuple):
    """What changed in which symbols a venue lists: those that it lists no more, those that it lists again, and renamed ones
    with their new name. What is stored of a symbol that is gone stays."""

    missing: list[str]
    returned: list[str]
    renamed: dict[str, str]


def note_comings(cursor: Cursor, venue: str, listings: Sequence[Listing]) -> Comings:
    """Flag the stored symbols of `venue` that are not among `listings`, which is all that it lists now, and take the flag from
    those that are. A symbol that is gone while the venue's own name for it goes on under another slug was renamed."""
    listed = [listing.symbol for listing in listings]
    cursor.execute(
        "UPDATE symbols SET missing_since = now() WHERE venue = %s AND symbol <> ALL(%s) AND missing_since IS NULL"
        " RETURNING symbol, venue_symbol",
        (venue, listed),
    )
    gone = dict(cursor.fetchall())
    cursor.execute(
        "UPDATE symbols SET missing_since = NULL, renamed_to = NULL WHERE venue = %s AND symbol = ANY(%s)"
        " AND missing_since IS NOT NULL RETURNING symbol",
        (venue, listed),
    )
    returned = sorted(symbol for (symbol,) in cursor.fetchall())
    now_called = {listing.venue_symbol: listing.symbol for listing in listings}
    renamed = {symbol: now_called[name] for symbol, name in gone.items() if name in now_called}
    for symbol, successor in renamed.items():
        cursor.execute("UPDATE symbols SET renamed_to = %s WHERE venue = %s AND symbol = %s", (successor, venue, symbol))
    return Comings(sorted(gone), returned, renamed)


def read_missing(db: Database, venue: str) -> dict[str, str | None]:
    """The symbols that a venue lists no more, each with its new name if it was renamed."""
    rows = db.rows(
        "SELECT symbol, renamed_to FROM symbols WHERE venue = %s AND missing_since IS NOT NULL ORDER BY symbol", (venue,)
    )
    return dict(rows)


def read_symbols(db: Database, venue: str | None = None) -> list[Listing]:
    """The stored listings of one venue or of all, by venue and symbol."""
    rows = db.rows(
        f"SELECT {', '.join(_COLUMNS)} FROM symbols WHERE venue = coalesce(%s, venue) ORDER BY venue, symbol", (venue,)
    )
    return [_listing(row) for row in rows]


def read_listing(db: Database, venue: str, symbol: str) -> Listing | None:
    """How a venue lists a symbol; None when it is not stored that it does."""
    rows = db.rows(f"SELECT {', '.join(_COLUMNS)} FROM symbols WHERE venue = %s AND symbol = %s", (venue, symbol))
    return _listing(rows[0]) if rows else None


def is_simulated(db: Database, venue: str, symbol: str) -> bool | None:
    """Does the venue's stored listing of the symbol say that its market is simulated? None when the symbol is not listed."""
    rows = db.rows("SELECT simulated FROM symbols WHERE venue = %s AND symbol = %s", (venue, symbol))
    return rows[0][0] if rows else None


def _listing(row: Sequence[Any]) -> Listing:
    times = [_COLUMNS.index(name) for name in ("listed_at", "delisted_at")]
    return Listing(*(to_ms(value) if place in times else value for place, value in enumerate(row)))


def _record(listing: Listing) -> dict[str, object]:
    values = {field.name.removesuffix("_ms"): getattr(listing, field.name) for field in fields(listing)}
    for name in ("listed_at", "delisted_at"):
        moment = to_datetime(values[name])
        values[name] = None if moment is None else moment.isoformat()
    return values
