"""Binance's public USD-M futures endpoints over the futures of a replay venue: what they weigh and answer unlike those of spot.

Left out on purpose: contracts that end on a date, mark and index prices, funding, the order book and trades.
"""

from __future__ import annotations

from typing import Any

from cryptai_pipelines.replay import parameters as read
from cryptai_pipelines.replay.endpoints import KLINES_DEFAULT, Endpoint, Parameters, Request, klines, server_time, weighs
from cryptai_pipelines.replay.exchange_info import MIN_NOTIONAL, rate_limits, steps
from cryptai_pipelines.replay.ticker import last_trade
from cryptai_pipelines.replay.venue import Instrument, ReplayVenue, Window
from cryptai_pipelines.replay.wire import decimal_text, to_json

KLINES_MOST = 1500

# The date that stands where a contract has no end.
_NEVER_MS = 4_133_404_800_000


def _klines(request: Request) -> bytes:
    return klines(request, KLINES_MOST)


def _klines_weight(parameters: Parameters) -> int:
    limit = int(parameters.get("limit", KLINES_DEFAULT))
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _exchange_info(request: Request) -> bytes:
    venue = request.venue
    document: dict[str, Any] = {
        "timezone": "UTC",
        "serverTime": request.now_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": rate_limits(request.limits),
        "exchangeFilters": [],
        "assets": [],
        "symbols": [_contract(venue, one, request.now_ms) for one in venue.instruments.values()],
    }
    return to_json(document | ({"simulated": True} if venue.simulated else {}))


def _contract(venue: ReplayVenue, instrument: Instrument, now_ms: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "symbol": instrument.symbol,
        "pair": instrument.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER_MS,
        "onboardDate": _first_open(venue, instrument.symbol, now_ms),
        "status": "TRADING",
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": instrument.quote,
        "pricePrecision": instrument.tick_places,
        "quantityPrecision": instrument.lot_places,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "filters": [*steps(instrument), {"filterType": "MIN_NOTIONAL", "notional": decimal_text(MIN_NOTIONAL)}],
        "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }
    return fields | ({"simulated": True} if venue.simulated else {})


def _first_open(venue: ReplayVenue, symbol: str, now_ms: int) -> int:
    """Open time of the first bar of the longest timeframe up to a day; 0 where there is none."""
    for timeframe in venue.ticker_timeframes(symbol)[-1:]:
        opens = venue.bars(symbol, timeframe, Window(0, None, 1), now_ms)["ts"]
        return int(opens[0]) if len(opens) else 0
    return 0


def _ticker_price(request: Request) -> bytes:
    asked, venue = request.parameters, request.venue
    symbols = read.asked_symbols(asked, venue.instruments)
    prices = []
    for symbol in venue.instruments if symbols is None else symbols:
        price, at_ms = last_trade(venue, symbol, request.now_ms)
        prices.append({"symbol": symbol, "price": price, "time": at_ms})
    return to_json(prices[0] if "symbol" in asked else prices)


def _price_weight(parameters: Parameters) -> int:
    return 1 if "symbol" in parameters else 2


FUTURES_ENDPOINTS: dict[str, Endpoint] = {
    "/fapi/v1/time": Endpoint((), weighs(1), server_time),
    "/fapi/v1/exchangeInfo": Endpoint((), weighs(1), _exchange_info),
    "/fapi/v1/klines": Endpoint(("symbol", "interval", "startTime", "endTime", "limit"), _klines_weight, _klines),
    "/fapi/v1/ticker/price": Endpoint(("symbol",), _price_weight, _ticker_price),
}
"""Every path that is served when the venue has futures."""
