"""The request weight a venue grants per window of time, and waiting rather than passing it. What a call weighs is the caller's
affair, where it is counted is the ledger's.

Binance counts the weight of all calls from one address in fixed minutes of the clock and reports the sum with each answer, so
calls of programs that do not share the ledger are seen, too, as soon as one answer arrives.
"""

from __future__ import annotations

import logging
import threading

from cryptai_pipelines.market.rate_window import RateWindow
from cryptai_pipelines.sources.limit_ledger import LimitLedger, ProcessLedger
from cryptai_pipelines.sources.timer import Timer

logger = logging.getLogger(__name__)

USABLE_SHARE = 0.9
"""Share of the limit that is spent; the rest absorbs calls of others that no answer has reported yet."""


class WeightBudget:
    """Weight spent in the current window (default: a minute), counted in `ledger` (default: one of this process).

    `limit` is per window and may be corrected later.
    """

    def __init__(self, limit: int, timer: Timer, ledger: LimitLedger | None = None, window: RateWindow | None = None) -> None:
        self._timer = timer
        self._ledger = ledger or ProcessLedger(timer)
        self._window = window or RateWindow()
        self._limit = limit
        self._lock = threading.Lock()

    def set_limit(self, limit: int) -> None:
        """The venue's own statement of its limit, weight per window."""
        with self._lock:
            self._limit = limit

    def spend(self, weight: int) -> float:
        """Reserve `weight`, waiting for the next window as often as needed. Returns the seconds waited.

        A weight above the whole usable share is let through at the start of a window: it could never fit. What the ledger
        raises is raised, and nothing may be called then.
        """
        waited = 0.0
        while (pause := self._ledger.reserve(weight, self._usable(), self._window)) > 0:
            logger.info("the request weight of this window is used up; waiting %.1f s", pause)
            self._timer.sleep(pause)
            waited += pause
        return waited

    def observe(self, used: int, at: float) -> None:
        """The venue counted `used` in the window of a call that was sent at `at` (epoch seconds). Only ever raises the sum."""
        self._ledger.observe(used, self._timer.epoch() - at, self._window)

    def _usable(self) -> float:
        with self._lock:
            return self._limit * USABLE_SHARE
