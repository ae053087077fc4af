"""Binance spot: its endpoints and limits, and how its answers become pages, listings and prices.

Its klines can be asked for from a moment on, up to a moment, and by count, so the three questions of `pagination` are direct.
A bar without trades is given flat while the market is open, and is missing where the venue was down.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.timeframe import TIMEFRAMES
from cryptai_pipelines.sources.binance_listings import listings, weight_limit
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Received, Wire
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.kline_rows import kline_columns
from cryptai_pipelines.sources.listing_fields import CurrencyCode, LastPrice, entries, number
from cryptai_pipelines.sources.pagination import Answer, Questions, pages
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue import Question, SeriesAtVenue, Venue
from cryptai_pipelines.sources.venue_errors import ErrorRules

NAME = "binance"
PAGE_ROWS = 1000
DEFAULT_WEIGHT_LIMIT = 6000
"""Weight per minute that Binance granted in 2026; exchangeInfo corrects it."""

_TIME = Endpoint("time", "publicGetTime", 1)
_EXCHANGE_INFO = Endpoint("exchangeInfo", "publicGetExchangeInfo", 20)
_KLINES = Endpoint("klines", "publicGetKlines", 2)
_PRICES = Endpoint("ticker/price", "publicGetTickerPrice", 4)

_FOREVER_MS = 2**62


def _questions(client: CcxtClient, at_venue: SeriesAtVenue) -> Questions:
    series = {"symbol": at_venue.symbol, "interval": at_venue.codes[at_venue.timeframe]}

    def bars_within(span: Interval) -> Answer:
        asked = {**series, "startTime": span.start_ms, "endTime": span.end_ms - 1, "limit": PAGE_ROWS}
        return client.ask(_KLINES, asked, lambda received: _page(received, span), at_venue.symbol)

    def last_open_before(end_ms: int) -> int | None:
        asked = {**series, "endTime": end_ms - 1, "limit": 1}
        return client.ask(_KLINES, asked, lambda received: _only_open(received, Interval(0, end_ms)), at_venue.symbol)

    def first_open_from(start_ms: int) -> int | None:
        asked = {**series, "startTime": start_ms, "limit": 1}
        span = Interval(start_ms, _FOREVER_MS)
        return client.ask(_KLINES, asked, lambda received: _only_open(received, span), at_venue.symbol)

    return Questions(bars_within, last_open_before, first_open_from)


def _pages(client: CcxtClient, series: SeriesAtVenue, within: Interval) -> Iterator[Page]:
    return pages(_questions(client, series), series.timeframe, within)


def _page(received: Received, span: Interval) -> Answer:
    columns = kline_columns(received.parsed, span)
    full = len(received.parsed) >= PAGE_ROWS
    return Answer(columns, full, received.url, hashlib.sha256(received.body).hexdigest(), received.fetched_at_ms)


def _only_open(received: Received, span: Interval) -> int | None:
    """Open time of the one bar asked for; None for an empty list. More than one bar is `Malformed`."""
    opens = kline_columns(received.parsed, span)["ts"]
    if len(opens) > 1:
        raise Malformed(f"one kline was asked for, {len(opens)} came")
    return int(opens[0]) if len(opens) else None


def _server_time(received: Received) -> int:
    value = received.parsed.get("serverTime") if isinstance(received.parsed, dict) else None
    if type(value) is not int or not 0 < value < _FOREVER_MS:
        raise Malformed("time should be a JSON object with a positive integer serverTime")
    return value


def _listings(_: CurrencyCode) -> Question[list[Listing]]:
    # Binance's own codes are the common ones for what it trades now; ccxt's table holds names of its past.
    return Question(_EXCHANGE_INFO, {}, lambda received: listings(received.parsed, NAME, simulated=False))


def _correct_limit(client: CcxtClient, parsed: Any) -> None:
    if (limit := weight_limit(parsed)) is not None:
        client.limits.budget.set_limit(limit)


def _prices(received: Received) -> list[LastPrice]:
    found = entries(received.parsed, "ticker prices", ("symbol",))
    return [LastPrice(each["symbol"], number(each.get("price"))) for each in found]


def _error_words(parsed: Any) -> str | None:
    """Binance's error JSON is an object with an integer `code`."""
    if isinstance(parsed, dict) and type(parsed.get("code")) is int:
        return f"{parsed['code']} {parsed.get('msg', '')}"
    return None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url


BINANCE = Venue(
    name=NAME,
    base_url="https://api.binance.com",
    api_path="/api/v3",
    wire=Wire(
        "binance",
        _place,
        # Failures on the venue's side (unknown, disconnected, message bus, timeout, busy, shutting down), whatever their HTTP
        # status; ccxt reads some of them as mistakes of the caller.
        ErrorRules(_error_words, transient=re.compile(r"^-(1000|1001|1006|1007|1008|1016) ")),
        {"fetchMarkets": {"types": ["spot"]}},
        "X-MBX-USED-WEIGHT-1M",
    ),
    weight_per_minute=DEFAULT_WEIGHT_LIMIT,
    codes={timeframe: timeframe.code for timeframe in TIMEFRAMES},
    pages=_pages,
    server_time=Question(_TIME, {}, _server_time),
    listings=_listings,
    prices=Question(_PRICES, {}, _prices),
    active=frozenset({"TRADING"}),
    page_bars=PAGE_ROWS,
    own_week="Monday",
    reported=("quote_volume", "trades", "taker_buy_base", "taker_buy_quote"),
    empty_bars="flat",
    spelling=lambda slug: slug.replace("-", ""),
    on_listing=_correct_limit,
)


def open_binance(
    base_url: str,
    request_timeout_s: float,
    clock: Clock,
    *,
    retry: RetryPolicy | None = None,
    timer: Timer | None = None,
) -> BarSource:
    """Binance spot at `base_url`; otherwise as `ccxt_source.open_ccxt`."""
    return open_ccxt(BINANCE, base_url, request_timeout_s, clock, retry=retry, timer=timer)
