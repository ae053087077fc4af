"""What the server needs of a market, and the rule for which bars a klines request selects. Wire formats are in `wire`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns
from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe

UNIT = 10**8
"""Fixed-point units in 1: prices and amounts go over the wire with 8 decimals."""

VENUE_COLUMNS = ("ts", *BAR_COLUMNS)
"""Columns of the bars of a replay venue. `ts` and `trades` are int64. The others are either float64, or int64 in units of
1e-8 (`UNIT`), which a simulated market uses so that sums are exact. A column that was never recorded may be absent."""

# Longest first: FDUSD ends in USD, and a symbol is cut at the longest quote asset it ends with.
QUOTE_ASSETS = tuple(
    sorted(
        "USDT USDC BUSD TUSD FDUSD USDP USDS USDE USD1 USD DAI PAX UST BTC ETH BNB XRP TRX DOGE DOT SOL EUR EURI GBP AUD "
        "TRY BRL JPY RUB UAH NGN ZAR IDRT BIDR BVND BKRW BRL PLN RON ARS MXN COP CZK VAI XUSD".split(),
        key=lambda asset: (-len(asset), asset),
    )
)


@dataclass(frozen=True)
class Instrument:
    """A traded symbol. `tick_places` and `lot_places` are decimals of the smallest price and amount step (0 to 8)."""

    symbol: str
    base: str
    quote: str
    tick_places: int
    lot_places: int


class Window(NamedTuple):
    """Which bars are asked for, by open time, both ends inclusive as on the wire; None leaves an end free."""

    start_ms: int | None
    end_ms: int | None
    limit: int


class ReplayVenue(Protocol):
    """A market as the venue knows it at a moment of its own clock."""

    simulated: bool
    clock: Clock
    instruments: Mapping[str, Instrument]
    second: ReplayVenue | None
    """The market as a second exchange shows it (`coinbase`); None when it shows none."""

    futures: ReplayVenue | None
    """Perpetual contracts on the market (`futures`); None when there are none."""

    def bars(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Columns:
        """Bars in ascending order of open time, as known at `now_ms`: none that opens later, and a bar that has not
        ended is partial. With `start_ms` the oldest `limit` bars from it, without it the most recent `limit` up to
        `end_ms`. `symbol` is a key of `instruments`."""

    def ticker_timeframes(self, symbol: str) -> tuple[Timeframe, ...]:
        """Timeframes that the last 24 hours may be computed from, the finest first; none longer than a day."""


def select(ts_ms: np.ndarray, window: Window, now_ms: int) -> slice:
    """Rows of ascending open times that a window selects at `now_ms`."""
    last = now_ms if window.end_ms is None else min(window.end_ms, now_ms)
    stop = int(np.searchsorted(ts_ms, last, side="right"))
    if window.start_ms is None:
        return slice(max(0, stop - window.limit), stop)
    first = int(np.searchsorted(ts_ms, window.start_ms, side="left"))
    return slice(first, max(first, min(stop, first + window.limit)))


def bar_ends(ts_ms: np.ndarray, timeframe: Timeframe) -> np.ndarray:
    """End of each bar (int64, exclusive): the end of the grid interval that its open time lies in."""
    return ts_ms - (ts_ms - timeframe.anchor_ms) % timeframe.ms + timeframe.ms


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote asset of a venue symbol such as `BTCUSDT`; `BadInput` when it ends in no known quote asset."""
    for quote in QUOTE_ASSETS:
        if symbol.endswith(quote) and len(symbol) > len(quote):
            return symbol[: -len(quote)], quote
    raise BadInput(f"symbol {symbol!r} ends in no known quote asset; known: {' '.join(sorted(QUOTE_ASSETS))}")
