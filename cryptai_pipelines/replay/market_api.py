"""One of Binance's markets behind one weight budget: from a request to a whole answer, with error bodies and headers. What its
endpoints are stands in `endpoints` (spot) and `futures`; which market a path belongs to is decided in `api`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.replay.endpoints import Endpoint, Request
from cryptai_pipelines.replay.faults import Answer
from cryptai_pipelines.replay.parameters import ApiError, read_query
from cryptai_pipelines.replay.rate_limit import Limits, Verdict, WeightBudget
from cryptai_pipelines.replay.venue import ReplayVenue
from cryptai_pipelines.replay.wire import to_json

_JSON = "application/json;charset=UTF-8"
_UNKNOWN = "An unknown error occurred while processing the request."

log = logging.getLogger(__name__)


@dataclass
class MarketApi:
    """The endpoints by their paths, over one venue. `real_s` is the real time the budget runs on: a venue clock may stand
    still."""

    venue: ReplayVenue
    endpoints: Mapping[str, Endpoint]
    limits: Limits
    real_s: Callable[[], float]
    budget: WeightBudget = field(init=False)

    def __post_init__(self) -> None:
        self.budget = WeightBudget(self.limits)

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request for `path`, a key of `endpoints`. `headers` has lower-case names. Never raises."""
        endpoint = self.endpoints[path]
        if method not in ("GET", "HEAD"):
            return Answer(405, (("Content-Type", _JSON), ("Allow", "GET, HEAD")), b"")
        failure: ApiError | None = None
        parameters: dict[str, str] = {}
        try:
            parameters = read_query(query, endpoint.accepted)
        except ApiError as error:
            failure = error
        verdict = self.budget.charge(1 if failure else endpoint.weight(parameters), self.real_s())
        if verdict.status != 200:
            return self._refused(verdict)
        try:
            if failure is not None:
                raise failure
            factor = _time_factor(headers)
            body = endpoint.answer(Request(self.venue, self.limits, parameters, self.venue.clock.now_ms(), factor))
            return Answer(200, self._headers(verdict), body)
        except ApiError as error:
            return Answer(error.status, self._headers(verdict), _error_body(error.code, error.message))
        except CryptaiError as error:
            log.error("%s: %s", path, error)
        except Exception:
            # A defect here must look like a broken venue to the client, not end the connection of every other one.
            log.exception("answering %s?%s failed", path, query)
        return Answer(500, self._headers(verdict), _error_body(-1000, _UNKNOWN))

    def _headers(self, verdict: Verdict) -> tuple[tuple[str, str], ...]:
        used = str(verdict.used)
        headers = (("Content-Type", _JSON), ("X-MBX-USED-WEIGHT", used), ("X-MBX-USED-WEIGHT-1M", used))
        return headers + ((("X-Cryptai-Simulated", "1"),) if self.venue.simulated else ())

    def _refused(self, verdict: Verdict) -> Answer:
        if verdict.status == 418:
            until_ms = int((self.real_s() + verdict.retry_after_s) * 1000)
            reason = f"Way too much request weight used; IP banned until {until_ms}."
            advice = "Please use WebSocket Streams for live updates to avoid bans."
        else:
            limit = self.limits.weight_per_minute
            reason = f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE."
            advice = "Please use WebSocket Streams for live updates to avoid polling the API."
        headers = (*self._headers(verdict), ("Retry-After", str(verdict.retry_after_s)))
        return Answer(verdict.status, headers, _error_body(-1003, f"{reason} {advice}"))


def _time_factor(headers: Mapping[str, str]) -> int:
    unit = headers.get("x-mbx-time-unit", "MILLISECOND").upper()
    if unit not in ("MILLISECOND", "MICROSECOND"):
        raise ApiError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return 1000 if unit == "MICROSECOND" else 1


def _error_body(code: int, message: str) -> bytes:
    return to_json({"code": code, "msg": message})
