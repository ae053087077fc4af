"""Binance's futures margined in dollars (USD-M): its perpetual contracts. What is not said here is as on spot.

Beside them it lists contracts that are delivered on a date, some under names of the same currencies; those are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.sources.binance_listings import listings
from cryptai_pipelines.sources.binance_rest import kline_pages, last_prices, server_time
from cryptai_pipelines.sources.ccxt_binance import BINANCE
from cryptai_pipelines.sources.ccxt_client import Endpoint
from cryptai_pipelines.sources.listing_fields import CurrencyCode
from cryptai_pipelines.sources.venue import Question

NAME = "binanceusdm"

# Up to 1,500 rows are given, but those above 1,000 double the weight.
_PAGE_ROWS = 1000
_TIME = Endpoint("time", "fapiPublicGetTime", 1)
_EXCHANGE_INFO = Endpoint("exchangeInfo", "fapiPublicGetExchangeInfo", 1)
_KLINES = Endpoint("klines", "fapiPublicGetKlines", 5)
_ONE_KLINE = Endpoint("klines", "fapiPublicGetKlines", 1)
_PRICES = Endpoint("ticker/price", "fapiPublicGetTickerPrice", 2)


def _listings(_: CurrencyCode) -> Question[list[Listing]]:
    return Question(_EXCHANGE_INFO, {}, lambda received: listings(received.parsed, NAME, simulated=False, contract="PERPETUAL"))


def _place(client: Any, api_url: str) -> None:
    client.urls["api"]["fapiPublic"] = api_url


BINANCE_USDM = replace(
    BINANCE,
    name=NAME,
    base_url="https://fapi.binance.com",
    api_path="/fapi/v1",
    wire=replace(BINANCE.wire, ccxt_id="binanceusdm", place=_place, options={"fetchMarkets": {"types": ["linear"]}}),
    weight_per_minute=2400,
    pages=kline_pages(_KLINES, _ONE_KLINE, _PAGE_ROWS),
    server_time=Question(_TIME, {}, server_time),
    listings=_listings,
    prices=Question(_PRICES, {}, last_prices),
    page_bars=_PAGE_ROWS,
    archive_market="um",
)
