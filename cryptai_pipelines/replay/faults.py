"""Faults a test injects into answers, as plain data: one record says how an answer is spoiled, and a table names the kinds.

A fault is applied to the finished answer at the socket, in `server`; nothing here does I/O.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from cryptai_pipelines.replay.content_faults import CONTENT_FAULTS, spoiled_content


@dataclass(frozen=True)
class Answer:
    """An HTTP answer before it is written. Headers are (name, value); Content-Length is added when it is written."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """How one answer is spoiled. Every field left alone leaves its part of the answer alone.

    `status`, `body` replace; `headers` replace or add by name; `content` names a change of the JSON (`content_faults`), which
    an answer other than 200 is spared. `delay_s` waits before the first byte (infinity hangs until the client or the server
    gives up). `keep` sends only that share of the body, honestly declared (a complete HTTP answer with incomplete content);
    `declare` declares only that share and sends the whole. `break_at` declares the whole body and closes after that share of
    it; with `reset` the close is an RST instead of a FIN, with `hang` there is silence instead of a close. `drip_s` sends
    `drip_bytes` at a time with that pause between.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    content: str | None = None
    delay_s: float = 0.0
    keep: float = 1.0
    declare: float = 1.0
    break_at: float | None = None
    reset: bool = False
    hang: bool = False
    drip_s: float = 0.0
    drip_bytes: int = 1


FaultPlan = Callable[[str, str, int], Fault | None]
"""(path, raw query, number of the request since the server started, from 1) -> the fault to inject, or None."""

_HTML = b"<html><head><title>Service unavailable</title></head><body><h1>Please try again later</h1></body></html>"
_HTML_TYPE = (("Content-Type", "text/html"),)
_GZIP = (("Content-Encoding", "gzip"),)
_TOO_MUCH = b'{"code":-1003,"msg":"Too much request weight used."}'
_TWO_SECONDS_LATER = (("Date", "Tue, 14 Nov 2023 22:14:10 GMT"), ("Retry-After", "Tue, 14 Nov 2023 22:14:12 GMT"))
# Every part unpacks to 1 MiB.
_BOMB = gzip.compress(bytes(1 << 20), mtime=0) * 160

FAULTS: dict[str, Fault] = {
    "html": Fault(body=_HTML, headers=_HTML_TYPE),
    "null": Fault(body=b"null"),
    "blank": Fault(body=b""),
    "empty_object": Fault(body=b"{}"),
    "empty_list": Fault(body=b"[]"),
    "wrong_type": Fault(body=b'"ok"'),
    "invalid_utf8": Fault(body=b'[[1\xff\xfe\xc3("'),
    "truncated_json": Fault(keep=0.5),
    "error_with_200": Fault(body=b'{"code":-1000,"msg":"An unknown error occurred while processing the request."}'),
    "server_error": Fault(status=500, body=b'{"code":-1000,"msg":"An unknown error occurred while processing the request."}'),
    "bad_gateway": Fault(status=502, body=_HTML, headers=_HTML_TYPE),
    "unavailable": Fault(status=503, body=b""),
    "gateway_timeout": Fault(status=504, body=b'{"code":-1007,"msg":"Timeout waiting for response from backend server."}'),
    "firewall": Fault(status=403, body=_HTML, headers=_HTML_TYPE),
    "not_found": Fault(status=404, body=_HTML, headers=_HTML_TYPE),
    "bad_symbol": Fault(status=400, body=b'{"code":-1121,"msg":"Invalid symbol."}'),
    "bad_interval": Fault(status=400, body=b'{"code":-1120,"msg":"Invalid interval."}'),
    "redirect_loop": Fault(status=302, body=b"", headers=(("Location", "/api/v3/klines"),)),
    "restricted_location": Fault(status=451, body=b'{"code":0,"msg":"Service unavailable from a restricted location."}'),
    "rate_limited": Fault(status=429, body=_TOO_MUCH, headers=(("Retry-After", "1"),)),
    "rate_limited_without_hint": Fault(status=429, body=_TOO_MUCH),
    "rate_limited_until_a_date": Fault(status=429, body=_TOO_MUCH, headers=_TWO_SECONDS_LATER),
    "rate_limited_negative": Fault(status=429, body=_TOO_MUCH, headers=(("Retry-After", "-5"),)),
    "rate_limited_huge": Fault(status=429, body=_TOO_MUCH, headers=(("Retry-After", "99999999999"),)),
    "banned": Fault(
        status=418, body=b'{"code":-1003,"msg":"Way too much request weight used."}', headers=(("Retry-After", "120"),)
    ),
    "hang": Fault(delay_s=math.inf),
    "slow": Fault(delay_s=0.5),
    "drip": Fault(drip_s=0.05),
    "reset": Fault(break_at=0.0, reset=True),
    "reset_in_body": Fault(break_at=0.5, reset=True),
    "cut_in_body": Fault(break_at=0.5),
    "hang_in_body": Fault(break_at=0.5, hang=True),
    "wrong_length": Fault(declare=0.5),
    "bad_gzip": Fault(body=b"\x1f\x8bgarbage", headers=_GZIP),
    "gzip_bomb": Fault(body=_BOMB, headers=_GZIP),
    **{kind: Fault(content=kind) for kind in CONTENT_FAULTS},
}
"""The named kinds. A test may use them as they are or `dataclasses.replace` one of them."""


def spoil(answer: Answer, fault: Fault, former: bytes | None = None) -> Answer:
    """The answer with the status, headers and content that `fault` asks for; its timing and breaks are left to the server.

    `former` is the body of the last successful answer of the same endpoint about the same symbol, for faults that repeat it.
    """
    body = answer.body if fault.body is None else fault.body
    if fault.content is not None and answer.status == 200:
        body = spoiled_content(fault.content, body, former)
    replaced = {name.lower() for name, _ in fault.headers}
    kept = tuple((name, value) for name, value in answer.headers if name.lower() not in replaced)
    return replace(
        answer,
        status=answer.status if fault.status is None else fault.status,
        headers=kept + fault.headers,
        body=body[: int(len(body) * fault.keep)],
    )
