"""What every source of bars offers. Implementations stand in modules of their own; `catalog` opens them by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from cryptai_pipelines.market.page import Listing, Page, Price
from cryptai_pipelines.market.timeframe import Timeframe


class BarSource(Protocol):
    """One venue. All methods raise `sources.errors.SourceError` and may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The venue, as stored beside every bar."""

    def is_simulated(self) -> bool:
        """Whether the venue says of itself that its market is made up. One light call."""

    def symbols(self) -> list[Listing]:
        """Every symbol that the venue lists under a well-formed slug, in the venue's order."""

    def server_time(self) -> int:
        """The venue's clock, epoch milliseconds UTC."""

    def origin(self, timeframe: Timeframe) -> str:
        """How bars of `timeframe` come about: `rest` as the venue gives them, or `resampled` from a finer timeframe of it."""

    def last_prices(self) -> list[Price]:
        """The last price of every symbol that trades, in as few calls as the venue allows. Those without one are left out."""

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        """Bars of the slug `symbol` whose open time lies in `[start_ms, end_ms)`, oldest first.

        The `asked` intervals of the pages tile `[start_ms, end_ms)` without overlap or hole, in order; a page may be empty.
        A venue that only keeps its newest bars settles `[t, end_ms)` for a `t` after `start_ms`, which the first page's
        `asked` tells; there is no page at all when nothing asked for is kept.
        Rows are given as the venue gives them: the last one may still be forming, values may be NaN or absurd, and an
        integer field that could not be read is -1. `BadInput` for a malformed slug or an end before the start, at the call.
        """
