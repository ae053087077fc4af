"""A venue as a source of bars: pages of a series, native or resampled, its listings, its clock and its last prices.

What differs from venue to venue is data (`venue.Venue`); how it is called stands in `ccxt_client`.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page, Price
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Received, VenueLimits
from cryptai_pipelines.sources.errors import Permanent
from cryptai_pipelines.sources.limit_ledger import LedgerOf, LimitLedger, ledger_key
from cryptai_pipelines.sources.listing_fields import LastPrice
from cryptai_pipelines.sources.pace import Pace
from cryptai_pipelines.sources.resampled_pages import base_of, resampled_pages, span_of_parts
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue import SeriesAtVenue, Venue
from cryptai_pipelines.sources.venue_address import venue_address
from cryptai_pipelines.sources.weight_budget import WeightBudget


@dataclass(frozen=True)
class CcxtSource:
    """A `sources.source.BarSource`; opened by `open_ccxt`."""

    venue: Venue
    client: CcxtClient
    _known: dict[str, Listing] = field(default_factory=dict, repr=False)
    """The listings by slug since they were first asked for."""

    _listing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)
    """Held while listings are fetched for want of one, so that many series that begin at once ask once."""

    @property
    def name(self) -> str:
        return self.venue.name

    def origin(self, timeframe: Timeframe) -> str:
        return "rest" if timeframe in self.venue.codes else "resampled"

    def server_time(self) -> int:
        question = self.venue.server_time
        return self.client.ask(question.endpoint, question.parameters, question.read)

    def is_simulated(self) -> bool:
        question = self.venue.server_time
        return self.client.ask(question.endpoint, question.parameters, _says_simulated)

    def symbols(self) -> list[Listing]:
        question = self.venue.listings(self.client.currency_code)

        def read(received: Received) -> list[Listing]:
            simulated = _says_simulated(received)
            found = question.read(received)
            self.venue.on_listing(self.client, received.parsed)
            return [dataclasses.replace(each, simulated=True) for each in found] if simulated else found

        listed = self.client.ask(question.endpoint, question.parameters, read)
        self._known.update((listing.symbol, listing) for listing in listed)
        return listed

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        if not is_slug(symbol):
            raise BadInput(f"symbol {symbol!r} is not of the form BASE-QUOTE, such as BTC-USDT")
        if not 0 <= start_ms <= end_ms:
            raise BadInput(f"the span [{start_ms}, {end_ms}) is not accepted; expected 0 <= start <= end in epoch milliseconds")
        return self._pages(symbol, timeframe, Interval(start_ms, end_ms))

    def last_prices(self) -> list[Price]:
        question = self.venue.prices

        def read(received: Received) -> tuple[list[LastPrice], int]:
            return question.read(received), received.fetched_at_ms

        self._know_listings()
        slugs = {each.venue_symbol: slug for slug, each in self._known.items() if each.status in self.venue.active}
        found, at_ms = self.client.ask(question.endpoint, question.parameters, read)
        return [
            Price(self.name, slugs[each.venue_symbol], each.price, each.traded_at_ms, at_ms)
            for each in found
            if each.price is not None and each.venue_symbol in slugs
        ]

    def _pages(self, symbol: str, timeframe: Timeframe, within: Interval) -> Iterator[Page]:
        if within.start_ms == within.end_ms:
            return
        base = base_of(timeframe, self.venue.codes)
        series = SeriesAtVenue(self._venue_symbol(symbol), base, self.venue.codes)
        if base is timeframe:
            yield from self.venue.pages(self.client, series, within)
        else:
            finer = self.venue.pages(self.client, series, span_of_parts(timeframe, within))
            yield from resampled_pages(finer, base, timeframe, within)

    def _know_listings(self) -> None:
        with self._listing:
            if not self._known:
                self.symbols()

    def _venue_symbol(self, symbol: str) -> str:
        """The venue's own spelling, by its rule or its listing, which is fetched once."""
        if self.venue.spelling is not None:
            return self.venue.spelling(symbol)
        self._know_listings()
        if symbol not in self._known:
            raise Permanent(f"{self.name} does not know the symbol {symbol}: it is not among the symbols that it lists")
        return self._known[symbol].venue_symbol


def open_ccxt(
    venue: Venue,
    base_url: str | None,
    request_timeout_s: float,
    clock: Clock,
    *,
    ledger_of: LedgerOf | None = None,
    retry: RetryPolicy | None = None,
    timer: Timer | None = None,
) -> BarSource:
    """`venue` at `base_url` (None: where it is), no key needed. Nothing is called yet; `BadInput` when the URL or the timeout
    is unusable.

    `request_timeout_s` bounds one HTTP call; `retry` bounds all tries of one question (default: three times that long).
    Who shares the weight budget and Retry-After: all that count in the ledger which `ledger_of` gives for this address; without
    one the sources of one URL in this process, unless a `timer` of their own is given.
    """
    if not 0 < request_timeout_s < threading.TIMEOUT_MAX:
        raise BadInput(f"request timeout {request_timeout_s!r} is not accepted; expected a positive number of seconds")
    address = venue_address(venue.name, venue.base_url if base_url is None else base_url, venue.api_path)
    if ledger_of is not None:
        shared = _new_limits(venue, timer or Timer(), ledger_of(ledger_key(venue.name, address.api_url)))
    else:
        shared = _new_limits(venue, timer) if timer else _limits_of_process(venue, address.api_url)
    policy = retry or RetryPolicy(total_s=3 * request_timeout_s)
    client = CcxtClient(address, venue.wire, request_timeout_s, clock, policy, timer or Timer(), shared.limits, shared.pace)
    return CcxtSource(venue, client)


@dataclass(frozen=True)
class _Shared:
    limits: VenueLimits
    pace: Pace


_shared: dict[str, _Shared] = {}
_shared_lock = threading.Lock()


def _limits_of_process(venue: Venue, api_url: str) -> _Shared:
    # Venues count per network address, so every source of this process draws on one budget.
    with _shared_lock:
        return _shared.setdefault(api_url, _new_limits(venue, Timer()))


def _new_limits(venue: Venue, timer: Timer, ledger: LimitLedger | None = None) -> _Shared:
    limits = VenueLimits(WeightBudget(venue.weight_per_minute, timer, ledger), RetryAfterGate(venue.name, timer, ledger))
    return _Shared(limits, Pace(venue.pace_s, timer))


def _says_simulated(received: Received) -> bool:
    return received.headers.get("X-Cryptai-Simulated", "").strip().lower() not in ("", "0", "false")
