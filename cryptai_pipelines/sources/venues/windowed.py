"""What the venues share that are asked for a window of time. Walking the windows stands in `window_pages`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.candle_rows import Layout, candle_columns
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Parameters, Received
from cryptai_pipelines.sources.pagination import Answer
from cryptai_pipelines.sources.venue import SeriesAtVenue, proven
from cryptai_pipelines.sources.window_pages import Windows, window_pages


class Window(NamedTuple):
    """Candles asked for: all from the open time `first_ms` to the open time `last_ms`. `code` is the venue's timeframe."""

    symbol: str
    code: str | int
    timeframe: Timeframe
    first_ms: int
    last_ms: int
    now_ms: int


@dataclass(frozen=True)
class Candles:
    """How a venue is asked for a window of candles."""

    call: Callable[[Window], tuple[Endpoint, Parameters]]
    rows: Callable[[Any, Window], Any]
    """The rows in the parsed answer; may raise `Malformed`."""

    form: Layout
    page_rows: int
    history_bars: int | None = None

    def pages(self, client: CcxtClient, series: SeriesAtVenue, within: Interval) -> Iterator[Page]:
        """Pages of a series that the venue serves."""
        now_ms = client.clock.now_ms()

        def bars_within(timeframe: Timeframe, span: Interval) -> Answer:
            opens = timeframe.opens(*span)
            first, last = int(opens[0]), int(opens[-1])
            window = Window(series.symbol, series.codes[timeframe], timeframe, first, last, now_ms)
            endpoint, parameters = self.call(window)

            def read(received: Received) -> Answer:
                return _answer(received, self.rows(received.parsed, window), self.form, timeframe, span, self.page_rows)

            return client.ask(endpoint, parameters, read, series.symbol)

        coarser = tuple(each for each in series.codes if series.timeframe.ms <= each.ms <= Timeframe.D1.ms)
        timeframes = tuple(sorted(coarser or (series.timeframe,), key=lambda each: each.ms))
        return window_pages(Windows(bars_within, self.page_rows, timeframes, now_ms, self.history_bars), within)


def _answer(received: Received, rows: Any, form: Layout, timeframe: Timeframe, within: Interval, page_rows: int) -> Answer:
    """Rows of an answer as wire columns, with the proof of the whole payload."""
    columns = candle_columns(rows, form, timeframe, within)
    return proven(received, columns, len(columns["ts"]) >= page_rows)
