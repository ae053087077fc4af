"""How this room measures and spends real time, in one injectable place. The time of a venue is `market.clock`'s subject."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timer:
    """Three functions in seconds: a clock that never jumps, the time of day (epoch), and waiting."""

    now: Callable[[], float] = time.monotonic
    epoch: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
