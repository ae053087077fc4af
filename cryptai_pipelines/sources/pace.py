"""The least time between two calls of a venue in this process. Weight per minute stands in `weight_budget`.

A venue that counts calls by the second would refuse a burst that is well within its minute.
"""

from __future__ import annotations

import threading

from cryptai_pipelines.sources.timer import Timer


class Pace:
    """Spaces calls by `least_s`, shared by all threads; 0 spaces nothing."""

    def __init__(self, least_s: float, timer: Timer) -> None:
        self._lock = threading.Lock()
        self._least_s = least_s
        self._timer = timer
        self._next_at = float("-inf")

    def wait(self) -> float:
        """Return when it is this caller's turn; the seconds waited."""
        if self._least_s <= 0:
            return 0.0
        with self._lock:
            now = self._timer.now()
            turn = max(now, self._next_at)
            self._next_at = turn + self._least_s
        if turn > now:
            self._timer.sleep(turn - now)
        return turn - now
