"""The real ccxt client of a venue under our rules: one per thread, a total deadline, strict JSON, retries, shared limits.

ccxt builds each request, sends it and reads the venue's error codes. What the answers mean is not known here: callers pass a
function that reads the parsed JSON and may raise `Malformed`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlencode

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.sources.errors import Malformed, Permanent, SourceError
from cryptai_pipelines.sources.pace import Pace
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy, answered_at_ms, pause_or_raise
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue_address import VenueAddress
from cryptai_pipelines.sources.venue_errors import Asked, ErrorRules, Reply, one_line, source_error
from cryptai_pipelines.sources.weight_budget import WeightBudget

if TYPE_CHECKING:
    from cryptai_pipelines.sources import deadline_http

T = TypeVar("T")
Parameters = Mapping[str, str | int]


class Endpoint(NamedTuple):
    """A public endpoint: its path below the API's root, ccxt's implicit method for it, and what a call weighs.

    A parameter that the path names in braces is sent in the path.
    """

    path: str
    method: str
    weight: int


class Received(NamedTuple):
    """A complete, successful answer: its JSON, its bytes as they were sent, and its headers (names in any case)."""

    parsed: Any
    body: bytes
    headers: Mapping[str, str]
    url: str
    fetched_at_ms: int


@dataclass(frozen=True)
class Wire:
    """How ccxt's client of a venue is made, pointed at an address, and its errors are read."""

    ccxt_id: str
    place: Callable[[Any, str], None]
    """Makes the client call the API's root that is given."""

    errors: ErrorRules
    options: Mapping[str, Any] = field(default_factory=dict)
    used_weight_header: str | None = None
    """Header by which the venue tells the weight used in the current minute."""


@dataclass(frozen=True)
class VenueLimits:
    """What all callers of one venue share: of this process, or of all that count in one ledger."""

    budget: WeightBudget
    gate: RetryAfterGate


