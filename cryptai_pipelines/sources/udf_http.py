"""Asking a UDF server: plain HTTP with a total deadline, strict JSON, retries and Retry-After. What the answers mean is not
known here: callers pass a function that reads the parsed JSON and may raise an error of `sources.errors`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlencode

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy, answered_at_ms, pause_or_raise, retry_after_s
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue_address import VenueAddress

if TYPE_CHECKING:
    from cryptai_pipelines.sources.deadline_http import Answer, DeadlineSession

T = TypeVar("T")
_SILENCE_S = 60.0


class NotFound(Permanent):
    """The server has nothing at this path (404)."""


class Received(NamedTuple):
    """A complete, successful answer."""

    parsed: Any
    body: bytes
    headers: Mapping[str, str]
    url: str
    fetched_at_ms: int


class UdfHttp:
    """Asks one server. Safe for use by several threads, each of which gets a connection of its own."""

    def __init__(self, address: VenueAddress, request_timeout_s: float, clock: Clock, retry: RetryPolicy, timer: Timer) -> None:
        self.address = address
        self.clock = clock
        self._request_timeout_s = request_timeout_s
        self._retry = retry
        self._timer = timer
        self._gate = RetryAfterGate(address.venue, timer)
        self._of_thread = threading.local()

    def ask(self, path: str, parameters: Mapping[str, str | int], read: Callable[[Received], T]) -> T:
        """What `read` makes of the answer to GET `path`, asked again as `RetryPolicy` says. Raises the last `SourceError`."""
        give_up_at = self._timer.now() + self._retry.total_s
        failures = 0
        url = f"{self.address.api_url}/{path}" + (f"?{urlencode(parameters)}" if parameters else "")
        while True:
            self._gate.wait(give_up_at)
            try:
                return self._ask_once(url, read, give_up_at - self._timer.now())
            except Permanent:
                raise
            except SourceError as error:
                failures += 1
                pause_or_raise(error, failures, give_up_at, self._retry, self._gate, self._timer)

    def _ask_once(self, url: str, read: Callable[[Received], T], patience_s: float) -> T:
        import requests

        timeout_s = min(self._request_timeout_s, max(patience_s, 0.001))
        asked = f"{self.address.venue} at {url}"
        session = self._session()
        try:
            session.request("GET", url, timeout=timeout_s)
        except (requests.RequestException, OSError) as error:
            # The connection is in an unknown state: nothing of a late answer may reach the next question.
            session.close()
            raise _no_answer(error, asked, timeout_s) from error
        answer = session.answer
        assert answer is not None
        if answer.status != 200:
            raise self._status_error(answer, asked)
        try:
            return read(Received(_parse(answer.body), answer.body, answer.headers, url, self.clock.now_ms()))
        except (Malformed, Transient, Permanent) as error:
            raise type(error)(f"{asked}: {error}") from None

    def _status_error(self, answer: Answer, asked: str) -> SourceError:
        status, said = answer.status, f"{asked}: HTTP {answer.status}"
        if status == 429:
            silence = retry_after_s(answer.headers.get("Retry-After"), answered_at_ms(answer.headers, self.clock), _SILENCE_S)
            return RateLimited(f"{said}; no calls for {silence:.0f} s", silence)
        if status >= 500 or status == 408:
            return Transient(said)
        if status == 404:
            return NotFound(f"{said}: there is nothing at this address")
        if 300 <= status < 400:
            return Permanent(f"{said}: redirects are not followed; check the address")
        return Permanent(f"{said}: the server refuses this call") if status >= 400 else Malformed(said)

    def _session(self) -> DeadlineSession:
        from cryptai_pipelines.sources.deadline_http import DeadlineSession

        if not hasattr(self._of_thread, "session"):
            self._of_thread.session = DeadlineSession()
            self._of_thread.session.auth = self.address.credentials
        return self._of_thread.session


def _no_answer(error: Exception, asked: str, timeout_s: float) -> SourceError:
    import requests

    from cryptai_pipelines.sources.deadline_http import BodyError

    if isinstance(error, BodyError):
        return Malformed(f"{asked}: {error}")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
        return Permanent(f"{asked}: this is not an address that can be called")
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Permanent(f"{asked}: the certificate of the server is not valid for this address")
    if isinstance(error, (requests.Timeout, TimeoutError)):
        return Transient(f"{asked}: no complete answer within {timeout_s:.1f} s")
    return Transient(f"{asked}: the connection could not be made, or broke before the answer was complete")


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        beginning = " ".join(body[:200].decode("utf-8", "replace").split())[:60]
        raise Malformed(f"HTTP 200 with something that is no JSON: {beginning!r} ({len(body)} bytes)") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
