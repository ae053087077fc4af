"""The venue's listing in the store: all of it, once it is needed. The asset `symbols` renews it every day."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.symbols import Comings, note_comings, read_symbols, upsert_listings


class Stored(NamedTuple):
    """What a venue lists, how many rows that changed, and which symbols came or went."""

    listings: list[Listing]
    change: Change
    comings: Comings


def store_listing(database: Database, venue: BarSource) -> Stored:
    """Fetch and store what the venue lists; a symbol that is gone is flagged, and its history stays.

    `CryptaiError` when it lists nothing at all, or a simulated market where the store holds a real one or the other way round;
    then nothing is changed.
    """
    listings = venue.symbols()
    if not listings:
        raise CryptaiError(f"{venue.name} lists no symbol at all; nothing was changed")
    before = {listing.simulated for listing in read_symbols(database, venue.name)}
    if before and before != {listing.simulated for listing in listings}:
        raise CryptaiError(
            f"{venue.name} lists a {'real' if before == {True} else 'simulated'} market now and this store holds another kind; "
            "accepted: another CRYPTAI_HOME or CRYPTAI_DATABASE_URL for it"
        )
    with database.transaction() as cursor:
        change = upsert_listings(cursor, listings)
        return Stored(listings, change, note_comings(cursor, venue.name, listings))


def store_other_listings(database: Database, venues: Iterable[BarSource]) -> list[tuple[str, int, str | None]]:
    """Fetch and store what further venues list: of each its name, how many symbols, and why there are none. One that fails does
    not keep the others, or the primary venue, from being stored."""
    told = []
    for venue in venues:
        try:
            told.append((venue.name, len(store_listing(database, venue).listings), None))
        except (SourceError, CryptaiError) as error:
            told.append((venue.name, 0, str(error)))
    return told


def know_listing(database: Database, venue: BarSource, symbols: Iterable[str]) -> None:
    """Fetch the listing when one of `symbols` is not in the store yet. What is not listed at all is left to the venue's own
    refusal, so that it fails its series and no other."""
    known = {listing.symbol for listing in read_symbols(database, venue.name)}
    if not known.issuperset(symbols):
        store_listing(database, venue)
