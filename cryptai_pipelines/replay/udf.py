"""TradingView's UDF protocol over the same bars, under `/udf/`: config, symbols, search, time and history.

As the protocol has it: times in seconds, `to` not inclusive, `countback` before `from`, prices as numbers, and `nextTime` (the
bar before) where the span asked for is empty. The last bar may still be forming. No request weight is charged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from cryptai_pipelines.market.bars import OHLCV
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.faults import Answer
from cryptai_pipelines.replay.venue import ReplayVenue, Window
from cryptai_pipelines.replay.wire import real_numbers, to_json

PREFIX = "/udf/"
MOST_BARS = 20_000
RESOLUTIONS = dict(zip(("1", "5", "15", "30", "60", "240", "1D", "1W"), TIMEFRAMES, strict=True))
_ALSO = {"D": Timeframe.D1, "W": Timeframe.W1}
_EXCHANGE = "REPLAY"
_LATEST_S = 2**40

log = logging.getLogger(__name__)


class _Refused(Exception):
    """Answered as `s: error`."""


def answer_udf(venue: ReplayVenue, path: str, query: str) -> Answer:
    """The answer to a GET of `path` (which begins with `PREFIX`). Never raises."""
    endpoint = _ENDPOINTS.get(path.removeprefix(PREFIX))
    headers = (("Content-Type", "application/json"), *((("X-Cryptai-Simulated", "1"),) if venue.simulated else ()))
    if endpoint is None:
        return Answer(404, headers, to_json({"s": "error", "errmsg": "not found"}))
    try:
        return Answer(200, headers, to_json(endpoint(venue, dict(parse_qsl(query)))))
    except _Refused as refused:
        return Answer(200, headers, to_json({"s": "error", "errmsg": str(refused)}))
    except Exception:
        # A defect here must look like a broken server to the client, not end the connection of every other one.
        log.exception("answering %s?%s failed", path, query)
        return Answer(500, headers, to_json({"s": "error", "errmsg": "internal error"}))


def _config(venue: ReplayVenue, asked: dict[str, str]) -> dict[str, Any]:
    return {
        "supports_search": True,
        "supports_group_request": False,
        "supports_marks": False,
        "supports_timescale_marks": False,
        "supports_time": True,
        "exchanges": [{"value": _EXCHANGE, "name": _EXCHANGE, "desc": "Replay venue"}],
        "symbols_types": [{"name": "crypto", "value": "crypto"}],
        "supported_resolutions": list(RESOLUTIONS),
    }


def _time(venue: ReplayVenue, asked: dict[str, str]) -> int:
    return venue.clock.now_ms() // 1000


def _symbols(venue: ReplayVenue, asked: dict[str, str]) -> dict[str, Any]:
    instrument = venue.instruments[_symbol(venue, asked)]
    return {
        "name": instrument.symbol,
        "ticker": instrument.symbol,
        "description": f"{instrument.base} / {instrument.quote}",
        "type": "crypto",
        "session": "24x7",
        "timezone": "Etc/UTC",
        "exchange": _EXCHANGE,
        "listed_exchange": _EXCHANGE,
        "currency_code": instrument.quote,
        "minmov": 1,
        "pricescale": 10**instrument.tick_places,
        "volume_precision": instrument.lot_places,
        "has_intraday": True,
        "has_weekly_and_monthly": True,
        "supported_resolutions": list(RESOLUTIONS),
        "intraday_multipliers": [name for name in RESOLUTIONS if name.isdigit()],
        "data_status": "streaming",
    }


def _search(venue: ReplayVenue, asked: dict[str, str]) -> list[dict[str, Any]]:
    wanted = asked.get("query", "").upper()
    limit = _whole(asked, "limit", 30)
    found = [one for one in venue.instruments.values() if wanted in one.symbol]
    return [
        {
            "symbol": one.symbol,
            "full_name": f"{_EXCHANGE}:{one.symbol}",
            "description": f"{one.base} / {one.quote}",
            "exchange": _EXCHANGE,
            "ticker": one.symbol,
            "type": "crypto",
        }
        for one in found[: limit or 0]
    ]


def _history(venue: ReplayVenue, asked: dict[str, str]) -> dict[str, Any]:
    symbol = _symbol(venue, asked)
    name = asked.get("resolution", "")
    timeframe = RESOLUTIONS.get(name) or _ALSO.get(name)
    if timeframe is None:
        raise _Refused("Invalid resolution.")
    start, end = _whole(asked, "from"), _whole(asked, "to")
    if start is None or end is None:
        raise _Refused("from and to are needed.")
    countback = _whole(asked, "countback", 0)
    now, last = venue.clock.now_ms(), end * 1000 - 1
    # `from` is a hint where the number of bars is given.
    window = Window(None, last, min(countback, MOST_BARS)) if countback else Window(start * 1000, last, MOST_BARS)
    bars = venue.bars(symbol, timeframe, window, now)
    if len(bars["ts"]):
        return _table(bars)
    before = venue.bars(symbol, timeframe, Window(None, min(start * 1000, last + 1) - 1, 1), now)["ts"]
    return {"s": "no_data", **({"nextTime": int(before[-1]) // 1000} if len(before) else {})}


def _table(bars: dict[str, np.ndarray]) -> dict[str, Any]:
    prices = {key: real_numbers(bars[name]) for key, name in zip("ohlcv", OHLCV, strict=True)}
    return {"s": "ok", "t": (bars["ts"] // 1000).tolist(), **prices}


def _symbol(venue: ReplayVenue, asked: dict[str, str]) -> str:
    symbol = asked.get("symbol", "").removeprefix(f"{_EXCHANGE}:")
    if symbol not in venue.instruments:
        raise _Refused("unknown_symbol")
    return symbol


def _whole(asked: dict[str, str], name: str, default: int | None = None) -> int | None:
    text = asked.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _LATEST_S:
        raise _Refused(f"{name} is not valid.")
    return int(text)


_ENDPOINTS: dict[str, Callable[[ReplayVenue, dict[str, str]], Any]] = {
    "config": _config,
    "time": _time,
    "symbols": _symbols,
    "search": _search,
    "history": _history,
}
