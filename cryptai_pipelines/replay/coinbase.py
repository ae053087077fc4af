"""Coinbase Exchange's protocol over the second market of a replay venue: products, candles, spark lines and the time.

As the exchange has it: at most 300 candles, newest first, both ends of a window inclusive, rows of numbers `[time in seconds,
low, high, open, close, volume]`, none for an interval without trades, and only its own granularities. No rate is limited here.
Which bars the second market has is in `recorded` and `spread`.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.faults import Answer
from cryptai_pipelines.replay.venue import Instrument, ReplayVenue, Window
from cryptai_pipelines.replay.wire import real_numbers, to_json

MOST_CANDLES = 300
GRANULARITIES = {
    str(timeframe.ms // 1000): timeframe
    for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1, Timeframe.D1)
}
"""Of the exchange's granularities (seconds) those that are a `Timeframe`; it has one of 6 hours beside them."""

_SPARK_HOURS = 24
_LATEST_S = 2**40
_UNSUPPORTED = "Unsupported granularity"
_TOO_MANY = "granularity too small for the requested time range. Count of aggregations requested exceeds 300"

Asked = Mapping[str, str]

log = logging.getLogger(__name__)


class _Refused(Exception):
    """An answer that is an error: HTTP status and the exchange's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def is_coinbase(path: str) -> bool:
    """Whether a path is one of the exchange's; Binance has none of them."""
    return path == "/time" or path == "/products" or path.startswith("/products/")


def answer_coinbase(venue: ReplayVenue, path: str, query: str) -> Answer:
    """The answer to a GET of `path` (`is_coinbase`) from the bars of `venue`. Never raises."""
    headers = (
        ("Content-Type", "application/json; charset=utf-8"),
        *((("X-Cryptai-Simulated", "1"),) if venue.simulated else ()),
    )
    try:
        return Answer(200, headers, to_json(_answer(venue, path, dict(parse_qsl(query)))))
    except _Refused as refused:
        return Answer(refused.status, headers, to_json({"message": refused.message}))
    except Exception:
        # A defect here must look like a broken server to the client, not end the connection of every other one.
        log.exception("answering %s?%s failed", path, query)
        return Answer(500, headers, to_json({"message": "Internal server error"}))


def _answer(venue: ReplayVenue, path: str, asked: Asked) -> Any:
    endpoint = _ENDPOINTS.get(path)
    if endpoint is not None:
        return endpoint(venue)
    product, _, rest = path.removeprefix("/products/").partition("/")
    instrument = _products(venue).get(product.upper())
    if instrument is None or rest not in ("", "candles"):
        raise _Refused(404, "NotFound")
    return _candles(venue, instrument, asked) if rest else _product(instrument)


def _time(venue: ReplayVenue) -> dict[str, Any]:
    now_ms = venue.clock.now_ms()
    moment = dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC)
    return {"iso": f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}Z", "epoch": now_ms / 1000}


def _products(venue: ReplayVenue) -> dict[str, Instrument]:
    return {f"{one.base}-{one.quote}": one for one in venue.instruments.values()}


def _product(instrument: Instrument) -> dict[str, Any]:
    return {
        "id": f"{instrument.base}-{instrument.quote}",
        "base_currency": instrument.base,
        "quote_currency": instrument.quote,
        "quote_increment": f"{10.0**-instrument.tick_places:.{instrument.tick_places}f}",
        "base_increment": f"{10.0**-instrument.lot_places:.{instrument.lot_places}f}",
        "display_name": f"{instrument.base}-{instrument.quote}",
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
        "fx_stablecoin": False,
        "auction_mode": False,
    }


def _candles(venue: ReplayVenue, instrument: Instrument, asked: Asked) -> list[list[Any]]:
    timeframe = GRANULARITIES.get(asked.get("granularity", "60"))
    if timeframe is None:
        raise _Refused(400, _UNSUPPORTED)
    start, end = (_moment(asked, name) for name in ("start", "end"))
    if start is None or end is None:
        # As documented, one end alone is ignored.
        window = Window(None, None, MOST_CANDLES)
    elif start > end:
        raise _Refused(400, "start must be before end")
    elif (end - start) // timeframe.ms + 1 > MOST_CANDLES:
        raise _Refused(400, _TOO_MANY)
    else:
        window = Window(start, end, MOST_CANDLES)
    return _rows(venue.bars(instrument.symbol, timeframe, window, venue.clock.now_ms()))


def _rows(bars: Columns) -> list[list[Any]]:
    """Newest first; bars without trades, which the exchange leaves out, are left out."""
    traded = take_rows(bars, np.flatnonzero(bars["volume"] > 0)[::-1])
    columns = [real_numbers(traded[name]) for name in ("low", "high", "open", "close", "volume")]
    return [list(row) for row in zip((traded["ts"] // 1000).tolist(), *columns, strict=True)]


def _spark_lines(venue: ReplayVenue) -> dict[str, list[list[Any]]]:
    """The last hourly bars `[time, low, high, open, close]` of each product; of a longer timeframe where no hours are known."""
    return {product: _spark_line(venue, instrument) for product, instrument in _products(venue).items()}


def _spark_line(venue: ReplayVenue, instrument: Instrument) -> list[list[Any]]:
    for timeframe in (Timeframe.H1, Timeframe.D1):
        window = Window(None, None, _SPARK_HOURS)
        rows = _rows(venue.bars(instrument.symbol, timeframe, window, venue.clock.now_ms()))
        if rows:
            return [row[:5] for row in rows]
    return []


def _moment(asked: Asked, name: str) -> int | None:
    """Epoch milliseconds of an optional time, sent as ISO 8601 (UTC unless it says otherwise) or as seconds."""
    text = asked.get(name)
    if not text:
        return None
    try:
        if text.isascii() and text.isdigit() and int(text[:20]) < _LATEST_S:
            return int(text) * 1000
        moment = dt.datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise _Refused(400, f"Invalid {name}") from None


_ENDPOINTS: dict[str, Callable[[ReplayVenue], Any]] = {
    "/time": _time,
    "/products": lambda venue: [_product(one) for one in venue.instruments.values()],
    "/products/spark-lines": _spark_lines,
}
