"""Gate spot (v4): at most 1000 candles in a window, oldest first, and only the newest 10,000 of each timeframe.

A row begins with the time, the quote volume and the close. The venue's seven days begin with the epoch, on Thursday. Errors
have a `label`.
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
    decimals,
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

NAME = "gate"

_TIME = Endpoint("time", "publicSpotGetTime", 1)
_PAIRS = Endpoint("currency_pairs", "publicSpotGetCurrencyPairs", 1)
_CANDLES = Endpoint("candlesticks", "publicSpotGetCandlesticks", 1)
_TICKERS = Endpoint("tickers", "publicSpotGetTickers", 1)
# The last field, whether the candle is closed, was added later.
_FORM = layout("ts quote_volume close high low open volume -", SECONDS, text_time=True, optional=1)
# A little less than the 10,000 that are granted: time passes between the question and its answer.
_KEPT_BARS = 9_990


def _call(window: Window) -> tuple[Endpoint, Parameters]:
    times = {"from": window.first_ms // 1000, "to": window.last_ms // 1000}
    return _CANDLES, {"currency_pair": window.symbol, "interval": window.code, **times}


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        pairs = entries(received.parsed, "currency pairs", ("id", "base", "quote", "trade_status"))
        return well_formed((_listing(pair, code) for pair in pairs), NAME)

    return Question(_PAIRS, {}, read)


def _listing(pair: dict[str, Any], code: CurrencyCode) -> Listing:
    base, quote = code(pair["base"]), code(pair["quote"])
    return Listing(
        NAME,
        f"{base}-{quote}".upper(),
        pair["id"],
        base,
        quote,
        pair["trade_status"],
        tick_size=decimals(pair.get("precision")),
        lot_size=decimals(pair.get("amount_precision")),
        min_notional=number(pair.get("min_quote_amount")),
        listed_at_ms=epoch_ms(pair.get("buy_start"), SECONDS),
    )


def _prices(received: Received) -> list[LastPrice]:
    tickers = entries(received.parsed, "tickers", ("currency_pair",))
    return [LastPrice(each["currency_pair"], number(each.get("last"))) for each in tickers]


def _error_words(parsed: Any) -> str | None:
    label = parsed.get("label") if isinstance(parsed, dict) else None
    return f"{label} {parsed.get('message', '')}" if isinstance(label, str) else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"]["spot"] = api_url.removesuffix("/spot")


GATE = Venue(
    name=NAME,
    base_url="https://api.gateio.ws",
    api_path="/api/v4/spot",
    wire=Wire(
        "gate",
        _place,
        ErrorRules(
            _error_words,
            transient=re.compile(r"^(INTERNAL|SERVER_ERROR|TOO_BUSY) "),
            rate_limited=re.compile(r"^(TOO_MANY_REQUESTS|TOO_FAST) "),
            unknown_symbol=re.compile(r"^INVALID_CURRENCY(_PAIR)? "),
        ),
    ),
    # Granted are 200 in 10 seconds.
    weight_per_minute=600,
    codes={timeframe: timeframe.code for timeframe in Timeframe if timeframe is not Timeframe.W1},
    pages=Candles(_call, lambda parsed, _: parsed, _FORM, 1000, _KEPT_BARS).pages,
    server_time=Question(_TIME, {}, lambda received: server_time(field(received.parsed, "server_time"))),
    listings=_listings,
    prices=Question(_TICKERS, {"timezone": "utc0"}, _prices),
    active=frozenset({"tradable"}),
    page_bars=1000,
    history_bars=_KEPT_BARS,
    own_week="Thursday",
    reported=("quote_volume",),
    empty_bars="flat",
    pace_s=0.05,
)
