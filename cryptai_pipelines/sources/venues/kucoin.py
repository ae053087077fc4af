"""KuCoin spot: at most 1500 candles in a window, newest first, none for an interval without trades; the close stands before
the high and the low. Weeks begin on Thursday. Errors come with a `code` other than 200000.
"""

from __future__ import annotations

import re
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import SECONDS, layout
from cryptai_pipelines.sources.ccxt_client import Endpoint, Parameters, Received, Wire
from cryptai_pipelines.sources.listing_fields import (
    CurrencyCode,
    LastPrice,
    entries,
    epoch_ms,
    field,
    number,
    server_time,
    well_formed,
)
from cryptai_pipelines.sources.venue import Question, Venue
from cryptai_pipelines.sources.venue_errors import ErrorRules
from cryptai_pipelines.sources.venues.windowed import Candles, Window

NAME = "kucoin"

_TIME = Endpoint("v1/timestamp", "publicGetTimestamp", 3)
_SYMBOLS = Endpoint("v2/symbols", "publicGetSymbols", 4)
_CANDLES = Endpoint("v1/market/candles", "publicGetMarketCandles", 3)
_TICKERS = Endpoint("v1/market/allTickers", "publicGetMarketAllTickers", 15)
_FORM = layout("ts open close high low volume quote_volume", SECONDS, text_time=True)


def _call(window: Window) -> tuple[Endpoint, Parameters]:
    # Whether `endAt` is inclusive makes no difference with a second more.
    times = {"startAt": window.first_ms // 1000, "endAt": window.last_ms // 1000 + 1}
    return _CANDLES, {"symbol": window.symbol, "type": window.code, **times}


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        found = entries(field(received.parsed, "data"), "symbols", ("symbol", "baseCurrency", "quoteCurrency"))
        return well_formed((_listing(each, code) for each in found), NAME)

    return Question(_SYMBOLS, {}, read)


def _listing(entry: dict[str, Any], code: CurrencyCode) -> Listing:
    # The symbol keeps the name that a currency had when it was listed; the currency's own field is renamed with it.
    base, quote = code(entry["baseCurrency"]), code(entry["quoteCurrency"])
    return Listing(
        NAME,
        f"{base}-{quote}".upper(),
        entry["symbol"],
        base,
        quote,
        "enabled" if entry.get("enableTrading") is True else "disabled",
        tick_size=number(entry.get("priceIncrement")),
        lot_size=number(entry.get("baseIncrement")),
        min_notional=number(entry.get("minFunds")),
        listed_at_ms=epoch_ms(entry.get("tradingStartTime")),
    )


def _prices(received: Received) -> list[LastPrice]:
    tickers = entries(field(received.parsed, "data", "ticker"), "tickers", ("symbol",))
    return [LastPrice(each["symbol"], number(each.get("last"))) for each in tickers]


def _error_words(parsed: Any) -> str | None:
    code = parsed.get("code") if isinstance(parsed, dict) else None
    return f"{code} {parsed.get('msg', '')}" if type(code) in (int, str) and str(code) not in ("200000", "200") else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url.removesuffix("/api")


KUCOIN = Venue(
    name=NAME,
    base_url="https://api.kucoin.com",
    api_path="/api",
    wire=Wire(
        "kucoin",
        _place,
        ErrorRules(
            _error_words,
            transient=re.compile(r"^(500000|503|500) "),
            rate_limited=re.compile(r"^(429000|429) |access frequency"),
            unknown_symbol=re.compile(r"Unsupported trading pair|^900001 |symbol not exist", re.IGNORECASE),
        ),
    ),
    # Granted are 4000 in 30 seconds.
    weight_per_minute=2000,
    codes={
        Timeframe.M1: "1min",
        Timeframe.M5: "5min",
        Timeframe.M15: "15min",
        Timeframe.M30: "30min",
        Timeframe.H1: "1hour",
        Timeframe.H4: "4hour",
        Timeframe.D1: "1day",
    },
    pages=Candles(_call, lambda parsed, _: field(parsed, "data"), _FORM, 1500).pages,
    server_time=Question(_TIME, {}, lambda received: server_time(field(received.parsed, "data"))),
    listings=_listings,
    prices=Question(_TICKERS, {}, _prices),
    active=frozenset({"enabled"}),
    page_bars=1500,
    own_week="Thursday",
    reported=("quote_volume",),
)