class CcxtClient:
    """Asks one venue. Safe for use by several threads, each of which gets a ccxt client and a connection of its own."""

    def __init__(
        self,
        address: VenueAddress,
        wire: Wire,
        request_timeout_s: float,
        clock: Clock,
        retry: RetryPolicy,
        timer: Timer,
        limits: VenueLimits,
        pace: Pace,
    ) -> None:
        self.address = address
        self._wire = wire
        self._request_timeout_s = request_timeout_s
        self.clock = clock
        self._retry = retry
        self._timer = timer
        self.limits = limits
        self._pace = pace
        self._of_thread = threading.local()

    def ask(self, endpoint: Endpoint, parameters: Parameters, read: Callable[[Received], T], symbol: str | None = None) -> T:
        """What `read` makes of the answer, asked again as `RetryPolicy` says. Raises the last `SourceError`, which names
        `symbol` when the venue does not know it.

        `Transient` and `RateLimited` are tried until the policy's tries or total time end, `Malformed` once more (an error
        page of a proxy is often gone at the second look), `Permanent` never.
        """
        # Now, because the first call of a thread loads ccxt: weight that is reserved before that is spent in a later window.
        self._client()
        give_up_at = self._timer.now() + self._retry.total_s
        failures = 0
        while True:
            # Before, so that weight is reserved in the window of the call; after, because reserving may have taken a while.
            self.limits.gate.wait(give_up_at)
            give_up_at += self.limits.budget.spend(endpoint.weight)
            give_up_at += self._pace.wait()
            self.limits.gate.wait(give_up_at)
            try:
                return self._ask_once(endpoint, parameters, read, symbol, give_up_at - self._timer.now())
            except Permanent:
                raise
            except SourceError as error:
                failures += 1
                pause_or_raise(error, failures, give_up_at, self._retry, self.limits.gate, self._timer)

    def currency_code(self, venue_code: str) -> str:
        """The common code of a currency that the venue spells its own way, or shares with another one, by ccxt's tables."""
        return str(self._client()[0].safe_currency_code(venue_code))

    def _ask_once(
        self,
        endpoint: Endpoint,
        parameters: Parameters,
        read: Callable[[Received], T],
        symbol: str | None,
        patience_s: float,
    ) -> T:
        timeout_s = min(self._request_timeout_s, max(patience_s, 0.001))
        client, session = self._client()
        client.timeout, session.answer = timeout_s * 1000, None
        url = _url(self.address.api_url, endpoint.path, parameters)
        asked = Asked(self.address.venue, url, symbol)
        sent_at = self._timer.epoch()
        failure: Exception | None = None
        try:
            parsed = getattr(client, endpoint.method)(dict(parameters))
        # ccxt reads error bodies with code that assumes their shape, so a hostile one can raise anything.
        except Exception as error:  # noqa: BLE001 - see above; it is mapped to an error of ours below
            failure = error
        answer = session.answer
        if answer is None:
            # The connection is in an unknown state: nothing of a late answer may reach the next question.
            session.close()
            raise source_error(failure, asked, None, timeout_s, self._wire.errors) from failure
        self._observe(answer, sent_at)
        if failure is not None or answer.status != 200:
            raise source_error(failure, asked, self._reply(answer), timeout_s, self._wire.errors) from failure
        try:
            return read(Received(parsed, answer.body, answer.headers, url, self.clock.now_ms()))
        except Malformed as error:
            raise Malformed(f"{asked}: {error}") from None

    def _reply(self, answer: deadline_http.Answer) -> Reply:
        return Reply(answer.status, answer.headers, answer.body, answered_at_ms(answer.headers, self.clock))

    def _observe(self, answer: deadline_http.Answer, sent_at: float) -> None:
        if self._wire.used_weight_header is None:
            return
        used = answer.headers.get(self._wire.used_weight_header, "")
        if used.isascii() and used.isdigit() and len(used) < 10:
            self.limits.budget.observe(int(used), sent_at)

    def _client(self) -> tuple[Any, deadline_http.DeadlineSession]:
        if not hasattr(self._of_thread, "client"):
            self._of_thread.client = _open_client(self.address, self._wire)
        return self._of_thread.client


def _url(api_url: str, path: str, parameters: Parameters) -> str:
    in_path = {name: value for name, value in parameters.items() if f"{{{name}}}" in path}
    query = {name: value for name, value in parameters.items() if name not in in_path}
    return f"{api_url}/{path.format(**in_path)}" + (f"?{urlencode(query, safe=':,')}" if query else "")


def _open_client(address: VenueAddress, wire: Wire) -> tuple[Any, deadline_http.DeadlineSession]:
    """A keyless client and the session it calls through. ccxt's throttle is off: it knows of this one client only."""
    from cryptai_pipelines.sources.ccxt_package import exchange_class
    from cryptai_pipelines.sources.deadline_http import DeadlineSession

    session = DeadlineSession()
    session.auth = address.credentials
    client = exchange_class(wire.ccxt_id)(
        {
            "enableRateLimit": False,
            "enableLastHttpResponse": False,
            "enableLastResponseHeaders": False,
            "options": dict(wire.options),
        }
    )
    client.session = session
    wire.place(client, address.api_url)
    # ccxt's own parser turns a body that is not JSON into None, and that into an empty result.
    client.parse_json = lambda _text: _parse(session.answer)
    return client, session


def _parse(answer: deadline_http.Answer) -> Any:
    """The JSON of an answer. Status 200: a list or an object, else `Malformed`; other statuses: None unless it is one."""
    try:
        parsed = json.loads(answer.body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        parsed = None
    if isinstance(parsed, (list, dict)):
        return parsed
    if answer.status != 200:
        return None
    beginning = one_line(answer.body[:200].decode("utf-8", "replace"), 60)
    raise Malformed(f"HTTP 200 with something that is no JSON list or object: {beginning!r} ({len(answer.body)} bytes)")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
