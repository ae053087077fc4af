"""A receiver of alerts on a real loopback socket, which can be told to fail, to hang and to come back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from cryptai_pipelines.orchestration.alerts.receivers import Receiver, read_receivers

SECRET = "t0ps3cretTok3n"


@dataclass
class Inbox:
    """`mode`: `ok`; `fail` (HTTP 503); `hang` (no answer); `lose` (takes the message and drops the connection).
    `after_s`: how long an answer takes."""

    url: str = ""
    mode: str = "ok"
    after_s: float = 0.0
    taken: list[dict[str, str]] = field(default_factory=list)
    asked: int = 0

    @property
    def receiver(self) -> Receiver:
        return read_receivers(SecretStr(self.url))[0]

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.taken]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """A receiver for `json://` that keeps what it took."""
    found, released = Inbox(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked += 1
            released.wait(found.after_s)
            if found.mode == "hang":
                released.wait(30)
            if found.mode in ("ok", "lose"):
                found.taken.append(body)
            if found.mode in ("ok", "fail"):
                self.send_response(200 if found.mode == "ok" else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"json://me:{SECRET}@127.0.0.1:{server.server_port}/{SECRET}"
    try:
        yield found
    finally:
        released.set()
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
