"""Which files of the Binance public archive hold a span of a series, and what they are called. Nothing is fetched here.

The archive keeps one zip of klines per series and month, from the first Monday after the month on, and one per day, from the
next day on; of weekly bars there are monthly files only.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.timeframe import Timeframe

MARKETS = ("spot", "um")
"""Spot, and futures that are margined in dollars (USD-M)."""

_FOLDERS = {"spot": "data/spot", "um": "data/futures/um"}
# The months in which the two markets opened: no file can be older.
_FIRST_MS = {"spot": 1_498_867_200_000, "um": 1_567_296_000_000}
_DAY_MS = Timeframe.D1.ms


@dataclass(frozen=True)
class ArchivePath:
    """One file: `path` below the archive's base URL, and the days that it holds, `[period.start_ms, period.end_ms)`."""

    path: str
    symbol: str
    timeframe: Timeframe
    period: Interval
    monthly: bool
    market: str

    @property
    def name(self) -> str:
        """The file's own name, as its `.CHECKSUM` spells it."""
        return self.path.rpartition("/")[2]

    @property
    def settles(self) -> Interval:
        """The part of the period that the file settles: a week that ends after the month was still forming at its end."""
        return Interval(self.period.start_ms, self.timeframe.floor(self.period.end_ms))


def plan(symbol: str, timeframe: Timeframe, within: Interval, now_ms: int, market: str = "spot") -> list[ArchivePath]:
    """The files that together hold the bars of the slug `symbol` in `within` as far as they can be published at `now_ms`, in
    order and without overlap: monthly ones for the whole months in `within`, daily ones for the days before, between and
    after. `BadArgument` for an unknown market.
    """
    if market not in MARKETS:
        raise BadArgument(f"archive market {market!r} is not known; accepted: {' '.join(MARKETS)}")
    span = Interval(max(within.start_ms, _FIRST_MS[market]), min(within.end_ms, now_ms))
    paths: list[ArchivePath] = []
    for month in _months(span):
        whole = span.start_ms <= month.start_ms and month.end_ms <= span.end_ms
        if _first_monday(month.end_ms) <= now_ms and (whole or timeframe is Timeframe.W1):
            paths.append(_path(symbol, timeframe, month, market, monthly=True))
        elif timeframe is not Timeframe.W1:
            part = clipped(span, month)
            paths += days(symbol, timeframe, part, now_ms, market)
    return paths


def days(symbol: str, timeframe: Timeframe, within: Interval, now_ms: int, market: str) -> list[ArchivePath]:
    """The daily files of all days that overlap `within` and have ended at `now_ms`; none for weekly bars."""
    if timeframe is Timeframe.W1:
        return []
    first, end = Timeframe.D1.floor(within.start_ms), min(within.end_ms, Timeframe.D1.floor(now_ms))
    periods = (Interval(start, start + _DAY_MS) for start in range(first, end, _DAY_MS))
    return [_path(symbol, timeframe, period, market, monthly=False) for period in periods]


def _path(symbol: str, timeframe: Timeframe, period: Interval, market: str, *, monthly: bool) -> ArchivePath:
    venue_symbol, code = symbol.replace("-", ""), timeframe.code
    date = _utc(period.start_ms).strftime("%Y-%m" if monthly else "%Y-%m-%d")
    folder = f"{_FOLDERS[market]}/{'monthly' if monthly else 'daily'}/klines/{venue_symbol}/{code}"
    return ArchivePath(f"{folder}/{venue_symbol}-{code}-{date}.zip", symbol, timeframe, period, monthly, market)


def _months(span: Interval) -> Iterator[Interval]:
    """The calendar months that overlap `span`, each from its first millisecond to its end."""
    if span.start_ms >= span.end_ms:
        return
    start = _utc(span.start_ms).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while _ms(start) < span.end_ms:
        following = (start + dt.timedelta(days=31)).replace(day=1)
        yield Interval(_ms(start), _ms(following))
        start = following


def _first_monday(ts_ms: int) -> int:
    """The first Monday 00:00 at or after `ts_ms`: when the archive starts to publish the month that ended there."""
    return Timeframe.W1.ceil(ts_ms)


def _utc(ts_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ts_ms / 1000, dt.UTC)


def _ms(moment: dt.datetime) -> int:
    return round(moment.timestamp() * 1000)
