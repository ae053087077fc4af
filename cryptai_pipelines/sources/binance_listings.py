"""Binance's exchangeInfo, strictly: from parsed JSON to listings and the weight limit. Fetching it is not done here."""

from __future__ import annotations

import logging
import math
from typing import Any

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.listing_fields import epoch_ms

logger = logging.getLogger(__name__)

_NAMES = ("symbol", "status", "baseAsset", "quoteAsset")
_TRADES = "TRADING"
# The date, in the year 2100, that stands where a perpetual contract has no end.
_NEVER_MS = 4_133_404_800_000


def listings(parsed: Any, venue: str, simulated: bool, contract: str | None = None) -> list[Listing]:
    """Listings of a parsed exchangeInfo, in its order; `simulated` marks all of them, the key `simulated` marks one.
    `contract`: of a market of contracts, only those of this type.

    Symbols whose slug is not well-formed, or whose venue symbol is not base and quote joined, are left out and counted in the
    log. `Malformed` for anything but an object with a non-empty list of symbols that have a name, a status, base and quote,
    and when none of them is a `contract`.
    """
    entries = _entries(parsed)
    if contract is not None:
        entries = [entry for entry in entries if entry.get("contractType") == contract]
        if not entries:
            raise Malformed(f"exchangeInfo should list contracts of the type {contract}, and lists none")
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
        # Spot and the futures have another word for it.
        min_notional=_filter_value(entry, ("NOTIONAL", "MIN_NOTIONAL"), "minNotional", "notional"),
        listed_at_ms=epoch_ms(entry.get("onboardDate")),
        delisted_at_ms=_ended_at(entry),
        simulated=simulated or entry.get("simulated") is True,
    )


def _ended_at(entry: dict[str, Any]) -> int | None:
    """When a contract was delivered; None while it trades, although its end may be announced."""
    ended = epoch_ms(entry.get("deliveryDate"))
    return None if ended == _NEVER_MS or entry["status"] == _TRADES else ended


def _filter_value(entry: dict[str, Any], kinds: tuple[str, ...], *names: str) -> float | None:
    """A filter's value under the first of `names` that it has; None when it is absent, unreadable, or 0, by which Binance says
    that the filter is off."""
    filters = entry.get("filters")
    for each in filters if isinstance(filters, list) else []:
        if isinstance(each, dict) and each.get("filterType") in kinds:
            try:
                value = float(next((each[name] for name in names if name in each), None))  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if math.isfinite(value) and value > 0:
                return value
    return None
