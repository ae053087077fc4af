"""Sources by the name of their exchange. A new venue is one row here and one module below `venues`."""

from __future__ import annotations

from collections.abc import Mapping

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.sources.ccxt_binance import BINANCE
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.limit_ledger import LedgerOf
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.tradingview_udf import UDF_PREFIX, open_udf
from cryptai_pipelines.sources.venue import Venue
from cryptai_pipelines.sources.venues.binanceusdm import BINANCE_USDM
from cryptai_pipelines.sources.venues.bitfinex import BITFINEX
from cryptai_pipelines.sources.venues.bybit import BYBIT
from cryptai_pipelines.sources.venues.coinbase import COINBASE
from cryptai_pipelines.sources.venues.gate import GATE
from cryptai_pipelines.sources.venues.kraken import KRAKEN
from cryptai_pipelines.sources.venues.kucoin import KUCOIN
from cryptai_pipelines.sources.venues.okx import OKX

VENUES: dict[str, Venue] = {
    venue.name: venue for venue in (BINANCE, KRAKEN, COINBASE, BYBIT, OKX, KUCOIN, BITFINEX, GATE, BINANCE_USDM)
}

EXCHANGES: tuple[str, ...] = tuple(VENUES)
"""Accepted names."""


def open_source(
    exchange: str,
    *,
    base_urls: Mapping[str, str],
    request_timeout_s: float,
    clock: Clock,
    ledger_of: LedgerOf | None = None,
) -> BarSource:
    """The source of `exchange`; nothing is called yet. `BadInput` for an unknown name lists the accepted ones.

    `base_urls` holds the root URL of venues that are not called where they are; `ledger_of` says where a venue's weight
    and silences are counted; None counts them for this process alone.
    """
    name = exchange.strip().lower()
    if name.startswith(UDF_PREFIX):
        return open_udf(name, base_urls.get("udf"), request_timeout_s, clock)
    return open_ccxt(known_venue(name), base_urls.get(name), request_timeout_s, clock, ledger_of=ledger_of)


def known_venue(exchange: str) -> Venue:
    """The venue of that name; `BadInput` for an unknown one."""
    venue = VENUES.get(exchange.strip().lower())
    if venue is None:
        raise BadInput(f"exchange {exchange!r} is not known; accepted: {' '.join(EXCHANGES)} {UDF_PREFIX}NAME")
    return venue
