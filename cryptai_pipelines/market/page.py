"""What crosses the border between a source and the store: a page of bars with its proof, a symbol's listing, a last price.

Neither `sources` nor `storage` may import the other; both import this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.intervals import Interval


@dataclass(frozen=True)
class Page:
    """One answer of a source: wire rows (`bars.WIRE_DTYPES`, ascending `ts`, all inside `asked`) and where they came from.

    `asked` is the half-open interval that this answer settles: what is in it and not in `rows` does not exist at the venue.
    """

    rows: Columns
    asked: Interval
    url: str
    sha256: str
    fetched_at_ms: int


@dataclass(frozen=True)
class Listing:
    """A symbol as one venue lists it. Times are epoch milliseconds; None means that the venue does not say."""

    venue: str
    symbol: str
    venue_symbol: str
    base: str
    quote: str
    status: str
    tick_size: float | None = None
    lot_size: float | None = None
    min_notional: float | None = None
    listed_at_ms: int | None = None
    delisted_at_ms: int | None = None
    simulated: bool = False


class Price(NamedTuple):
    """The last price of a symbol (slug) at a venue. Times are epoch milliseconds.

    `traded_at_ms` is the venue's own time of the price; None when it gives none, which is most often so.
    """

    venue: str
    symbol: str
    price: float
    traded_at_ms: int | None
    fetched_at_ms: int
