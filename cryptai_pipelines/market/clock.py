"""Reading the time, in one injectable place, and the rule for when a bar is closed. Pure rooms are given times as data."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import Protocol

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe

FAR_FUTURE_MS = 2**52


class Clock(Protocol):
    """Something that tells the time."""

    def now_ms(self) -> int:
        """Epoch milliseconds, UTC."""


class SystemClock:
    """The clock of this machine."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


@dataclass
class FixedClock:
    """A clock that stands still until it is set; for tests and for replays of the past."""

    at_ms: int

    def now_ms(self) -> int:
        return self.at_ms


def closed_until(venue_time_ms: int, timeframe: Timeframe, grace_ms: int) -> int:
    """End (exclusive, an open time) of the closed bars: `ts + timeframe <= venue_time - grace` for every `ts` before it."""
    return timeframe.floor(venue_time_ms - grace_ms)


def parse_time(text: str, name: str = "time") -> int:
    """Epoch milliseconds of an ISO 8601 date or time; without an offset it is UTC. `BadInput` names `name` and the value."""
    try:
        parsed = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise BadInput(f"{name} {text!r} is not an ISO 8601 date or time, such as 2024-01-31 or 2024-01-31T12:00Z") from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=dt.UTC)
    return round(parsed.timestamp() * 1000)


def parse_window(start: str | None, end: str | None, names: tuple[str, str] = ("start", "end")) -> Interval | None:
    """The interval from `start` to `end` (exclusive), either of which may be left out; None without both. `BadInput` when it
    ends before it starts, in terms of `names`."""
    if start is None and end is None:
        return None
    from_ms = 0 if start is None else max(0, parse_time(start, names[0]))
    to_ms = FAR_FUTURE_MS if end is None else parse_time(end, names[1])
    if to_ms <= from_ms:
        after = "1970-01-01, where all series begin" if start is None or from_ms == 0 else f"{names[0]} {start}"
        raise BadInput(f"{names[1]} {end} is not after {after}; accepted: a later end")
    return Interval(from_ms, to_ms)


def format_time(ts_ms: int) -> str:
    """ISO 8601 in UTC with a `Z`, to the second, such as `2024-01-31T12:00:00Z`."""
    return dt.datetime.fromtimestamp(ts_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_moment(at_ms: int) -> str:
    """As `format_time`, with the milliseconds where there are any, such as `2024-01-31T12:00:00.250Z`."""
    text = format_time(at_ms - at_ms % 1000)
    return f"{text[:-1]}.{at_ms % 1000:03d}Z" if at_ms % 1000 else text
