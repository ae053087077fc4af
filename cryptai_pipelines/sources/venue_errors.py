"""What ccxt's exceptions, a venue's own error codes and HTTP statuses mean for the caller. Import of ccxt happens inside.

ccxt alone does not say enough: 403 and 451 come as `ExchangeNotAvailable`, a network error, and `Retry-After` is only in the
headers. So the status decides first, then the venue's words, then ccxt's reading of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import retry_after_s

_REGION = "the venue refuses calls from this region or network; use another network or another venue"

_PERMANENT_STATUS = {
    401: "the venue wants credentials, which public data does not need; check the address",
    403: _REGION + " (its firewall also answers so to an address that called too often)",
    404: "there is no such API at this address; check the address",
    405: "there is no such API at this address; check the address",
    407: "a proxy wants credentials",
    410: "there is no such API at this address; check the address",
    451: _REGION,
}

# Without a Retry-After: a limit is counted per minute, and the first ban lasts two minutes.
_DEFAULT_SILENCE_S = {429: 60.0, 418: 120.0}

_NEVER = re.compile(r"(?!)")


class Asked(NamedTuple):
    """What was asked, for messages: venue, URL without credentials, and the venue's symbol when the question names one."""

    venue: str
    url: str
    symbol: str | None

    def __str__(self) -> str:
        return f"{self.venue} at {self.url}"


class Reply(NamedTuple):
    """What came back, as far as an error is concerned. Times are epoch milliseconds of the venue or else of this machine."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    answered_at_ms: int


@dataclass(frozen=True)
class ErrorRules:
    """How a venue tells of errors. The patterns are searched in the words that `words` reads out of an error body."""

    words: Callable[[Any], str | None]
    """The venue's code and message, from parsed JSON; None when that is not an error of the venue's form."""

    transient: re.Pattern[str] = _NEVER
    rate_limited: re.Pattern[str] = _NEVER
    unknown_symbol: re.Pattern[str] = _NEVER
    mistakes: re.Pattern[str] = _NEVER
    """Words by which even a status of 500 and more is a mistake of the caller."""


def source_error(
    error: Exception | None, asked: Asked, reply: Reply | None, timeout_s: float, rules: ErrorRules
) -> SourceError:
    """The error to raise for what ccxt raised, or for a status other than 200 that ccxt let pass (`error` is None).

    `reply` is None when no complete answer arrived within `timeout_s`.
    """
    if isinstance(error, Malformed):
        return Malformed(f"{asked}: {error}")
    if reply is None:
        return _no_answer(error, asked, timeout_s)
    status = reply.status
    words = _venue_words(reply.body, rules)
    shown = one_line(words if words is not None else reply.body[:400].decode("utf-8", "replace")) or "no message"
    said = f"{asked}: HTTP {status}: {shown}"
    if status in _DEFAULT_SILENCE_S or rules.rate_limited.search(words or "") or _is_rate_limit(error, status, words):
        silence = retry_after_s(reply.headers.get("Retry-After"), reply.answered_at_ms, _DEFAULT_SILENCE_S.get(status, 60.0))
        return RateLimited(f"{said}; no calls for {silence:.0f} s", silence)
    told = words is not None and (status < 500 or rules.mistakes.search(words) is not None)
    if told and asked.symbol and rules.unknown_symbol.search(words or ""):
        return _unknown_symbol(asked, said)
    if (status >= 500 or status == 408) and not told:
        return Transient(said)
    return _refused(error, asked, status, words, said, rules)


def _refused(
    error: Exception | None, asked: Asked, status: int, words: str | None, said: str, rules: ErrorRules
) -> SourceError:
    """For an answer that is neither a wish for silence nor a failure of the server."""
    if status in _PERMANENT_STATUS:
        return Permanent(f"{asked}: HTTP {status}: {_PERMANENT_STATUS[status]}")
    if 300 <= status < 400:
        return Permanent(f"{asked}: HTTP {status}: redirects are not followed; check the address")
    if words is None:
        # ccxt calls a 400 without an error code a network error; but the same question gets the same 400.
        return Permanent(said) if status >= 400 else Malformed(said)
    from ccxt.base import errors

    if rules.transient.search(words) or (isinstance(error, errors.OperationFailed) and status < 500):
        return Transient(said)
    if asked.symbol and isinstance(error, errors.BadSymbol):
        return _unknown_symbol(asked, said)
    return Permanent(said) if isinstance(error, errors.BaseError) else Malformed(said)


def _unknown_symbol(asked: Asked, said: str) -> Permanent:
    return Permanent(f"{asked.venue} does not know the symbol {asked.symbol} ({said})")


def _is_rate_limit(error: Exception | None, status: int, words: str | None) -> bool:
    from ccxt.base import errors

    # ccxt calls every 403 of some venues a rate limit; without words of the venue it is as likely a refused region.
    return (status != 403 or words is not None) and isinstance(error, (errors.DDoSProtection, errors.RateLimitExceeded))


def _venue_words(body: bytes, rules: ErrorRules) -> str | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return rules.words(parsed)


def _no_answer(error: Exception | None, asked: Asked, timeout_s: float) -> SourceError:
    """No complete HTTP answer: refused, reset, cut, too slow, no such host, a bad certificate, or an undecodable body."""
    import requests
    from ccxt.base import errors

    from cryptai_pipelines.sources.deadline_http import BodyError

    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, BodyError):
            return Malformed(f"{asked}: {cause}")
        if isinstance(cause, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
            return Permanent(f"{asked}: this is not an address that can be called")
    if any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in causes):
        return Permanent(f"{asked}: the certificate of the server is not valid for this address")
    # requests derives its exceptions from OSError; only those of the system say what happened in plain words.
    system = [cause for cause in causes if isinstance(cause, OSError) and cause.strerror]
    if system:
        return Transient(f"{asked}: {system[-1].strerror}")
    if isinstance(error, errors.RequestTimeout) or any(isinstance(cause, TimeoutError) for cause in causes):
        return Transient(f"{asked}: no complete answer within {timeout_s:.1f} s")
    if isinstance(error, errors.BaseError):
        return Transient(f"{asked}: the connection broke before the answer was complete")
    return Transient(f"{asked}: {type(error).__name__}")


def _causes(error: BaseException | None) -> list[BaseException]:
    """The chain of exceptions from `error` down to what first went wrong."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def one_line(text: str, longest: int = 160) -> str:
    """`text` on one line of at most `longest` printable characters."""
    joined = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return joined if len(joined) <= longest else joined[: longest - 1] + "…"
