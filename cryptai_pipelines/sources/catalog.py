"""Sources by the name of their exchange. A new venue is one row here and one module beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.limit_ledger import LedgerOf
from cryptai_pipelines.sources.source import BarSource


class _Connection(NamedTuple):
    """What the settings say about reaching venues; each row of the table takes what it needs."""

    binance_url: str
    request_timeout_s: float
    clock: Clock
    ledger_of: LedgerOf | None


_OPENERS: dict[str, Callable[[_Connection], BarSource]] = {
    "binance": lambda connection: open_binance(
        connection.binance_url, connection.request_timeout_s, connection.clock, ledger_of=connection.ledger_of
    ),
}

EXCHANGES: tuple[str, ...] = tuple(_OPENERS)
"""Accepted names."""


def open_source(
    exchange: str, *, binance_url: str, request_timeout_s: float, clock: Clock, ledger_of: LedgerOf | None = None
) -> BarSource:
    """The source of `exchange`; nothing is called yet. `BadInput` for an unknown name lists the accepted ones.

    `ledger_of` says where a venue's weight and silences are counted; None counts them for this process alone.
    """
    opener = _OPENERS.get(exchange.strip().lower())
    if opener is None:
        raise BadInput(f"exchange {exchange!r} is not known; accepted: {' '.join(EXCHANGES)}")
    return opener(_Connection(binance_url, request_timeout_s, clock, ledger_of))
