"""What venues charge whoever has no discount, for the shells to choose a fee from, and what is said of the fees of a backtest.
The engine itself is only told a rate."""

from __future__ import annotations

from typing import NamedTuple

from cryptai_pipelines.market.errors import BadArgument


class VenueFees(NamedTuple):
    """Shares of the notional: of an order that rested (maker) and of one that met a resting one (taker)."""

    maker: float
    taker: float


VENUE_FEES: dict[str, VenueFees] = {
    "binance": VenueFees(0.001, 0.001),
    "binanceusdm": VenueFees(0.0002, 0.0005),
    "bitfinex": VenueFees(0.001, 0.002),
    "bybit": VenueFees(0.001, 0.001),
    "coinbase": VenueFees(0.006, 0.012),
    "gate": VenueFees(0.002, 0.002),
    "kraken": VenueFees(0.0016, 0.0026),
    "kucoin": VenueFees(0.001, 0.001),
    "okx": VenueFees(0.001, 0.0015),
}
"""By the names of `sources`. As ccxt tells them without an account; bybit's, of which ccxt tells those of its contracts, as its
fee table for spot has them. Venues change them, and charge by volume and country: what your account is charged is better."""


def fees_of(venue: str) -> VenueFees:
    """The fees of a venue; `BadArgument` names the known ones."""
    if venue not in VENUE_FEES:
        raise BadArgument(f"fees of venue {venue!r} are not known; accepted: {', '.join(VENUE_FEES)}")
    return VENUE_FEES[venue]


def told_fees(venue: str, taker: float, maker: float | None = None) -> str:
    """The fees of a backtest in words, with where they are from. maker: None for that of takers."""
    used = VenueFees(taker if maker is None else maker, taker)
    rates = f"{used.taker:.4%} taker, {used.maker:.4%} maker"
    if venue not in VENUE_FEES:
        return f"{rates}; what {venue} charges is not known"
    if used == VENUE_FEES[venue]:
        return f"{rates}; what {venue} charges without a discount"
    charged = VENUE_FEES[venue]
    return f"{rates}; chosen, {venue} charges {charged.taker:.4%} and {charged.maker:.4%} without a discount"
