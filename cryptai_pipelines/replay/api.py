"""From a request line to a whole answer: weight, endpoint, error bodies, headers. Bytes on a socket are in `server`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.replay.archive import ARCHIVE_ROOT, ReplayArchive
from cryptai_pipelines.replay.coinbase import answer_coinbase, is_coinbase
from cryptai_pipelines.replay.endpoints import ENDPOINTS, Request
from cryptai_pipelines.replay.faults import Answer
from cryptai_pipelines.replay.parameters import ApiError, read_query
from cryptai_pipelines.replay.rate_limit import Limits, Verdict, WeightBudget
from cryptai_pipelines.replay.udf import PREFIX, answer_udf
from cryptai_pipelines.replay.venue import ReplayVenue
from cryptai_pipelines.replay.wire import to_json

_JSON = "application/json;charset=UTF-8"
_NOT_FOUND = b"<html>\n<head><title>404 Not Found</title></head>\n<body>404 Not Found</body>\n</html>\n"
_UNKNOWN = "An unknown error occurred while processing the request."

log = logging.getLogger(__name__)


@dataclass
class Api:
    """One venue behind one weight budget. `real_s` is the real time the budget runs on: a venue clock may stand still."""

    venue: ReplayVenue
    limits: Limits = field(default_factory=Limits)
    real_s: Callable[[], float] = time.time
    budget: WeightBudget = field(init=False)
    archive: ReplayArchive = field(init=False)

    def __post_init__(self) -> None:
        self.budget = WeightBudget(self.limits)
        self.archive = ReplayArchive(self.venue)

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request. `headers` has lower-case names. Never raises."""
        if path.startswith(PREFIX) and method in ("GET", "HEAD"):
            return answer_udf(self.venue, path, query)
        if is_coinbase(path) and self.venue.second is not None and method in ("GET", "HEAD"):
            return answer_coinbase(self.venue.second, path, query)
        if path.startswith(ARCHIVE_ROOT) and method in ("GET", "HEAD"):
            return self._archived(path)
        endpoint = ENDPOINTS.get(path)
        if endpoint is None:
            return Answer(404, (("Content-Type", "text/html"),), _NOT_FOUND)
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

    def _archived(self, path: str) -> Answer:
        """The archive is a folder of files beside the API: no weight, no parameters."""
        label = (("X-Cryptai-Simulated", "1"),) if self.venue.simulated else ()
        try:
            body = self.archive.file(path)
        except Exception:
            # As in `answer`: a defect here must not end the other connections.
            log.exception("answering %s failed", path)
            return Answer(500, (("Content-Type", "text/html"), *label), b"")
        if body is None:
            return Answer(404, (("Content-Type", "text/html"), *label), _NOT_FOUND)
        return Answer(200, (("Content-Type", "binary/octet-stream"), *label), body)

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
