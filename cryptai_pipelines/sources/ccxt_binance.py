"""Binance spot: its endpoints, what they weigh, and its limits. How its answers are read stands in `binance_rest`.

A bar without trades is given flat while the market is open, and is missing where the venue was down.
"""

from __future__ import annotations

from typing import Any

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.timeframe import TIMEFRAMES
from cryptai_pipelines.sources.binance_listings import listings
from cryptai_pipelines.sources.binance_rest import (
    ERRORS,
    USED_WEIGHT_HEADER,
    correct_limit,
    kline_pages,
    last_prices,
    server_time,
)
from cryptai_pipelines.sources.ccxt_client import Endpoint, Wire
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.listing_fields import CurrencyCode
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue import Question, Venue

NAME = "binance"
PAGE_ROWS = 1000
DEFAULT_WEIGHT_LIMIT = 6000
"""Weight per minute that Binance granted in 2026; exchangeInfo corrects it."""

_TIME = Endpoint("time", "publicGetTime", 1)
_EXCHANGE_INFO = Endpoint("exchangeInfo", "publicGetExchangeInfo", 20)
_KLINES = Endpoint("klines", "publicGetKlines", 2)
_PRICES = Endpoint("ticker/price", "publicGetTickerPrice", 4)


def _listings(_: CurrencyCode) -> Question[list[Listing]]:
    # Binance's own codes are the common ones for what it trades now; ccxt's table holds names of its past.
    return Question(_EXCHANGE_INFO, {}, lambda received: listings(received.parsed, NAME, simulated=False))


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["public"] = api_url


BINANCE = Venue(
    name=NAME,
    base_url="https://api.binance.com",
    api_path="/api/v3",
    wire=Wire("binance", _place, ERRORS, {"fetchMarkets": {"types": ["spot"]}}, USED_WEIGHT_HEADER),
    weight_per_minute=DEFAULT_WEIGHT_LIMIT,
    codes={timeframe: timeframe.code for timeframe in TIMEFRAMES},
    pages=kline_pages(_KLINES, _KLINES, PAGE_ROWS),
    server_time=Question(_TIME, {}, server_time),
    listings=_listings,
    prices=Question(_PRICES, {}, last_prices),
    active=frozenset({"TRADING"}),
    page_bars=PAGE_ROWS,
    own_week="Monday",
    reported=("quote_volume", "trades", "taker_buy_base", "taker_buy_quote"),
    empty_bars="flat",
    archive_market="spot",
    spelling=lambda slug: slug.replace("-", ""),
    on_listing=correct_limit,
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
