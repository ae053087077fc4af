"""Doubles that several rooms share: a timer that is advanced by hand, and small HTTP servers on a real loopback socket.

A double of one test alone stands in that test. Nothing here replaces the thing under test.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from cryptai_pipelines.sources.timer import Timer


class FakeTime:
    """Seconds that pass only by sleeping. `slept` is every pause asked for, in order."""

    def __init__(self, epoch: float = 1_700_000_040.0) -> None:
        self._lock = threading.Lock()
        self.epoch_s = epoch
        self.slept: list[float] = []

    def now(self) -> float:
        return self.epoch_s - 1_600_000_000.0

    def epoch(self) -> float:
        return self.epoch_s

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        with self._lock:
            self.slept.append(seconds)
            self.epoch_s += seconds

    def timer(self) -> Timer:
        return Timer(self.now, self.epoch, self.sleep)


@dataclass(frozen=True)
class Request:
    """One request as the server read it; `at` is the server's monotonic second of arrival."""

    path: str
    parameters: dict[str, str]
    headers: dict[str, str]
    at: float


Script = Callable[[socket.socket], None]
"""Writes whatever it likes to the client's socket; the connection is closed afterwards."""

Responder = Callable[[Request], "bytes | Script"]


@dataclass
class WireServer:
    """A running server: where it is, and what was asked of it."""

    url: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@contextlib.contextmanager
def serving(respond: Responder, tls: ssl.SSLContext | None = None) -> Iterator[WireServer]:
    """Serve `respond` on a free loopback port, one thread per connection, until the block ends. Connections are kept alive."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = WireServer(f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}")
    open_sockets: set[socket.socket] = set()
    threads: list[threading.Thread] = []

    def talk(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if tls is not None:
                client = tls.wrap_socket(client, server_side=True)
                open_sockets.add(client)
            _converse(client, respond, server)

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            open_sockets.add(client)
            server.connections += 1
            thread = threading.Thread(target=talk, args=(client,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        for sock in (listener, *open_sockets):
            # A thread that is blocked in accept or recv is woken by a shutdown, not by a close.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in (acceptor, *threads):
            thread.join(timeout=5)


def _converse(client: socket.socket, respond: Responder, server: WireServer) -> None:
    with client:
        while (request := _read_request(client)) is not None:
            server.requests.append(request)
            answer = respond(request)
            if not isinstance(answer, bytes):
                answer(client)
                return
            client.sendall(answer)


def _read_request(client: socket.socket) -> Request | None:
    head = b""
    while b"\r\n\r\n" not in head:
        part = client.recv(65536)
        if not part:
            return None
        head += part
    first, *lines = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    target = urlsplit(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(target.path, dict(parse_qsl(target.query)), headers, time.monotonic())


def http_answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    """A whole HTTP/1.1 answer; a header's name is spelled with underscores: `Retry_After="3"`."""
    names = {"Content_Type": "application/json", "Content_Length": str(len(body))} | headers
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in names.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body


def json_answer(value: Any, status: int = 200, **headers: str) -> bytes:
    """`http_answer` of a value as JSON."""
    return http_answer(json.dumps(value).encode(), status, **headers)


def cut_after(answer: bytes, count: int) -> Script:
    """The first `count` bytes, then the end of the stream."""
    return lambda client: client.sendall(answer[:count])


def reset_after(answer: bytes, count: int) -> Script:
    """The first `count` bytes, then a TCP reset."""

    def run(client: socket.socket) -> None:
        client.sendall(answer[:count])
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return run


def hang_after(answer: bytes, count: int) -> Script:
    """The first `count` bytes, then silence until the client leaves."""

    def run(client: socket.socket) -> None:
        client.sendall(answer[:count])
        client.recv(1)

    return run


def drip(answer: bytes, pause_s: float, start: int = 0) -> Script:
    """The bytes up to `start` at once, then one byte at a time with `pause_s` between, until the client leaves."""

    def run(client: socket.socket) -> None:
        client.sendall(answer[:start])
        for position in range(start, len(answer)):
            client.sendall(answer[position : position + 1])
            time.sleep(pause_s)

    return run


def kline(ts: int, length_ms: int, price: float = 100.0) -> list[Any]:
    """A well-formed kline row of the open time `ts`."""
    text = f"{price:.8f}"
    return [ts, text, text, text, text, "1.50000000", ts + length_ms - 1, "150.00000000", 7, "0.50000000", "50.00000000", "0"]


@dataclass
class KlineVenue:
    """Answers klines as Binance does, from ascending rows; `page_cap` is the most rows it ever gives."""

    rows: Sequence[list[Any]]
    page_cap: int = 1000

    def select(self, parameters: dict[str, str]) -> list[list[Any]]:
        start, end = parameters.get("startTime"), parameters.get("endTime")
        limit = min(int(parameters.get("limit", 500)), self.page_cap)
        found = [row for row in self.rows if (start is None or row[0] >= int(start)) and (end is None or row[0] <= int(end))]
        return found[:limit] if start is not None else found[-limit:]

    def __call__(self, request: Request) -> bytes:
        if request.path.endswith("/klines"):
            return json_answer(self.select(request.parameters))
        if request.path.endswith("/time"):
            return json_answer({"serverTime": 1_700_000_000_000})
        return json_answer({"code": -1000, "msg": "not served"}, 404)
