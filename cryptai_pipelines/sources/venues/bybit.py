"""Bybit spot (v5): at most 1000 candles in a window, newest first. Errors come with status 200 and a `retCode` other than 0."""

from __future__ import annotations

import re
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import MILLISECONDS, layout
from cryptai_pipelines.sources.ccxt_client import Endpoint, Parameters, Received, Wire
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.listing_fields import (
    CurrencyCode,
    LastPrice,
    entries,
    field,
    number,
    server_time,
    well_formed,
)
from cryptai_pipelines.sources.venue import Question, Venue
from cryptai_pipelines.sources.venue_errors import ErrorRules
from cryptai_pipelines.sources.venues.windowed import Candles, Window

NAME = "bybit"

_TIME = Endpoint("v5/market/time", "publicGetV5MarketTime", 1)
_INSTRUMENTS = Endpoint("v5/market/instruments-info", "publicGetV5MarketInstrumentsInfo", 1)
_KLINE = Endpoint("v5/market/kline", "publicGetV5MarketKline", 1)
_TICKERS = Endpoint("v5/market/tickers", "publicGetV5MarketTickers", 1)
_SPOT = {"category": "spot"}
_PAGE_ROWS = 1000
# Of spot, the sixth field is in the base currency and the seventh in the quote currency.
_FORM = layout("ts open high low close volume quote_volume", MILLISECONDS, text_time=True)


def _call(window: Window) -> tuple[Endpoint, Parameters]:
    times = {"start": window.first_ms, "end": window.last_ms + 1}
    return _KLINE, {**_SPOT, "symbol": window.symbol, "interval": window.code, **times, "limit": _PAGE_ROWS}


def _rows(parsed: Any, window: Window) -> Any:
    if (symbol := field(parsed, "result", "symbol")) != window.symbol:
        raise Malformed(f"{window.symbol} was asked for, {str(symbol)[:40]} came")
    return field(parsed, "result", "list")


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        texts = ("symbol", "status", "baseCoin", "quoteCoin")
        found = entries(field(received.parsed, "result", "list"), "instruments", texts)
        return well_formed((_listing(each, code) for each in found), NAME)

    return Question(_INSTRUMENTS, _SPOT, read)


def _listing(instrument: dict[str, Any], code: CurrencyCode) -> Listing:
    base, quote = code(instrument["baseCoin"]), code(instrument["quoteCoin"])
    lots, prices = (part if isinstance(part, dict) else {} for part in map(instrument.get, ("lotSizeFilter", "priceFilter")))
    return Listing(
        NAME,
        f"{base}-{quote}".upper(),
        instrument["symbol"],
        base,
        quote,
        instrument["status"],
        tick_size=number(prices.get("tickSize")),
        lot_size=number(lots.get("basePrecision")),
        min_notional=number(lots.get("minOrderAmt")),
    )


def _prices(received: Received) -> list[LastPrice]:
    tickers = entries(field(received.parsed, "result", "list"), "tickers", ("symbol",))
    return [LastPrice(each["symbol"], number(each.get("lastPrice"))) for each in tickers]


def _error_words(parsed: Any) -> str | None:
    code = parsed.get("retCode") if isinstance(parsed, dict) else None
    return f"{code} {parsed.get('retMsg', '')}" if type(code) in (int, str) and str(code) != "0" else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url


BYBIT = Venue(
    name=NAME,
    base_url="https://api.bybit.com",
    api_path="",
    wire=Wire(
        "bybit",
        _place,
        ErrorRules(
            _error_words,
            transient=re.compile(r"^(10000|10016|170007|170032) "),
            rate_limited=re.compile(r"^(10006|10018|170222) "),
            unknown_symbol=re.compile(r"Not supported symbols|symbol invalid|params error: symbol", re.IGNORECASE),
        ),
    ),
    weight_per_minute=3600,
    codes={
        Timeframe.M1: "1",
        Timeframe.M5: "5",
        Timeframe.M15: "15",
        Timeframe.M30: "30",
        Timeframe.H1: "60",
        Timeframe.H4: "240",
        Timeframe.D1: "D",
        Timeframe.W1: "W",
    },
    pages=Candles(_call, _rows, _FORM, _PAGE_ROWS).pages,
    server_time=Question(_TIME, {}, lambda received: server_time(field(received.parsed, "time"))),
    listings=_listings,
    prices=Question(_TICKERS, _SPOT, _prices),
    active=frozenset({"Trading"}),
    page_bars=_PAGE_ROWS,
    own_week="Monday",
    reported=("quote_volume",),
    empty_bars="flat",
)
