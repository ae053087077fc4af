"""The receiver of TradingView's alerts: `POST /tradingview/<secret>` stores one, `GET /health` tells whether it could.

TradingView signs nothing and waits three seconds, so the secret is in the path, the body is stored before anything else is done
with it, and the answer comes within a second or says that the alert was not taken. How it is served is in `serving`.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import psycopg2

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tradingview_alerts import TradingViewAlert, record_alert
from cryptai_pipelines.web.alert_body import as_text, read_alert

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse

MOST_BODY_BYTES = 64 * 1024
PATH = "/tradingview/"
_SECRET = re.compile(r"[A-Za-z0-9._~-]{16,200}")
_DATABASE_S = 0.8
_STATEMENT_MS = 700
# TradingView has given up by then.
_BODY_S = 3.0
_THREADS = 4

T = TypeVar("T")
log = logging.getLogger(__name__)


class TooLarge(Exception):
    """The body is larger than `MOST_BODY_BYTES`."""


def checked_secret(secret: str | None) -> str:
    """The secret; `BadInput`, which does not show it, when there is none or it is not fit to stand in a path."""
    if secret is None:
        raise BadInput("CRYPTAI_WEBHOOK_SECRET is not set; accepted: 16 or more of A-Z a-z 0-9 . _ ~ -, made at random")
    if not _SECRET.fullmatch(secret):
        raise BadInput(
            f"CRYPTAI_WEBHOOK_SECRET ({len(secret)} characters) is not accepted; accepted: 16 to 200 of A-Z a-z 0-9 . _ ~ -"
        )
    return secret


class RateLimit:
    """At most `per_minute` in any sixty seconds."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._now = now
        self._taken: deque[float] = deque()

    def wait_s(self) -> float:
        """0 when one more was taken, else the seconds until there is room."""
        now = self._now()
        while self._taken and self._taken[0] <= now - 60:
            self._taken.popleft()
        if len(self._taken) >= self._per_minute:
            return self._taken[0] + 60 - now
        self._taken.append(now)
        return 0.0


def webhook_app(database: Database, secret: str, per_minute: int, clock: Clock) -> Starlette:
    """The ASGI application. `secret` as `checked_secret` gives it; `per_minute` alerts are taken, more are answered 429."""
    from starlette.applications import Starlette
    from starlette.requests import ClientDisconnect
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    limit, threads = RateLimit(per_minute), ThreadPoolExecutor(_THREADS, "webhook")

    async def receive(request: Request) -> JSONResponse:
        if not hmac.compare_digest(request.path_params["secret"].encode("utf-8", "surrogatepass"), secret.encode()):
            return JSONResponse({"error": "not found"}, 404)
        if wait_s := limit.wait_s():
            return JSONResponse({"error": "too many alerts"}, 429, {"Retry-After": str(int(wait_s) + 1)})
        try:
            body = await asyncio.wait_for(_body(request), _BODY_S)
        except TooLarge:
            return JSONResponse({"error": f"the body is larger than {MOST_BODY_BYTES} bytes"}, 413, {"Connection": "close"})
        except ClientDisconnect:
            return JSONResponse({"error": "the body broke off"}, 400)
        except TimeoutError:
            return JSONResponse({"error": "the body did not arrive in time"}, 408, {"Connection": "close"})
        alert = read_alert(body, clock.now_ms())
        try:
            stored = await _within(threads, lambda: _record(database, alert))
        except (TimeoutError, CryptaiError, psycopg2.Error) as error:
            log.error("an alert of %d bytes was not stored: %s", len(body), " ".join(str(error).split()) or "no answer in time")
            return JSONResponse({"error": "the alert could not be stored"}, 503, {"Retry-After": "1"})
        return JSONResponse({"stored": stored, "duplicate": not stored})

    async def health(request: Request) -> JSONResponse:
        try:
            await _within(threads, lambda: database.rows("SELECT 1"))
        except (TimeoutError, CryptaiError, psycopg2.Error):
            return JSONResponse({"status": "the database does not answer"}, 503)
        return JSONResponse({"status": "ok"})

    app = Starlette(routes=[Route(PATH + "{secret}", receive, methods=["POST"]), Route("/health", health)])
    app.router.redirect_slashes = False
    return app


async def _body(request: Request) -> bytes:
    """The whole body. `TooLarge` as soon as it is, whatever length was announced."""
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced[:20]) > MOST_BODY_BYTES:
        raise TooLarge
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BODY_BYTES:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


def _record(database: Database, alert: TradingViewAlert) -> bool:
    try:
        return record_alert(database, alert, _STATEMENT_MS)
    except psycopg2.DataError:
        return record_alert(database, as_text(alert), _STATEMENT_MS)


async def _within(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    """`work` on a thread; `TimeoutError` when it is not done in time. It is then left to its end, or never begun."""
    return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(threads, work), _DATABASE_S)
