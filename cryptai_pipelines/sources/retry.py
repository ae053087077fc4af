"""When to ask a venue again: the pauses between tries, and the gate that stays shut after the venue asked for silence. How
it is asked, and by which protocol, is not known here."""

from __future__ import annotations

import datetime as dt
import email.utils
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.sources.errors import Malformed, RateLimited, SourceError
from cryptai_pipelines.sources.limit_ledger import LimitLedger, ProcessLedger
from cryptai_pipelines.sources.timer import Timer

logger = logging.getLogger(__name__)

_LONGEST_BAN_S = 3 * 86_400.0  # Binance's longest ban; a larger or broken Retry-After must not silence a venue for ever.


@dataclass(frozen=True)
class RetryPolicy:
    """How often and for how long one question is asked, in seconds. Waiting for the weight budget does not count."""

    total_s: float
    tries: int = 5
    malformed_tries: int = 2
    first_pause_s: float = 0.5
    longest_pause_s: float = 15.0

    def pause_s(self, failures: int, random_unit: Callable[[], float] = random.random) -> float:
        """Pause after the `failures`-th failure: doubling, at most `longest_pause_s`, of which the upper half is random."""
        longest = min(self.first_pause_s * 2 ** (failures - 1), self.longest_pause_s)
        return longest * (0.5 + 0.5 * random_unit())


class RetryAfterGate:
    """Shut from the moment a venue asks for silence until the time it named, for everyone who shares the `ledger` (default:
    one of this process)."""

    def __init__(self, venue: str, timer: Timer, ledger: LimitLedger | None = None) -> None:
        self._venue = venue
        self._timer = timer
        self._own = ProcessLedger(timer)
        self._ledger = ledger or self._own

    def shut_for(self, seconds: float) -> None:
        """Keep the gate shut for `seconds` from now, or longer if it already is."""
        # This process keeps the silence even when a shared ledger cannot be told.
        self._own.close_for(seconds)
        self._ledger.close_for(seconds)

    def wait(self, give_up_at: float) -> None:
        """Return once the gate is open. `RateLimited`, at once, when that would be later than `give_up_at` (`Timer.now`)."""
        while (closed_for := max(self._own.closed_for(), self._ledger.closed_for())) > 0:
            if self._timer.now() + closed_for > give_up_at:
                raise RateLimited(
                    f"{self._venue} asked for no calls during the next {closed_for:.0f} s; none was made", closed_for
                )
            self._timer.sleep(closed_for)


def pause_or_raise(
    error: SourceError, failures: int, give_up_at: float, retry: RetryPolicy, gate: RetryAfterGate, timer: Timer
) -> None:
    """Return when it is time for the next try after the `failures`-th failure of a question; raise `error` when its tries are
    spent, or when the next one would be later than `give_up_at` (`Timer.now`). A `RateLimited` shuts the gate."""
    tries = retry.malformed_tries if isinstance(error, Malformed) else retry.tries
    pause = retry.pause_s(failures)
    if isinstance(error, RateLimited):
        gate.shut_for(error.retry_after_s)
        pause = max(pause, error.retry_after_s)
    if failures >= tries or timer.now() + pause >= give_up_at:
        raise error
    logger.warning("try %d failed, next one in %.1f s: %s", failures, pause, error)
    timer.sleep(pause)


def retry_after_s(header: str | None, answered_at_ms: int, default_s: float) -> float:
    """Seconds of a `Retry-After` header: a number, or an HTTP date relative to `answered_at_ms` (epoch milliseconds).

    `default_s` when the header is absent or unreadable; never negative, and never longer than the longest ban known.
    """
    if header is None:
        return default_s
    text = header.strip()
    try:
        # isdecimal also keeps out "nan" and "inf", which float() would take.
        plain = text.replace(".", "", 1).lstrip("-").isdecimal()
        seconds = float(text) if plain else (http_date_ms(text) - answered_at_ms) / 1000
    except (ValueError, OverflowError):
        return default_s
    return min(max(seconds, 0.0), _LONGEST_BAN_S)


def http_date_ms(text: str) -> int:
    """Epoch milliseconds of a date as HTTP headers spell it; `ValueError` for anything else."""
    moment = email.utils.parsedate_to_datetime(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)


def answered_at_ms(headers: Mapping[str, str], clock: Clock) -> int:
    """The venue's own date of an answer, by which a Retry-After date is meant; this machine's clock when it gives none."""
    try:
        return http_date_ms(headers.get("Date", ""))
    except (ValueError, OverflowError):
        return clock.now_ms()
