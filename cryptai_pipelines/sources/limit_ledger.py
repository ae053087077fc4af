"""Where it is kept what has been asked of a venue: in this process here, or elsewhere behind the same protocol.

Only durations cross the protocol, so a ledger is free to run on a clock of its own. Waiting is the callers' affair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from cryptai_pipelines.market.rate_window import RateWindow
from cryptai_pipelines.sources.timer import Timer


class LimitLedger(Protocol):
    """The weight spent at one venue in fixed windows of the clock, and the silence it asked for. Safe for several threads.

    A call may arrive in the window after the one in which it was reserved. What is reserved in the last `RateWindow.late_s` of
    a window therefore counts in the next one, too. Errors of the ledger are raised: who cannot be counted does not call.
    """

    def reserve(self, weight: int, most: float, window: RateWindow) -> float:
        """Reserve `weight` if the window's sum stays within `most` or is 0 so far. 0 when it was reserved, else the seconds
        after which asking again is worth while."""

    def observe(self, used: int, age_s: float, window: RateWindow) -> None:
        """The venue counted `used` in the window of a call that was sent `age_s` ago. Only ever raises the sum.

        In the last `RateWindow.margin_s` the venue's next window has begun by the clock, so there it counts for that, too.
        """

    def close_for(self, seconds: float) -> None:
        """Nobody calls for `seconds` from now, or longer if that was already so."""

    def closed_for(self) -> float:
        """Seconds for which nobody may call; 0 when calls are allowed."""


LedgerOf = Callable[[str], LimitLedger]
"""The ledger of a venue by its key (`ledger_key`)."""


def ledger_key(venue: str, api_url: str) -> str:
    """The name of what is counted together: a venue at one address, so that a replayed one and the real one are two."""
    return f"{venue} {api_url}"


class ProcessLedger:
    """A `LimitLedger` for the threads of one process, on the clocks of `timer`."""

    def __init__(self, timer: Timer) -> None:
        self._lock = threading.Lock()
        self._timer = timer
        self._number = 0
        self._used = 0
        self._late = 0
        self._opens_at = float("-inf")

    def reserve(self, weight: int, most: float, window: RateWindow) -> float:
        with self._lock:
            now = self._timer.epoch() - window.margin_s
            self._roll(int(now // window.length_s))
            ends_in = (self._number + 1) * window.length_s - now
            if self._used and self._used + weight > most:
                return ends_in
            self._used += weight
            self._late += weight if ends_in <= window.late_s else 0
            return 0.0

    def observe(self, used: int, age_s: float, window: RateWindow) -> None:
        with self._lock:
            sent = self._timer.epoch() - window.margin_s - age_s
            number = int(sent // window.length_s)
            self._roll(number)
            if number == self._number:
                self._used = max(self._used, used)
                if (number + 1) * window.length_s - sent <= window.margin_s:
                    self._late = max(self._late, used)

    def close_for(self, seconds: float) -> None:
        with self._lock:
            self._opens_at = max(self._opens_at, self._timer.now() + seconds)

    def closed_for(self) -> float:
        return max(self._opens_at - self._timer.now(), 0.0)

    def _roll(self, number: int) -> None:
        if number > self._number:
            self._used = self._late if number == self._number + 1 else 0
            self._number, self._late = number, 0
