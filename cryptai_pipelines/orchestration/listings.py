"""The venue's listing in the store: all of it, once it is needed. The asset `symbols` renews it every day."""

from __future__ import annotations

from collections.abc import Iterable

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.symbols import read_symbols, upsert_listings


def store_listing(database: Database, venue: BarSource) -> tuple[list[Listing], Change]:
    """Fetch and store what the venue lists. `CryptaiError` when it lists nothing at all, or a simulated market where the store
    holds a real one or the other way round; then nothing is changed."""
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
        return listings, upsert_listings(cursor, listings)


def know_listing(database: Database, venue: BarSource, symbols: Iterable[str]) -> None:
    """Fetch the listing when one of `symbols` is not in the store yet. What is not listed at all is left to the venue's own
    refusal, so that it fails its series and no other."""
    known = {listing.symbol for listing in read_symbols(database, venue.name)}
    if not known.issuperset(symbols):
        store_listing(database, venue)
