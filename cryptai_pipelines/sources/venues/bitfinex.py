"""Bitfinex (v2): up to 10,000 candles from a moment on, oldest first when asked so, none for an interval without trades; the
close stands before the high and the low. There is no endpoint for the time: the date of an answer's header is taken.

Currencies have codes of their own (`UST` is Tether), and a mistake of the caller is answered with status 500.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import EVER, MILLISECONDS, candle_columns, layout
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Parameters, Received, Wire
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.listing_fields import CurrencyCode, LastPrice, field, number, well_formed
from cryptai_pipelines.sources.pagination import Answer, Questions, pages
from cryptai_pipelines.sources.retry import http_date_ms
from cryptai_pipelines.sources.venue import Question, SeriesAtVenue, Venue
from cryptai_pipelines.sources.venue_errors import ErrorRules

NAME = "bitfinex"

_STATUS = Endpoint("platform/status", "publicGetPlatformStatus", 3)
_PAIRS = Endpoint("conf/{config}", "publicGetConfConfig", 1)
_CANDLES = Endpoint("candles/trade:{timeframe}:{symbol}/hist", "publicGetCandlesTradeTimeframeSymbolHist", 1)
_TICKERS = Endpoint("tickers", "publicGetTickers", 1)
_PAGE_ROWS = 10_000
_OLDEST_FIRST, _NEWEST_FIRST = {"sort": 1}, {"sort": -1}
_FORM = layout("ts open close high low volume", MILLISECONDS, text_time=False)
_LOT = 1e-8  # Amounts have 8 decimals everywhere; prices have 5 significant digits, so there is no step of price.


def _questions(client: CcxtClient, at_venue: SeriesAtVenue) -> Questions:
    series = {"timeframe": at_venue.codes[at_venue.timeframe], "symbol": at_venue.symbol}

    def ask(parameters: Parameters, span: Interval, most: int) -> Answer:
        def read(received: Received) -> Answer:
            rows = candle_columns(received.parsed, _FORM, at_venue.timeframe, span)
            if len(rows["ts"]) > most:
                raise Malformed(f"{most} candles were asked for, {len(rows['ts'])} came")
            proof = hashlib.sha256(received.body).hexdigest()
            return Answer(rows, len(rows["ts"]) == most, received.url, proof, received.fetched_at_ms)

        return client.ask(_CANDLES, {**series, **parameters, "limit": most}, read, at_venue.symbol)

    def bars_within(span: Interval) -> Answer:
        return ask({"start": span.start_ms, "end": span.end_ms - 1, **_OLDEST_FIRST}, span, _PAGE_ROWS)

    def last_open_before(end_ms: int) -> int | None:
        found = ask({"end": end_ms - 1, **_NEWEST_FIRST}, Interval(0, end_ms), 1).opens
        return int(found[0]) if len(found) else None

    def first_open_from(start_ms: int) -> int | None:
        found = ask({"start": start_ms, **_OLDEST_FIRST}, Interval(start_ms, EVER.end_ms), 1).opens
        return int(found[0]) if len(found) else None

    return Questions(bars_within, last_open_before, first_open_from)


def _pages(client: CcxtClient, series: SeriesAtVenue, within: Interval) -> Iterator[Page]:
    return pages(_questions(client, series), series.timeframe, within)


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        pairs = field(received.parsed, 0)
        if not isinstance(pairs, list) or not pairs:
            raise Malformed("the pairs should be a non-empty JSON list")
        return well_formed((_listing(str(field(pair, 0)).upper(), code) for pair in pairs), NAME)

    return Question(_PAIRS, {"config": "pub:info:pair"}, read)


def _listing(pair: str, code: CurrencyCode) -> Listing:
    """Of `AAVE:USD`, or `BTCUSD` where both codes have three letters."""
    base, quote = pair.split(":", 1) if ":" in pair else (pair[:3], pair[3:])
    base, quote = code(base), code(quote)
    return Listing(NAME, f"{base}-{quote}".upper(), f"t{pair}", base, quote, "listed", lot_size=_LOT)


def _prices(received: Received) -> list[LastPrice]:
    """The eighth field of the tickers of pairs; those of funding currencies begin with `f`."""
    if not isinstance(received.parsed, list) or not received.parsed:
        raise Malformed("the tickers should be a non-empty JSON list")
    named = [(str(field(ticker, 0)), ticker) for ticker in received.parsed]
    return [LastPrice(symbol, number(field(ticker, 7))) for symbol, ticker in named if symbol.startswith("t")]


def _server_time(received: Received) -> int:
    try:
        return http_date_ms(received.headers.get("Date", ""))
    except (ValueError, OverflowError):
        raise Malformed("the answer should have a Date header, the venue's only clock") from None


def _error_words(parsed: Any) -> str | None:
    """Bitfinex's error is the list `["error", code, message]`, and an object when the platform is down."""
    if isinstance(parsed, list) and len(parsed) >= 3 and parsed[0] == "error":
        return f"{parsed[1]} {parsed[2]}"
    message = parsed.get("error") or parsed.get("message") if isinstance(parsed, dict) else None
    return message if isinstance(message, str) else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url.removesuffix("/v2")


BITFINEX = Venue(
    name=NAME,
    base_url="https://api-pub.bitfinex.com",
    api_path="/v2",
    wire=Wire(
        "bitfinex",
        _place,
        ErrorRules(
            _error_words,
            transient=re.compile(r"temporarily_unavailable|^20060 "),
            rate_limited=re.compile(r"^11010 |ratelimit", re.IGNORECASE),
            unknown_symbol=re.compile(r"symbol: invalid"),
            mistakes=re.compile(r"^10020 |: invalid$"),
        ),
    ),
    weight_per_minute=30,
    codes={
        Timeframe.M1: "1m",
        Timeframe.M5: "5m",
        Timeframe.M15: "15m",
        Timeframe.M30: "30m",
        Timeframe.H1: "1h",
        Timeframe.H4: "4h",
        Timeframe.D1: "1D",
    },
    pages=_pages,
    server_time=Question(_STATUS, {}, _server_time),
    listings=_listings,
    prices=Question(_TICKERS, {"symbols": "ALL"}, _prices),
    active=frozenset({"listed"}),
    page_bars=_PAGE_ROWS,
    pace_s=0.7,
)
