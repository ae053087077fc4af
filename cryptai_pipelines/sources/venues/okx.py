"""OKX spot (v5): at most 300 candles in a window, newest first; the newest 1440 bars at one endpoint, older ones at another.

Days begin at midnight of Hong Kong unless the code of the timeframe ends with `utc`. Errors come with a `code` other than 0.
"""

from __future__ import annotations

import re
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import MILLISECONDS, layout
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

NAME = "okx"

_TIME = Endpoint("public/time", "publicGetPublicTime", 1)
_INSTRUMENTS = Endpoint("public/instruments", "publicGetPublicInstruments", 1)
_CANDLES = Endpoint("market/candles", "publicGetMarketCandles", 1)
_HISTORY = Endpoint("market/history-candles", "publicGetMarketHistoryCandles", 1)
_TICKERS = Endpoint("market/tickers", "publicGetMarketTickers", 1)
_SPOT = {"instType": "SPOT"}
_PAGE_ROWS = 300
_RECENT_BARS = 1430
# Of spot, the sixth field is in the base currency; the eighth is in the quote currency of every kind of instrument.
_FORM = layout("ts open high low close volume - quote_volume -", MILLISECONDS, text_time=True)


def _call(window: Window) -> tuple[Endpoint, Parameters]:
    recent = window.first_ms > window.now_ms - _RECENT_BARS * window.timeframe.ms
    # `after` wants older and `before` newer candles than the time given, and both leave that time out.
    times = {"after": window.last_ms + 1, "before": window.first_ms - 1}
    asked = {"instId": window.symbol, "bar": window.code, **times, "limit": _PAGE_ROWS}
    return (_CANDLES if recent else _HISTORY), asked


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        found = entries(field(received.parsed, "data"), "instruments", ("instId", "state", "baseCcy", "quoteCcy"))
        return well_formed((_listing(each, code) for each in found), NAME)

    return Question(_INSTRUMENTS, _SPOT, read)


def _listing(instrument: dict[str, Any], code: CurrencyCode) -> Listing:
    base, quote = code(instrument["baseCcy"]), code(instrument["quoteCcy"])
    return Listing(
        NAME,
        f"{base}-{quote}".upper(),
        instrument["instId"],
        base,
        quote,
        instrument["state"],
        tick_size=number(instrument.get("tickSz")),
        lot_size=number(instrument.get("lotSz")),
        listed_at_ms=epoch_ms(instrument.get("listTime")),
    )


def _prices(received: Received) -> list[LastPrice]:
    tickers = entries(field(received.parsed, "data"), "tickers", ("instId",))
    return [LastPrice(each["instId"], number(each.get("last")), epoch_ms(each.get("ts"))) for each in tickers]


def _error_words(parsed: Any) -> str | None:
    code = parsed.get("code") if isinstance(parsed, dict) else None
    return f"{code} {parsed.get('msg', '')}" if type(code) in (int, str) and str(code) != "0" else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["rest"] = api_url.removesuffix("/api/v5")


OKX = Venue(
    name=NAME,
    base_url="https://www.okx.com",
    api_path="/api/v5",
    wire=Wire(
        "okx",
        _place,
        ErrorRules(
            _error_words,
            transient=re.compile(r"^(50001|50004|50005|50013|50026) "),
            rate_limited=re.compile(r"^(50011|50061) "),
            unknown_symbol=re.compile(r"^(51001|51015) "),
        ),
    ),
    weight_per_minute=600,
    codes={
        Timeframe.M1: "1m",
        Timeframe.M5: "5m",
        Timeframe.M15: "15m",
        Timeframe.M30: "30m",
        Timeframe.H1: "1H",
        Timeframe.H4: "4H",
        Timeframe.D1: "1Dutc",
    },
    pages=Candles(_call, lambda parsed, _: field(parsed, "data"), _FORM, _PAGE_ROWS).pages,
    server_time=Question(_TIME, {}, lambda received: server_time(field(received.parsed, "data", 0, "ts"))),
    listings=_listings,
    prices=Question(_TICKERS, _SPOT, _prices),
    active=frozenset({"live"}),
    page_bars=_PAGE_ROWS,
    reported=("quote_volume",),
    empty_bars="flat",
    pace_s=0.1,
)
