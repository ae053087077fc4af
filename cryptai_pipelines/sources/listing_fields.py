"""Reading listings and prices of any venue strictly. What the fields of one venue are called stands in that venue's module.

As with rows: a broken structure makes the answer `Malformed`, an unreadable number alone is None.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.sources.errors import Malformed

logger = logging.getLogger(__name__)

CurrencyCode = Callable[[str], str]
"""A venue's code of a currency to the common one."""


class LastPrice(NamedTuple):
    """A price under the venue's own symbol; `traded_at_ms` is the venue's time of it, None when it gives none."""

    venue_symbol: str
    price: float | None
    traded_at_ms: int | None = None


def field(parsed: Any, *names: str | int) -> Any:
    """What stands under `names` in nested JSON objects and lists; `Malformed` when one of them is missing."""
    for name in names:
        if isinstance(parsed, dict) and isinstance(name, str) and name in parsed:
            parsed = parsed[name]
        elif isinstance(parsed, list) and isinstance(name, int) and len(parsed) > name:
            parsed = parsed[name]
        else:
            raise Malformed(f"the answer has no {'.'.join(map(str, names))}")
    return parsed


def entries(parsed: Any, what: str, texts: Sequence[str]) -> list[dict[str, Any]]:
    """A non-empty list of JSON objects that all have the texts named; `Malformed` otherwise, naming `what`."""
    if not isinstance(parsed, list) or not parsed:
        raise Malformed(f"{what} should be a non-empty JSON list")
    for each in parsed:
        if not isinstance(each, dict) or not all(isinstance(each.get(name), str) for name in texts):
            raise Malformed(f"every one of {what} should be an object with the texts {', '.join(texts)}")
    return parsed


def number(value: Any) -> float | None:
    """A finite number above 0 from a JSON number or text; None for anything else."""
    try:
        found = float(value) if type(value) in (str, int, float) else math.nan
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) and found > 0 else None


def decimals(value: Any) -> float | None:
    """The step of a price or amount with so many decimals; None when `value` is not a small integer."""
    return float(f"1e-{value}") if type(value) is int and 0 <= value <= 30 else None


def epoch_ms(value: Any, unit_ms: int = 1) -> int | None:
    """Epoch milliseconds from an integer, or a text of one, in units of `unit_ms`; None for anything else, and for 0."""
    if type(value) is str and value.isascii() and value.isdigit() and len(value) < 19:
        value = int(value)
    return value * unit_ms if type(value) is int and 0 < value < 2**62 // unit_ms else None


def server_time(value: Any, unit_ms: int = 1) -> int:
    """The venue's time as `epoch_ms` reads it; `Malformed` when it cannot."""
    found = epoch_ms(value, unit_ms)
    if found is None:
        raise Malformed(f"the venue's time should be a positive integer, not {str(value)[:40]!r}")
    return found


def well_formed(found: Iterable[Listing], venue: str) -> list[Listing]:
    """Listings with a well-formed slug, the first of each slug, in order; how many were left out is logged."""
    kept: dict[str, Listing] = {}
    count = 0
    for listing in found:
        count += 1
        if is_slug(listing.symbol):
            kept.setdefault(listing.symbol, listing)
    if left_out := count - len(kept):
        logger.info("%s: %d of %d symbols have no slug of their own and are left out", venue, left_out, count)
    return list(kept.values())
