"""An HTTP session whose `timeout` bounds the whole call: resolving, connecting, headers and every byte of the body.

The timeout of `requests` is per socket operation, so a server that drips one byte at a time holds a call for ever. Here the
socket itself carries the deadline, without a watchdog thread. Knows nothing of venues. Import it inside functions: it loads
`requests`.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, DecodeError, NameResolutionError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as Urllib3Timeout

MAX_BODY_BYTES = 128 * 1024 * 1024
"""Bound of a decoded body, unless a session has its own. Binance's largest public answer, exchangeInfo, is about 20 MB;
compressed bombs end here."""

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Answer:
    """One complete HTTP answer. `body` is decoded from its content encoding and otherwise as it was sent."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class BodyError(requests.RequestException):
    """The body arrived but cannot be decoded or is larger than the session's bound."""


class DeadlineSession(requests.Session):
    """A session for one thread; `answer` is the last complete answer, None while there is none.

    Redirects are not followed: no venue's API uses them, and each hop would start a new deadline.
    """

    def __init__(self, max_body_bytes: int | None = None) -> None:
        super().__init__()
        self.trust_env = False
        self._max_body_bytes = MAX_BODY_BYTES if max_body_bytes is None else max_body_bytes
        self.answer: Answer | None = None
        for scheme in ("http://", "https://"):
            self.mount(scheme, _DeadlineAdapter())

    def request(self, method: str, url: str, *, timeout: float, **options: Any) -> requests.Response:  # type: ignore[override]
        """As `requests.Session.request`, with `timeout` seconds for everything; the returned body is complete."""
        self.answer = None
        options |= {"stream": True, "allow_redirects": False, "timeout": Timeout(total=timeout)}
        response = super().request(method, url, **options)
        with response:
            body = _read_body(response, self._max_body_bytes)
        response.raw = io.BytesIO(body)
        self.answer = Answer(url, response.status_code, response.headers, body)
        return response


def _read_body(response: requests.Response, max_bytes: int) -> bytes:
    """The decoded body, with urllib3's errors as those of requests, as `Response.content` would raise them."""
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=True):
            size += len(chunk)
            if size > max_bytes:
                raise BodyError(f"the body is larger than {max_bytes} bytes")
            chunks.append(chunk)
    except DecodeError as error:
        raise BodyError(f"the body does not decode as {response.headers.get('Content-Encoding')}") from error
    except Urllib3Timeout as error:
        raise requests.ReadTimeout(str(error)) from error
    except ProtocolError as error:
        raise requests.ConnectionError(str(error)) from error
    return b"".join(chunks)


class _DeadlineReader(io.RawIOBase):
    """Reads a socket until a moment of the monotonic clock, however often the other side sends a little."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket = sock
        # makefile keeps the socket open until this file is closed, also after the connection let go of it.
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the deadline of the call has passed")
        self._socket.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineSocketFile:
    """The one thing that `http.client.HTTPResponse` wants of a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        # urllib3 has just set the socket's timeout to what is left of the total.
        left = self._socket.gettimeout()
        if mode != "rb" or left is None:
            raise ValueError("a response is read in binary mode from a socket with a timeout")
        return io.BufferedReader(_DeadlineReader(self._socket, time.monotonic() + left), 64 * 1024)


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(_DeadlineSocketFile(sock), *args, **options)  # type: ignore[arg-type]


class _DeadlineConnection(HTTPConnection):
    response_class = _DeadlineResponse

    def _new_conn(self) -> socket.socket:
        return _open_socket(self)


class _DeadlineTlsConnection(HTTPSConnection):
    response_class = _DeadlineResponse

    def _new_conn(self) -> socket.socket:
        return _open_socket(self)


class _DeadlinePool(HTTPConnectionPool):
    ConnectionCls = _DeadlineConnection


class _DeadlineTlsPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineTlsConnection


class _DeadlineAdapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _DeadlinePool, "https": _DeadlineTlsPool}


def _open_socket(connection: HTTPConnection) -> socket.socket:
    """A connected socket within the connection's timeout in all, shared out among the host's addresses.

    Its own timeout is what is left, which bounds the TLS handshake that may follow.
    """
    deadline = time.monotonic() + float(connection.timeout)  # type: ignore[arg-type]
    try:
        addresses = _resolve(connection.host, connection.port, float(connection.timeout))  # type: ignore[arg-type]
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    failure: OSError = TimeoutError("the host name did not resolve in time")
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        left = deadline - time.monotonic()
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(max(left, 0.001) / (len(addresses) - position))
            sock.connect(address)
        except OSError as error:
            sock.close()
            failure = error
        else:
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            return sock
    if isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(connection, str(failure)) from failure
    raise NewConnectionError(connection, str(failure)) from failure


def _resolve(host: str, port: int, timeout_s: float) -> list[Any]:
    """`socket.getaddrinfo`, or an empty list after `timeout_s`: the system's resolver cannot be given a deadline.

    It runs in a daemon thread, which ends with the resolver's own patience and never holds the process at its exit.
    """
    outcome: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            outcome.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcome.put(error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, str(error)))

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    try:
        found = outcome.get(timeout=timeout_s)
    except queue.Empty:
        return []
    if isinstance(found, OSError):
        raise found
    return found
