"""Clocks of a replay venue: standing still, running, or running fast. They decide which bar is still forming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptai_pipelines.market.clock import Clock, FixedClock, SystemClock
from cryptai_pipelines.market.errors import BadInput


@dataclass(frozen=True)
class RunningClock:
    """Runs from `start_ms`, `speed` venue seconds per real second. `monotonic_ns` is the real time it is driven by."""

    start_ms: int
    speed: float = 1.0
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    started_ns: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "started_ns", self.monotonic_ns())

    def now_ms(self) -> int:
        elapsed_ns = self.monotonic_ns() - self.started_ns
        return self.start_ms + int(elapsed_ns * self.speed) // 1_000_000


def venue_clock(now_ms: int | None = None, speed: float | None = None) -> Clock:
    """The clock for a starting instant and a speed, either of which may be left out.

    Neither: the time of this machine. Only `now_ms`: stands still there. `speed`: runs that many times as fast as real
    time, from `now_ms` or else from the time of this machine. `BadInput` when `speed` is not a positive finite number.
    """
    if speed is not None and not (math.isfinite(speed) and speed > 0):
        raise BadInput(f"speed {speed!r} is not accepted; it is a positive number, such as 60 for an hour per minute")
    if speed is not None:
        return RunningClock(SystemClock().now_ms() if now_ms is None else now_ms, speed)
    return SystemClock() if now_ms is None else FixedClock(now_ms)
