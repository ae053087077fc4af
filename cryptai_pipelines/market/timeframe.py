"""Timeframes and the grid of open times they lay over UTC. Calendar rules of single venues do not belong here."""

from __future__ import annotations

import enum

import numpy as np

from cryptai_pipelines.market.errors import BadInput

_MINUTE = 60_000
_MONDAY_OFFSET = 4 * 24 * 60 * _MINUTE  # 1970-01-01 was a Thursday; the first Monday is 1970-01-05.


class Timeframe(enum.Enum):
    """A bar length. Members are ordered from the shortest to the longest; times are epoch milliseconds, UTC."""

    M1 = "1m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H4 = "4h"
    D1 = "1d"
    W1 = "1w"

    @property
    def code(self) -> str:
        """The exchange spelling, such as `1h`; also the partition key."""
        return self.value

    @property
    def ms(self) -> int:
        """Length in milliseconds."""
        return _LENGTH_MS[self]

    @property
    def anchor_ms(self) -> int:
        """Epoch milliseconds of one open time of the grid: 0, and for weeks the first Monday."""
        return _MONDAY_OFFSET if self is Timeframe.W1 else 0

    @property
    def bars_per_year(self) -> float:
        """Bars in a 365-day year."""
        return 365 * 24 * 60 * _MINUTE / self.ms

    @property
    def values_per_year(self) -> float:
        """Values in a 365-day year of what has one at the end of every day with a bar: 365, and of weeks 365 / 7."""
        return min(365.0, self.bars_per_year)

    def floor(self, ts_ms: int) -> int:
        """Open time of the bar that covers `ts_ms`."""
        return ts_ms - (ts_ms - self.anchor_ms) % self.ms

    def ceil(self, ts_ms: int) -> int:
        """The first open time at or after `ts_ms`."""
        return ts_ms + (self.anchor_ms - ts_ms) % self.ms

    def on_grid(self, ts_ms: np.ndarray) -> np.ndarray:
        """Boolean array: is each int64 epoch millisecond an open time of this timeframe?"""
        return (np.asarray(ts_ms, dtype=np.int64) - self.anchor_ms) % self.ms == 0

    def opens(self, start_ms: int, end_ms: int) -> np.ndarray:
        """All open times in `[start_ms, end_ms)` as int64 epoch milliseconds."""
        return np.arange(self.ceil(start_ms), end_ms, self.ms, dtype=np.int64)

    def count(self, start_ms: int, end_ms: int) -> int:
        """How many open times lie in `[start_ms, end_ms)`."""
        return max(0, -(-(end_ms - self.ceil(start_ms)) // self.ms))


_LENGTH_MS = {
    Timeframe.M1: _MINUTE,
    Timeframe.M5: 5 * _MINUTE,
    Timeframe.M15: 15 * _MINUTE,
    Timeframe.M30: 30 * _MINUTE,
    Timeframe.H1: 60 * _MINUTE,
    Timeframe.H4: 240 * _MINUTE,
    Timeframe.D1: 1_440 * _MINUTE,
    Timeframe.W1: 10_080 * _MINUTE,
}

TIMEFRAMES: tuple[Timeframe, ...] = tuple(Timeframe)

HIGHER: dict[Timeframe, Timeframe | None] = {
    Timeframe.M1: Timeframe.M15,
    Timeframe.M5: Timeframe.H1,
    Timeframe.M15: Timeframe.H1,
    Timeframe.M30: Timeframe.H4,
    Timeframe.H1: Timeframe.H4,
    Timeframe.H4: Timeframe.D1,
    Timeframe.D1: Timeframe.W1,
    Timeframe.W1: None,
}
"""The timeframe whose trend a series is read against, each a whole number of its bars; weeks have none."""


def parse_timeframe(code: str) -> Timeframe:
    """The timeframe spelled `code`; `BadInput` names the value and the accepted spellings."""
    try:
        return Timeframe(code)
    except ValueError:
        accepted = " ".join(t.code for t in TIMEFRAMES)
        raise BadInput(f"timeframe {code!r} is not known; accepted: {accepted}") from None
