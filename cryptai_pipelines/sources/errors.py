"""What can go wrong with a source, sorted by what the caller should do about it. Messages are one line, without credentials.

Mistakes of the user (an unknown exchange, a malformed symbol) are `market.errors.BadInput` instead.
"""

from __future__ import annotations


class SourceError(Exception):
    """A source could not answer. The message names the venue, the address and what happened."""


class Transient(SourceError):
    """Worth asking again later: the venue was unreachable, too slow, or failed on its side."""


class RateLimited(SourceError):
    """The venue asked for silence: nobody calls it before `retry_after_s` seconds have passed."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Permanent(SourceError):
    """Asking again gives the same: an unknown symbol, a refused parameter, a forbidden region, a wrong address."""


class Malformed(SourceError):
    """The venue reported success but the answer is not what it should be. Never the same as an empty answer."""
