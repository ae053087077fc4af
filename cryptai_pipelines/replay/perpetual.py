"""A simulated market as perpetual contracts show it: the bars of spot from the week on in which Binance's futures began. What
the futures answer is in `futures`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.venue import Instrument, ReplayVenue, Window

if TYPE_CHECKING:
    from cryptai_pipelines.replay.simulated import SimulatedVenue

CONTRACTS_FROM_MS = 1_567_987_200_000
"""Monday 2019-09-09: the first bar of every contract."""


@dataclass(frozen=True)
class PerpetualVenue:
    """A `ReplayVenue` of the symbols, clock and prices of `spot`."""

    spot: SimulatedVenue
    simulated: bool = True
    second: ReplayVenue | None = None
    futures: ReplayVenue | None = None

    @property
    def clock(self) -> Clock:
        return self.spot.clock

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        """The symbols of spot, a contract on each."""
        return self.spot.instruments

    def bars(self, symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Columns:
        """See `ReplayVenue.bars`; fixed point as of spot."""
        if window.start_ms is not None:
            window = window._replace(start_ms=max(window.start_ms, CONTRACTS_FROM_MS))
        bars = self.spot.bars(symbol, timeframe, window, now_ms)
        return take_rows(bars, np.flatnonzero(bars["ts"] >= CONTRACTS_FROM_MS))

    def ticker_timeframes(self, symbol: str) -> tuple[Timeframe, ...]:
        """See `ReplayVenue.ticker_timeframes`."""
        return self.spot.ticker_timeframes(symbol)
