"""Symbols as slugs, and the series (symbol, timeframe) they form. How a venue spells a symbol is stored, not derived, but
for the one rule of Binance that a slug without its dash is the venue symbol."""

from __future__ import annotations

import re
from typing import NamedTuple

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe, parse_timeframe

# Binance lists symbols of any alphabet; a slug stays within what is safe as a partition key and in a file name.
_SLUG = re.compile(r"[A-Z0-9]{1,20}-[A-Z0-9]{2,20}")


class Series(NamedTuple):
    """One symbol on one timeframe: the unit of coverage, locking and partitioning."""

    symbol: str
    timeframe: Timeframe

    @property
    def key(self) -> str:
        """The Dagster partition key, such as `BTC-USDT|1h`."""
        return f"{self.symbol}|{self.timeframe.code}"

    def __str__(self) -> str:
        return f"{self.symbol} {self.timeframe.code}"


def parse_symbol(text: str) -> str:
    """A slug `BASE-QUOTE` from `BTC-USDT`, `BTC/USDT` or lower case; `BadInput` otherwise."""
    slug = text.strip().upper().replace("/", "-")
    if not _SLUG.fullmatch(slug):
        raise BadInput(f"symbol {text!r} is not of the form BASE-QUOTE, such as BTC-USDT")
    return slug


def is_slug(text: str) -> bool:
    """Whether `text` is already a well-formed slug."""
    return bool(_SLUG.fullmatch(text))


def parse_series(key: str) -> Series:
    """The series of a partition key `SYMBOL|TIMEFRAME`; `BadInput` when either half is malformed."""
    symbol, separator, timeframe = key.partition("|")
    if not separator:
        raise BadInput(f"series {key!r} is not of the form SYMBOL|TIMEFRAME, such as BTC-USDT|1h")
    return Series(parse_symbol(symbol), parse_timeframe(timeframe))
