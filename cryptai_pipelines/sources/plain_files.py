"""Whole files over HTTP under our rules: a total deadline, retries, the errors of this room.

What a file holds is not known here. Venues with an API of requests and weights are called in `ccxt_client`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy, answered_at_ms, pause_or_raise, retry_after_s
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue_address import VenueAddress
from cryptai_pipelines.sources.venue_errors import one_line

if TYPE_CHECKING:
    from cryptai_pipelines.sources import deadline_http

T = TypeVar("T")

_ABSENT = (404, 410)
_SILENCE_S = 60.0
"""After a 429 without a Retry-After."""


@dataclass(frozen=True)
class FileClient:
    """Fetches files below one address. Safe for use by several threads, which share connections and the silence that a server
    asks for.

    `max_bytes` bounds one file. `request_timeout_s` bounds one call, `retry` all calls for one file.
    """

    address: VenueAddress
    request_timeout_s: float
    max_bytes: int
    clock: Clock
    retry: RetryPolicy
    timer: Timer
    gate: RetryAfterGate
    _idle: deque[deadline_http.DeadlineSession] = field(default_factory=deque)

    def url(self, path: str) -> str:
        """The URL of `path`, without credentials."""
        return f"{self.address.api_url}/{path}"

    def fetch(self, path: str) -> bytes | None:
        """The file's bytes, None when the server says that there is no such file; asked again as `RetryPolicy` says.

        Raises the last `SourceError`: `Transient` and `RateLimited` after the policy's tries or total time, others at once.
        """
        return self._patiently(lambda timeout_s: self._fetch_once(path, timeout_s))

    def headers(self, path: str) -> dict[str, str]:
        """The headers (names in lower case) of whatever complete answer the server gives for `path`, also that it is absent."""
        return self._patiently(lambda timeout_s: self._headers_once(path, timeout_s))

    def _patiently(self, ask: Callable[[float], T]) -> T:
        give_up_at = self.timer.now() + self.retry.total_s
        failures = 0
        while True:
            self.gate.wait(give_up_at)
            try:
                return ask(min(self.request_timeout_s, max(give_up_at - self.timer.now(), 0.001)))
            except (Transient, RateLimited) as error:
                failures += 1
                pause_or_raise(error, failures, give_up_at, self.retry, self.gate, self.timer)

    def _fetch_once(self, path: str, timeout_s: float) -> bytes | None:
        answer = self._answer(path, timeout_s)
        if answer.status == 200:
            return answer.body
        if answer.status in _ABSENT:
            return None
        raise self._refusal(path, answer)

    def _headers_once(self, path: str, timeout_s: float) -> dict[str, str]:
        answer = self._answer(path, timeout_s)
        if answer.status != 200 and answer.status not in _ABSENT:
            raise self._refusal(path, answer)
        return {name.lower(): value for name, value in answer.headers.items()}

    def _answer(self, path: str, timeout_s: float) -> deadline_http.Answer:
        import requests

        from cryptai_pipelines.sources.deadline_http import BodyError

        what = f"{self.address.venue} at {self.url(path)}"
        # Each call has a session for itself; the same one if one is idle, so that connections are kept alive.
        session = self._take_session()
        try:
            session.get(self.url(path), timeout=timeout_s)
        except BodyError as error:
            session.close()
            raise Malformed(f"{what}: {error}") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema):
            raise Permanent(f"{what}: this is not an address that can be called") from None
        except requests.RequestException as error:
            # The connection is in an unknown state: nothing of a late answer may reach the next question.
            session.close()
            raise _no_answer(error, what, timeout_s) from error
        assert session.answer is not None
        answer, session.answer = session.answer, None
        self._idle.append(session)
        return answer

    def _refusal(self, path: str, answer: deadline_http.Answer) -> SourceError:
        status = answer.status
        said = f"{self.address.venue} at {self.url(path)}: HTTP {status}"
        if status in (418, 429) or (status == 503 and "Retry-After" in answer.headers):
            silence = retry_after_s(answer.headers.get("Retry-After"), answered_at_ms(answer.headers, self.clock), _SILENCE_S)
            return RateLimited(f"{said}; no calls for {silence:.0f} s", silence)
        words = one_line(answer.body[:400].decode("utf-8", "replace")) or "no message"
        if status >= 500 or status == 408:
            return Transient(f"{said}: {words}")
        if status in (403, 451):
            return Permanent(f"{said}: refused from this region or network; use another one, or another address")
        if 300 <= status < 400:
            return Permanent(f"{said}: redirects are not followed; check the address")
        return Permanent(f"{said}: {words}") if status >= 400 else Malformed(f"{said}: {words}")

    def _take_session(self) -> deadline_http.DeadlineSession:
        from cryptai_pipelines.sources.deadline_http import DeadlineSession

        try:
            return self._idle.pop()
        except IndexError:
            pass  # All are in use. Asking first would leave room for another thread to take the last one.
        session = DeadlineSession(self.max_bytes)
        session.auth = self.address.credentials
        # A hash is of the file as it is kept, so nothing on the way may compress it.
        session.headers["Accept-Encoding"] = "identity"
        return session


def _no_answer(error: Exception, what: str, timeout_s: float) -> SourceError:
    """No complete HTTP answer: refused, reset, cut, too slow, no such host, or a bad certificate."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    if any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in chain):
        return Permanent(f"{what}: the certificate of the server is not valid for this address")
    # requests derives its exceptions from OSError; only those of the system say what happened in plain words.
    system = [cause for cause in chain if isinstance(cause, OSError) and cause.strerror]
    if system:
        return Transient(f"{what}: {system[-1].strerror}")
    if any(isinstance(cause, TimeoutError) or "timed out" in str(cause).lower() for cause in chain):
        return Transient(f"{what}: no complete answer within {timeout_s:.1f} s")
    return Transient(f"{what}: the connection broke before the answer was complete")
