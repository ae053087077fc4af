"""Coinbase Exchange: at most 300 candles in a window, newest first, none for an interval without trades.

Its longest timeframe is the day; half hours, 4 hours and weeks are resampled. There is no endpoint for all last prices: the
closes of the newest hourly bars of all products come in one call.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import SECONDS, layout
from cryptai_pipelines.sources.ccxt_client import Endpoint, Parameters, Received, Wire
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.listing_fields import CurrencyCode, LastPrice, entries, field, number, well_formed
from cryptai_pipelines.sources.venue import Question, Venue
from cryptai_pipelines.sources.venue_errors import ErrorRules
from cryptai_pipelines.sources.venues.windowed import Candles, Window

NAME = "coinbase"

_TIME = Endpoint("time", "publicGetTime", 1)
_PRODUCTS = Endpoint("products", "publicGetProducts", 1)
_CANDLES = Endpoint("products/{id}/candles", "publicGetProductsIdCandles", 1)
_SPARK_LINES = Endpoint("products/spark-lines", "publicGetProductsSparkLines", 1)
_FORM = layout("ts low high open close volume", SECONDS, text_time=False)


def _call(window: Window) -> tuple[Endpoint, Parameters]:
    start, end = (dt.datetime.fromtimestamp(ms / 1000, dt.UTC) for ms in (window.first_ms, window.last_ms))
    times = {"start": start.strftime("%Y-%m-%dT%H:%M:%SZ"), "end": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return _CANDLES, {"id": window.symbol, "granularity": window.code, **times}


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        products = entries(received.parsed, "products", ("id", "status"))
        # The base of an auction product is that of the product itself; only the id tells them apart.
        return well_formed((_listing(product, code) for product in products if product["id"].count("-") == 1), NAME)

    return Question(_PRODUCTS, {}, read)


def _listing(product: dict[str, Any], code: CurrencyCode) -> Listing:
    base, quote = (code(part) for part in product["id"].split("-"))
    return Listing(
        NAME,
        f"{base}-{quote}".upper(),
        product["id"],
        base,
        quote,
        product["status"],
        tick_size=number(product.get("quote_increment")),
        lot_size=number(product.get("base_increment")),
        min_notional=number(product.get("min_market_funds")),
    )


def _prices(received: Received) -> list[LastPrice]:
    """The close (fifth field) of the newest of the hourly bars `[time, low, high, open, close]` of each product."""
    if not isinstance(received.parsed, dict) or not received.parsed:
        raise Malformed("the spark lines should be a JSON object that is not empty")
    found = []
    for product, bars in received.parsed.items():
        if not isinstance(bars, list) or not all(isinstance(bar, list) and len(bar) >= 5 for bar in bars):
            raise Malformed("every spark line should be a list of bars of 5 fields")
        newest = max(bars, key=lambda bar: bar[0] if type(bar[0]) is int else 0, default=None)
        found.append(LastPrice(product, None if newest is None else number(newest[4])))
    return found


def _server_time(received: Received) -> int:
    epoch = number(field(received.parsed, "epoch"))
    if epoch is None or epoch > 2**40:
        raise Malformed("epoch should be a positive number of seconds")
    return round(epoch * 1000)


def _error_words(parsed: Any) -> str | None:
    message = parsed.get("message") if isinstance(parsed, dict) else None
    return message if isinstance(message, str) and message else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url


COINBASE = Venue(
    name=NAME,
    base_url="https://api.exchange.coinbase.com",
    api_path="",
    wire=Wire(
        "coinbaseexchange",
        _place,
        ErrorRules(
            _error_words,
            rate_limited=re.compile(r"rate limit exceeded", re.IGNORECASE),
            unknown_symbol=re.compile(r"^NotFound|product not found", re.IGNORECASE),
        ),
    ),
    weight_per_minute=600,
    codes={
        Timeframe.M1: 60,
        Timeframe.M5: 300,
        Timeframe.M15: 900,
        Timeframe.H1: 3600,
        Timeframe.D1: 86400,
    },
    pages=Candles(_call, lambda parsed, _: parsed, _FORM, 300).pages,
    server_time=Question(_TIME, {}, _server_time),
    listings=_listings,
    prices=Question(_SPARK_LINES, {}, _prices),
    active=frozenset({"online"}),
    page_bars=300,
    pace_s=0.1,
)
