"""Kraken: the newest 720 committed bars and the one that is forming, whatever is asked; older ones cannot be had by REST.

Intervals without trades are given flat. Bitcoin is `XBT` and Dogecoin `XDG` there, and a pair has a name of its own, such as
`XXBTZUSD`, under which it is answered whatever alias was asked for. Weeks begin on Thursday. Errors come with status 200.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import EVER, SECONDS, candle_columns, layout
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Received, Wire
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.listing_fields import (
    CurrencyCode,
    LastPrice,
    decimals,
    entries,
    field,
    number,
    server_time,
    well_formed,
)
from cryptai_pipelines.sources.pagination import Answer
from cryptai_pipelines.sources.tail_pages import tail_pages
from cryptai_pipelines.sources.venue import Question, SeriesAtVenue, Venue
from cryptai_pipelines.sources.venue_errors import ErrorRules

NAME = "kraken"
KEPT_BARS = 720

_TIME = Endpoint("Time", "publicGetTime", 1)
_PAIRS = Endpoint("AssetPairs", "publicGetAssetPairs", 1)
_OHLC = Endpoint("OHLC", "publicGetOHLC", 1)
_TICKER = Endpoint("Ticker", "publicGetTicker", 1)
# The sixth field is the volume-weighted price; quote volume is not reported.
_FORM = layout("ts open high low close - volume trades", SECONDS, text_time=False)


def _pages(client: CcxtClient, series: SeriesAtVenue, within: Interval) -> Iterator[Page]:
    code = series.codes[series.timeframe]

    def bars_from(start_ms: int) -> Answer:
        # `since` is exclusive.
        since = max(0, series.timeframe.ceil(start_ms) // 1000 - 1)
        asked = {"pair": series.symbol, "interval": code, "since": since}
        return client.ask(_OHLC, asked, lambda received: _answer(received, series), series.symbol)

    return tail_pages(bars_from, series.timeframe, within)


def _answer(received: Received, series: SeriesAtVenue) -> Answer:
    rows = field(received.parsed, "result", series.symbol)
    columns = candle_columns(rows, _FORM, series.timeframe, EVER)
    _check_last(columns, field(received.parsed, "result", "last"))
    proof = hashlib.sha256(received.body).hexdigest()
    return Answer(columns, len(columns["ts"]) >= KEPT_BARS, received.url, proof, received.fetched_at_ms)


def _check_last(columns: Columns, last: Any) -> None:
    """`last` names the last committed bar, the one before the bar that is forming; so an answer cut at its end is seen."""
    if type(last) is not int:
        raise Malformed("last should be an integer")
    opens = columns["ts"]
    if len(opens) > 1 and int(opens[-2]) != last * SECONDS:
        raise Malformed(f"the answer ends with the bar {int(opens[-1])}, but says that the one before it is {last * SECONDS}")


def _listings(code: CurrencyCode) -> Question[list[Listing]]:
    def read(received: Received) -> list[Listing]:
        pairs = field(received.parsed, "result")
        if not isinstance(pairs, dict):
            raise Malformed("the asset pairs should be a JSON object")
        named = [{**pair, "id": name} for name, pair in pairs.items() if isinstance(pair, dict)]
        entries(named, "asset pairs", ("altname",))
        return well_formed((_listing(pair, code) for pair in named if "/" in str(pair.get("wsname"))), NAME)

    return Question(_PAIRS, {}, read)


def _listing(pair: dict[str, Any], code: CurrencyCode) -> Listing:
    base, _, quote = (part for part in str(pair["wsname"]).partition("/"))
    base, quote = code(base), code(quote)
    return Listing(
        NAME,
        f"{base}-{quote}".upper(),
        pair["id"],
        base,
        quote,
        str(pair.get("status", "online")),
        tick_size=number(pair.get("tick_size")) or decimals(pair.get("pair_decimals")),
        lot_size=decimals(pair.get("lot_decimals")),
        min_notional=number(pair.get("costmin")),
    )


def _prices(received: Received) -> list[LastPrice]:
    tickers = field(received.parsed, "result")
    if not isinstance(tickers, dict) or not tickers:
        raise Malformed("the tickers should be a JSON object that is not empty")
    return [LastPrice(pair, number(field(ticker, "c", 0))) for pair, ticker in tickers.items()]


def _error_words(parsed: Any) -> str | None:
    """Kraken's error is a list of texts, empty when there is none."""
    errors = parsed.get("error") if isinstance(parsed, dict) else None
    return " ".join(map(str, errors)) if isinstance(errors, list) and errors else None


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url.removesuffix("/0/public")


KRAKEN = Venue(
    name=NAME,
    base_url="https://api.kraken.com",
    api_path="/0/public",
    wire=Wire(
        "kraken",
        _place,
        ErrorRules(
            _error_words,
            transient=re.compile(r"EService:|EDatabase:|EGeneral:Internal error"),
            rate_limited=re.compile(r"Rate limit exceeded|Too many requests|Temporary lockout"),
            unknown_symbol=re.compile(r"EQuery:(Unknown|Invalid) asset"),
        ),
    ),
    weight_per_minute=60,
    codes={
        Timeframe.M1: 1,
        Timeframe.M5: 5,
        Timeframe.M15: 15,
        Timeframe.M30: 30,
        Timeframe.H1: 60,
        Timeframe.H4: 240,
        Timeframe.D1: 1440,
    },
    pages=_pages,
    server_time=Question(_TIME, {}, lambda received: server_time(field(received.parsed, "result", "unixtime"), SECONDS)),
    listings=_listings,
    prices=Question(_TICKER, {}, _prices),
    active=frozenset({"online"}),
    page_bars=KEPT_BARS,
    history_bars=KEPT_BARS,
    own_week="Thursday",
    reported=("trades",),
    empty_bars="flat",
    pace_s=1.2,
)
