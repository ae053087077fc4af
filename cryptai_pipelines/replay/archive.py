"""The files of Binance's public archive, made of the bars of a replay venue. Which paths are asked for is decided in `api`.

Klines only: monthly zips of months that have ended by the venue's clock, daily ones of such days, and the `.CHECKSUM` of
each. A file is the same bytes whenever it is asked for. As in the real archive there are no daily files of weekly bars. Times
of spot are in microseconds from 2025 on; files of USD-M futures begin with a line of names.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import re
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.venue import ReplayVenue, Window, bar_ends
from cryptai_pipelines.replay.wire import kline_rows

ARCHIVE_ROOT = "/data/"

_PATH = re.compile(
    r"/data/(?P<folder>spot|futures/um)/(?P<span>daily|monthly)/klines/(?P<symbol>[A-Z0-9]{1,40})/(?P<code>1m|5m|15m|30m|1h|4h|1d|1w)"
    r"/(?P=symbol)-(?P=code)-(?P<date>[0-9]{4}-[0-9]{2}(-[0-9]{2})?)\.zip(?P<checksum>\.CHECKSUM)?"
)
_FOLDERS = {"spot": "spot", "um": "futures/um"}
_HEADER = b"open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
_MICROSECONDS_FROM_MS = 1_735_689_600_000
_CACHED_BYTES = 128 * 1024 * 1024
_MOST_ROWS = 31 * 24 * 60 * 2  # twice what a month of minutes holds: recordings may repeat open times


class _Asked(NamedTuple):
    """A file's venue symbol, timeframe and period (epoch milliseconds, end exclusive), and its name without `.zip`."""

    symbol: str
    timeframe: Timeframe
    start_ms: int
    end_ms: int
    name: str


@dataclass
class ReplayArchive:
    """The archive of one market, `spot` or `um`. The zips that were asked for last are kept, up to `cached_bytes` of them."""

    venue: ReplayVenue
    market: str = "spot"
    cached_bytes: int = _CACHED_BYTES
    _zips: OrderedDict[_Asked, bytes] = field(default_factory=OrderedDict)

    def file(self, path: str) -> bytes | None:
        """The bytes of the file at a path; None when there is none at the venue's time."""
        match = _PATH.fullmatch(path)
        asked = _asked(match) if match and match["folder"] == _FOLDERS[self.market] else None
        if asked is None or asked.symbol not in self.venue.instruments or asked.end_ms > self.venue.clock.now_ms():
            return None
        content = self._zip(asked)
        if not content:
            return None
        if match and match["checksum"]:
            return f"{hashlib.sha256(content).hexdigest()}  {asked.name}.zip\n".encode()
        return content

    def _zip(self, asked: _Asked) -> bytes:
        """The zip, empty when there is not a single bar in its period."""
        if asked not in self._zips:
            self._zips[asked] = _zipped(asked, _ended(self.venue, asked), self.market)
            held = sum(map(len, self._zips.values()))
            while held > self.cached_bytes and len(self._zips) > 1:
                held -= len(self._zips.popitem(last=False)[1])
        self._zips.move_to_end(asked)
        return self._zips[asked]


def _asked(match: re.Match[str]) -> _Asked | None:
    """What a path names; None for a date that does not exist or is not of the kind that its folder holds."""
    monthly, timeframe = match["span"] == "monthly", Timeframe(match["code"])
    if monthly == (match["date"].count("-") == 2) or (timeframe is Timeframe.W1 and not monthly):
        return None
    try:
        start = dt.datetime.strptime(match["date"], "%Y-%m" if monthly else "%Y-%m-%d").replace(tzinfo=dt.UTC)
        end = (start + dt.timedelta(days=31)).replace(day=1) if monthly else start + dt.timedelta(days=1)
    except (ValueError, OverflowError):
        return None
    name = f"{match['symbol']}-{match['code']}-{match['date']}"
    return _Asked(match["symbol"], timeframe, round(start.timestamp() * 1000), round(end.timestamp() * 1000), name)


def _ended(venue: ReplayVenue, asked: _Asked) -> Columns:
    """The bars that opened and ended within the period, whatever the venue's time is: its files never change."""
    window = Window(asked.start_ms, asked.end_ms - 1, _MOST_ROWS)
    bars = venue.bars(asked.symbol, asked.timeframe, window, venue.clock.now_ms())
    ended = bar_ends(bars["ts"], asked.timeframe) <= asked.end_ms
    return {name: values[ended] for name, values in bars.items()}


def _zipped(asked: _Asked, bars: Columns, market: str) -> bytes:
    if not len(bars["ts"]):
        return b""
    microseconds = market == "spot" and asked.start_ms >= _MICROSECONDS_FROM_MS
    rows = kline_rows(bars, asked.timeframe, 1000 if microseconds else 1)
    # The same 12 fields as on the wire, without brackets and quotes.
    text = rows[2:-2].replace(b"],[", b"\n").replace(b'"', b"") + b"\n"
    if market == "um":
        text = _HEADER + text
    # Fixed but for the content: a zip also records when, where and by whom it was made.
    written = dt.datetime.fromtimestamp(asked.end_ms / 1000, dt.UTC)
    member = zipfile.ZipInfo(f"{asked.name}.csv", (max(written.year, 1980), written.month, written.day, 2, 0, 0))
    member.compress_type, member.create_system, member.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(member, text, compresslevel=1)
    return content.getvalue()
