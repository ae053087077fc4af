"""What is known about one venue: data and small pure functions. Each venue's own stand in its module below `venues`.

How a venue is called stands in `ccxt_client`, how its answers become a source of bars in `ccxt_source`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Parameters, Received, Wire
from cryptai_pipelines.sources.listing_fields import CurrencyCode, LastPrice
from cryptai_pipelines.sources.pagination import Answer

T = TypeVar("T")


@dataclass(frozen=True)
class Question(Generic[T]):
    """A call with fixed parameters, and what its answer means; `read` may raise `Malformed`."""

    endpoint: Endpoint
    parameters: Parameters
    read: Callable[[Received], T]


def proven(received: Received, rows: Columns, full: bool) -> Answer:
    """Wire rows read out of an answer, with the proof of its whole payload."""
    return Answer(rows, full, received.url, hashlib.sha256(received.body).hexdigest(), received.fetched_at_ms)


class SeriesAtVenue(NamedTuple):
    """A series as a venue spells it; `timeframe` is native there and `codes` are the venue's codes of those that are."""

    symbol: str
    timeframe: Timeframe
    codes: Mapping[Timeframe, str | int]


@dataclass(frozen=True)
class Venue:
    """A venue that ccxt can call without a key."""

    name: str
    base_url: str
    """Where the venue is, unless the settings say otherwise."""

    api_path: str
    """From the base URL to the root below which the endpoints' paths stand."""

    wire: Wire
    weight_per_minute: int
    """Request weight granted to one address. A venue that counts by shorter windows than the minute is given as half of what
    it grants, so that the end of one minute and the beginning of the next are within its window, too."""

    codes: Mapping[Timeframe, str | int]
    """The timeframes whose bars are taken as the venue gives them, and what it calls them. The others are resampled."""

    pages: Callable[[CcxtClient, SeriesAtVenue, Interval], Iterator[Page]]
    server_time: Question[int]
    listings: Callable[[CurrencyCode], Question[list[Listing]]]
    prices: Question[list[LastPrice]]
    active: frozenset[str]
    """What the status of a listing says of a symbol that trades."""

    page_bars: int
    """The most bars that one answer holds."""

    history_bars: int | None = None
    """How many bars back from now it can be asked about; None: to the first one."""

    own_week: Literal["Monday", "Thursday"] | None = None
    """The day on which the venue's own weeks begin, taken as they are when it is ours (Monday); None: its weeks are not used,
    whatever they are."""

    reported: tuple[str, ...] = ()
    """The columns that it tells of a bar beyond prices and volume, which is in base currency everywhere."""

    empty_bars: Literal["omitted", "flat"] = "omitted"
    """What the venue does about a bar without trades: no row, or a row at the last close."""

    archive_market: str | None = None
    """The market of Binance's public archive (`archive_layout.MARKETS`) that holds its bars; None when none does."""

    pace_s: float = 0.0
    """Least seconds between two calls."""

    spelling: Callable[[str], str] | None = None
    """The venue's symbol of a slug, where a rule gives it; None where only the listing says."""

    on_listing: Callable[[CcxtClient, Any], None] = lambda _client, _parsed: None
    """What else the answer with the listings tells, such as the venue's limits."""
