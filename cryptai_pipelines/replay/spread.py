"""A simulated market as another exchange shows it: each symbol against USD, its prices some hundredths of a percent off, and a
quarter of the trading. What that exchange's answers look like is in `coinbase`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.counter_noise import derive_key, mix, uniform
from cryptai_pipelines.replay.venue import UNIT, Instrument, ReplayVenue, Window

if TYPE_CHECKING:
    from cryptai_pipelines.replay.simulated import SimulatedVenue

MOST_SPREAD = 600
"""Largest distance of a price from the first exchange's, in millionths of it; ticks are rounded beside it."""

_MILLION = 1_000_000
_TRADED_PART = 4
_QUOTE = "USD"


@dataclass(frozen=True)
class SpreadVenue:
    """A `ReplayVenue` of the same symbols, clock and seed as `first`.

    The distance is one number per symbol and day, so that the bars of all timeframes up to the day still are exact aggregates
    of each other; a week's is that of its Monday.
    """

    first: SimulatedVenue
    simulated: bool = True
    second: ReplayVenue | None = None
    futures: ReplayVenue | None = None

    @property
    def clock(self) -> Clock:
        return self.first.clock

    @cached_property
    def instruments(self) -> Mapping[str, Instrument]:
        """Every symbol of the first exchange, quoted in USD instead."""
        return {f"{one.base}{_QUOTE}": replace(one, symbol=f"{one.base}{_QUOTE}", quote=_QUOTE) for one in self._names.values()}

    def bars(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Columns:
        """See `ReplayVenue.bars`; fixed point as of the first exchange, and only the columns that every exchange gives."""
        original = self._names[symbol]
        bars = self.first.bars(original.symbol, timeframe, window, now_ms)
        if not len(bars["ts"]):
            return bars
        key = derive_key(self.first.assets[original.symbol].key, "spread")
        noise = uniform(mix(key, bars["ts"] // Timeframe.D1.ms), 0)
        factor = _MILLION - MOST_SPREAD + noise * (2 * MOST_SPREAD + 1) // 65_536
        tick = UNIT // 10**original.tick_places
        prices = {name: _scaled(bars[name] // tick, factor) * tick for name in ("open", "high", "low", "close")}
        # A lot is a whole number of units that four divides, so what is summed stays exact. The rest is not told there.
        return {"ts": bars["ts"], **prices, "volume": bars["volume"] // _TRADED_PART}

    def ticker_timeframes(self, symbol: str) -> tuple[Timeframe, ...]:
        """See `ReplayVenue.ticker_timeframes`."""
        return self.first.ticker_timeframes(self._names[symbol].symbol)

    @cached_property
    def _names(self) -> dict[str, Instrument]:
        """The first exchange's instrument by the symbol here."""
        return {f"{one.base}{_QUOTE}": one for one in self.first.instruments.values()}


def _scaled(ticks: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Whole ticks times millionths, rounded; in order for one factor, so that a high stays the highest of its parts."""
    return np.maximum((ticks * factor + _MILLION // 2) // _MILLION, 1)
