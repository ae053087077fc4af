"""Binance's exchangeInfo, strictly: from parsed JSON to listings and the weight limit. Fetching it is not done here."""

from __future__ import annotations

import logging
import math
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.sources.errors import Malformed

logger = logging.getLogger(__name__)

_NAMES = ("symbol", "status", "baseAsset", "quoteAsset")


def listings(parsed: Any, venue: str, simulated: bool) -> list[Listing]:
    """Listings of a parsed exchangeInfo, in its order; `simulated` marks all of them, the key `simulated` marks one.

    Symbols whose slug is not well-formed, or whose venue symbol is not base and quote joined, are left out and counted in the
    log. `Malformed` for anything but an object with a non-empty list of symbols that have a name, a status, base and quote.
    """
    entries = _entries(parsed)
    kept = [_listing(entry, venue, simulated) for entry in entries if _addressable(entry)]
    if left_out := len(entries) - len(kept):
        logger.info("%s: %d of %d symbols have no well-formed slug and are left out", venue, left_out, len(entries))
    return kept


def weight_limit(parsed: Any) -> int | None:
    """Request weight per minute that a parsed exchangeInfo grants; None when it does not say."""
    limits = parsed.get("rateLimits") if isinstance(parsed, dict) else None
    for limit in limits if isinstance(limits, list) else []:
        if isinstance(limit, dict) and limit.get("rateLimitType") == "REQUEST_WEIGHT" and limit.get("interval") == "MINUTE":
            weight, minutes = limit.get("limit"), limit.get("intervalNum", 1)
            if type(weight) is int and type(minutes) is int and weight > 0 and minutes > 0:
                return weight // minutes or 1
    return None


def _entries(parsed: Any) -> list[dict[str, Any]]:
    entries = parsed.get("symbols") if isinstance(parsed, dict) else None
    if not isinstance(entries, list) or not entries:
        raise Malformed("exchangeInfo should be a JSON object with a non-empty list of symbols")
    for entry in entries:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in _NAMES):
            raise Malformed("every symbol of exchangeInfo should have the texts symbol, status, baseAsset and quoteAsset")
    return entries


def _slug(entry: dict[str, Any]) -> str:
    return f"{entry['baseAsset']}-{entry['quoteAsset']}".upper()


def _addressable(entry: dict[str, Any]) -> bool:
    return is_slug(_slug(entry)) and entry["symbol"] == _slug(entry).replace("-", "")


def _listing(entry: dict[str, Any], venue: str, simulated: bool) -> Listing:
    return Listing(
        venue=venue,
        symbol=_slug(entry),
        venue_symbol=entry["symbol"],
        base=entry["baseAsset"],
        quote=entry["quoteAsset"],
        status=entry["status"],
        tick_size=_filter_value(entry, ("PRICE_FILTER",), "tickSize"),
        lot_size=_filter_value(entry, ("LOT_SIZE",), "stepSize"),
        min_notional=_filter_value(entry, ("NOTIONAL", "MIN_NOTIONAL"), "minNotional"),
        simulated=simulated or entry.get("simulated") is True,
    )


def _filter_value(entry: dict[str, Any], kinds: tuple[str, ...], name: str) -> float | None:
    """A filter's value; None when it is absent, unreadable, or 0, by which Binance says that the filter is off."""
    filters = entry.get("filters")
    for each in filters if isinstance(filters, list) else []:
        if isinstance(each, dict) and each.get("filterType") in kinds:
            try:
                value = float(each.get(name))  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if math.isfinite(value) and value > 0:
                return value
    return None
