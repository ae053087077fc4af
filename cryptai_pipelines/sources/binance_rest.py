"""What the REST APIs of Binance's markets have in common: asking for klines, reading the time, prices, errors and limits.

Klines can be asked for from a moment on, up to a moment, and by count, so the three questions of `pagination` are direct.
What one market calls its endpoints, and what they weigh there, stands in `ccxt_binance` and `venues.binanceusdm`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.sources.binance_listings import weight_limit
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Received
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.kline_rows import kline_columns
from cryptai_pipelines.sources.listing_fields import LastPrice, entries, epoch_ms, number
from cryptai_pipelines.sources.pagination import Answer, Questions, pages
from cryptai_pipelines.sources.venue import SeriesAtVenue, proven
from cryptai_pipelines.sources.venue_errors import ErrorRules

USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"

_FOREVER_MS = 2**62


def kline_pages(
    page: Endpoint, one: Endpoint, page_rows: int
) -> Callable[[CcxtClient, SeriesAtVenue, Interval], Iterator[Page]]:
    """`Venue.pages` over an endpoint of klines: `page` with what a call for `page_rows` rows weighs, `one` with what a call
    for a single row does. Pages and errors are those of `pagination.pages`."""

    def pages_of(client: CcxtClient, series: SeriesAtVenue, within: Interval) -> Iterator[Page]:
        return pages(_questions(client, series, page, one, page_rows), series.timeframe, within)

    return pages_of


def _questions(client: CcxtClient, at_venue: SeriesAtVenue, page: Endpoint, one: Endpoint, page_rows: int) -> Questions:
    series = {"symbol": at_venue.symbol, "interval": at_venue.codes[at_venue.timeframe]}

    def bars_within(span: Interval) -> Answer:
        asked = {**series, "startTime": span.start_ms, "endTime": span.end_ms - 1, "limit": page_rows}
        return client.ask(page, asked, lambda received: _page(received, span, page_rows), at_venue.symbol)

    def last_open_before(end_ms: int) -> int | None:
        asked = {**series, "endTime": end_ms - 1, "limit": 1}
        return client.ask(one, asked, lambda received: _only_open(received, Interval(0, end_ms)), at_venue.symbol)

    def first_open_from(start_ms: int) -> int | None:
        asked = {**series, "startTime": start_ms, "limit": 1}
        span = Interval(start_ms, _FOREVER_MS)
        return client.ask(one, asked, lambda received: _only_open(received, span), at_venue.symbol)

    return Questions(bars_within, last_open_before, first_open_from)


def _page(received: Received, span: Interval, page_rows: int) -> Answer:
    columns = kline_columns(received.parsed, span)
    full = len(received.parsed) >= page_rows
    return proven(received, columns, full)


def _only_open(received: Received, span: Interval) -> int | None:
    """Open time of the one bar asked for; None for an empty list. More than one bar is `Malformed`."""
    opens = kline_columns(received.parsed, span)["ts"]
    if len(opens) > 1:
        raise Malformed(f"one kline was asked for, {len(opens)} came")
    return int(opens[0]) if len(opens) else None


def server_time(received: Received) -> int:
    """Epoch milliseconds of an answer of `time`; `Malformed` when they are no positive integer."""
    value = received.parsed.get("serverTime") if isinstance(received.parsed, dict) else None
    if type(value) is not int or not 0 < value < _FOREVER_MS:
        raise Malformed("time should be a JSON object with a positive integer serverTime")
    return value


def correct_limit(client: CcxtClient, parsed: Any) -> None:
    """Let the client keep to the weight per minute that a parsed exchangeInfo grants, if it says."""
    if (limit := weight_limit(parsed)) is not None:
        client.limits.budget.set_limit(limit)


def last_prices(received: Received) -> list[LastPrice]:
    """The prices of an answer of `ticker/price` about all symbols, in its order, with the time of each where the market tells
    it; `Malformed` for anything but a non-empty list of objects with a symbol."""
    found = entries(received.parsed, "ticker prices", ("symbol",))
    return [LastPrice(each["symbol"], number(each.get("price")), epoch_ms(each.get("time"))) for each in found]


def _error_words(parsed: Any) -> str | None:
    """Binance's error JSON is an object with an integer `code`."""
    if isinstance(parsed, dict) and type(parsed.get("code")) is int:
        return f"{parsed['code']} {parsed.get('msg', '')}"
    return None


# Failures on the venue's side (unknown, disconnected, message bus, timeout, busy, shutting down), whatever their HTTP status;
# ccxt reads some of them as mistakes of the caller.
ERRORS = ErrorRules(_error_words, transient=re.compile(r"^-(1000|1001|1006|1007|1008|1016) "))
