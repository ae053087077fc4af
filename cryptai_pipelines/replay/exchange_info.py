"""The answer of `exchangeInfo`: the venue's limits and its symbols with their filters, in Binance's fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.venue import UNIT, Instrument
from cryptai_pipelines.replay.wire import decimal_text

_ORDER_TYPES = ("LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT")
_LARGEST = 9_000_000 * UNIT
MIN_NOTIONAL = 5 * UNIT


def exchange_info(
    instruments: Sequence[Instrument], limits: Limits, now_ms: int, simulated: bool, permission_sets: bool
) -> dict[str, Any]:
    """The whole document. `simulated` adds the key `simulated` to it and to every symbol, which the real venue never sends."""
    document: dict[str, Any] = {
        "timezone": "UTC",
        "serverTime": now_ms,
        "rateLimits": rate_limits(limits),
        "exchangeFilters": [],
        "symbols": [_symbol(instrument, simulated, permission_sets) for instrument in instruments],
    }
    return document | ({"simulated": True} if simulated else {})


def rate_limits(limits: Limits) -> list[dict[str, Any]]:
    """The list of limits that an `exchangeInfo` begins with."""
    return [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limits.weight_per_minute}]


def steps(instrument: Instrument) -> list[dict[str, Any]]:
    """The filters that give the steps of prices and amounts, which are the same on every market."""
    tick, lot = UNIT // 10**instrument.tick_places, UNIT // 10**instrument.lot_places
    return [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": decimal_text(tick),
            "maxPrice": decimal_text(_LARGEST),
            "tickSize": decimal_text(tick),
        },
        {
            "filterType": "LOT_SIZE",
            "minQty": decimal_text(lot),
            "maxQty": decimal_text(_LARGEST),
            "stepSize": decimal_text(lot),
        },
    ]


def _symbol(instrument: Instrument, simulated: bool, permission_sets: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": list(_ORDER_TYPES),
        "icebergAllowed": True,
        "ocoAllowed": True,
        "otoAllowed": True,
        "opoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "amendAllowed": False,
        "pegInstructionsAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _filters(instrument),
        "permissions": [],
        "permissionSets": [["SPOT"]] if permission_sets else [],
        "defaultSelfTradePreventionMode": "NONE",
        "allowedSelfTradePreventionModes": ["NONE"],
    }
    return fields | ({"simulated": True} if simulated else {})


def _filters(instrument: Instrument) -> list[dict[str, Any]]:
    return [
        *steps(instrument),
        {
            "filterType": "NOTIONAL",
            "minNotional": decimal_text(MIN_NOTIONAL),
            "applyMinToMarket": True,
            "maxNotional": decimal_text(_LARGEST),
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
    ]
