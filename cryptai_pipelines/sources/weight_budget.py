"""The request weight a venue grants per minute, and waiting rather than passing it. What a call weighs is the caller's affair.

Binance counts the weight of all calls from one address in fixed minutes of the clock and reports the sum with each answer, so
calls of other processes are seen, too, as soon as one answer arrives.
"""

from __future__ import annotations

import logging
import threading

from cryptai_pipelines.sources.timer import Timer

logger = logging.getLogger(__name__)

USABLE_SHARE = 0.9
"""Share of the limit that is spent; the rest absorbs calls of others that no answer has reported yet."""

_WINDOW_S = 60.0
_CLOCK_MARGIN_S = 0.5  # The venue's minute may begin a little after ours.


class WeightBudget:
    """Weight spent in the current minute, shared by all threads. `limit` is per minute and may be corrected later."""

    def __init__(self, limit: int, timer: Timer) -> None:
        self._lock = threading.Lock()
        self._timer = timer
        self._limit = limit
        self._minute = 0
        self._used = 0

    def set_limit(self, limit: int) -> None:
        """The venue's own statement of its limit, weight per minute."""
        with self._lock:
            self._limit = limit

    def spend(self, weight: int) -> float:
        """Reserve `weight`, waiting for the next minute as often as needed. Returns the seconds waited.

        A weight above the whole usable share is let through at the start of a minute: it could never fit.
        """
        waited = 0.0
        while (pause := self._reserve(weight)) > 0:
            logger.info("request weight for this minute is used up; waiting %.1f s", pause)
            self._timer.sleep(pause)
            waited += pause
        return waited

    def observe(self, used: int, at: float) -> None:
        """The venue counted `used` in the minute of a call that was sent at `at` (epoch seconds). Only ever raises the sum."""
        with self._lock:
            self._roll(at)
            if int(at // _WINDOW_S) == self._minute:
                self._used = max(self._used, used)

    def _reserve(self, weight: int) -> float:
        """0 when `weight` was reserved, else the seconds until the next minute."""
        with self._lock:
            now = self._timer.epoch()
            self._roll(now)
            if self._used and self._used + weight > self._limit * USABLE_SHARE:
                return (self._minute + 1) * _WINDOW_S - now + _CLOCK_MARGIN_S
            self._used += weight
            return 0.0

    def _roll(self, at: float) -> None:
        minute = int(at // _WINDOW_S)
        if minute > self._minute:
            self._minute, self._used = minute, 0
