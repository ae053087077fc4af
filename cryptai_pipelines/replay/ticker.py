"""Prices and 24-hour statistics computed from bars. There is no order book and no trade list in a replay: best bid and ask
are written as 0 and trade ids as -1, as Binance writes them for a symbol without any."""

from __future__ import annotations

from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.venue import ReplayVenue, Window, bar_ends
from cryptai_pipelines.replay.wire import decimal_text

_DAY_MS = 24 * 3600 * 1000
_NOTHING = decimal_text(0)
_MOST_BARS = 4 * 1440
MINI = "symbol openPrice highPrice lowPrice lastPrice volume quoteVolume openTime closeTime firstId lastId count".split()
"""Fields of a ticker of `type=MINI`."""


def last_price(venue: ReplayVenue, symbol: str, now_ms: int) -> str:
    """The price of the latest bar known at `now_ms`, `0.00000000` before the first."""
    return last_trade(venue, symbol, now_ms)[0]


def last_trade(venue: ReplayVenue, symbol: str, now_ms: int) -> tuple[str, int]:
    """`last_price` and its time (epoch milliseconds): `now_ms`, or the last millisecond of the bar when it has ended; 0 before
    the first."""
    latest = _latest(venue, symbol, now_ms)
    if latest is None:
        return _NOTHING, 0
    timeframe, bars = latest
    return decimal_text(bars["close"][-1]), min(now_ms, int(bar_ends(bars["ts"], timeframe)[-1]) - 1)


def day_ticker(venue: ReplayVenue, symbol: str, now_ms: int) -> dict[str, Any]:
    """The 24-hour statistics of one symbol up to `now_ms`, over the bars that opened within them, in Binance's fields.

    The finest timeframe that reaches the latest price is used. Without a bar in the last 24 hours all but the previous
    close is 0. Amounts that were not recorded are 0.
    """
    opened = now_ms - _DAY_MS
    latest = _latest(venue, symbol, now_ms)
    if latest is None:
        return _ticker(symbol, opened, now_ms, {}, _NOTHING)
    timeframe, last_bar = latest
    bars = venue.bars(symbol, timeframe, Window(opened - timeframe.ms, now_ms, _MOST_BARS), now_ms)
    within = bars["ts"] >= opened
    if not within.any():
        return _ticker(symbol, opened, now_ms, {}, decimal_text(last_bar["close"][-1]))
    previous = bars["open"][0] if within[0] else bars["close"][~within][-1]
    return _ticker(symbol, opened, now_ms, take_rows(bars, within), decimal_text(previous))


def _latest(venue: ReplayVenue, symbol: str, now_ms: int) -> tuple[Timeframe, Columns] | None:
    """The timeframe whose bars reach furthest towards `now_ms`, the finest of equals, and its last bar."""
    best: tuple[int, Timeframe, Columns] | None = None
    for timeframe in venue.ticker_timeframes(symbol):
        bars = venue.bars(symbol, timeframe, Window(None, None, 1), now_ms)
        if len(bars["ts"]):
            reached = min(now_ms, int(bar_ends(bars["ts"], timeframe)[-1]))
            if best is None or reached > best[0]:
                best = (reached, timeframe, bars)
    return None if best is None else best[1:]


def _ticker(symbol: str, opened: int, now_ms: int, bars: Columns, previous: str) -> dict[str, Any]:
    first, last = (bars["open"][0], bars["close"][-1]) if bars else (0, 0)
    volume, quote = (_total(bars, name) for name in ("volume", "quote_volume"))
    change = last - first
    return {
        "symbol": symbol,
        "priceChange": decimal_text(change),
        "priceChangePercent": f"{float(change) / float(first) * 100:.3f}" if first else "0.000",
        "weightedAvgPrice": f"{float(quote) / float(volume):.8f}" if volume else _NOTHING,
        "prevClosePrice": previous,
        "lastPrice": decimal_text(last),
        "lastQty": _NOTHING,
        "bidPrice": _NOTHING,
        "bidQty": _NOTHING,
        "askPrice": _NOTHING,
        "askQty": _NOTHING,
        "openPrice": decimal_text(first),
        "highPrice": decimal_text(bars["high"].max() if bars else 0),
        "lowPrice": decimal_text(bars["low"].min() if bars else 0),
        "volume": decimal_text(volume),
        "quoteVolume": decimal_text(quote),
        "openTime": opened,
        "closeTime": now_ms,
        "firstId": -1,
        "lastId": -1,
        "count": int(bars["trades"].sum()) if "trades" in bars else 0,
    }


def _total(bars: Columns, name: str) -> int | float:
    """A sum in the column's own form: units of 1e-8 stay Python integers."""
    if name not in bars:
        return 0
    total = bars[name].sum()
    return int(total) if isinstance(total, np.integer) else float(total)
