"""The HTTP/1.1 server of a replay venue: connections, keep-alive, and injected faults at the socket. It listens on loopback
only. What is answered is decided in `api`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import math
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.faults import Answer, Fault, FaultPlan, spoil
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.venue import ReplayVenue

Watch = Callable[[str, Answer], None]
"""Told of the path and the answer of every request as it arrives, after a fault has changed what the answer says."""

_MOST_HEADER_BYTES = 32_768
_MOST_BODY_BYTES = 1_000_000


@dataclass
class _Connections:
    """What every connection shares: the API, the fault plan, who watches, how many requests came so far, the body last given by
    each endpoint for each symbol, and the open connections."""

    api: Api
    faults: FaultPlan | None
    watch: Watch | None = None
    requests: int = 0
    former: dict[tuple[str, str], bytes] = field(default_factory=dict)
    open: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)


def serve(
    venue: ReplayVenue,
    port: int,
    host: str = "127.0.0.1",
    ready: Callable[[str], None] | None = None,
    limits: Limits | None = None,
    faults: FaultPlan | None = None,
) -> None:
    """Serve `venue` until SIGINT or SIGTERM, then return. `ready` is called with the base URL once connections are accepted.

    `BadInput` when `host` is not a loopback address or the port is out of range; `CryptaiError` when the port is taken.
    """
    asyncio.run(_serve_until(venue, port, host, ready, limits, faults, stop=None))


@contextlib.contextmanager
def running(
    venue: ReplayVenue,
    port: int = 0,
    host: str = "127.0.0.1",
    limits: Limits | None = None,
    faults: FaultPlan | None = None,
    watch: Watch | None = None,
) -> Iterator[str]:
    """Serve `venue` on a thread while the block runs; gives the base URL. Port 0 takes a free one. Errors as of `serve`."""
    started = threading.Event()
    state: dict[str, object] = {}

    def target() -> None:
        loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        state["stop"] = lambda: loop.call_soon_threadsafe(stop.set)

        def ready(url: str) -> None:
            state["url"] = url
            started.set()

        try:
            loop.run_until_complete(_serve_until(venue, port, host, ready, limits, faults, stop, watch))
        except Exception as error:  # noqa: BLE001
            # Whatever ended the server is raised again on the thread that waits for it.
            state["error"] = error
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=target, name="replay-venue", daemon=True)
    thread.start()
    started.wait()
    if "url" not in state:
        thread.join()
        raise state["error"]  # type: ignore[misc]
    try:
        yield str(state["url"])
    finally:
        if thread.is_alive():
            state["stop"]()  # type: ignore[operator]
        thread.join()
    if "error" in state:
        raise state["error"]  # type: ignore[misc]


async def _serve_until(
    venue: ReplayVenue,
    port: int,
    host: str,
    ready: Callable[[str], None] | None,
    limits: Limits | None,
    faults: FaultPlan | None,
    stop: asyncio.Event | None,
    watch: Watch | None = None,
) -> None:
    shared = _Connections(Api(venue, limits or Limits()), faults, watch)
    listening = _listen(host, port)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(_connection(shared, reader, writer))
        shared.open[task] = writer
        task.add_done_callback(shared.open.pop)

    server = await asyncio.start_server(connected, sock=listening, limit=_MOST_HEADER_BYTES)
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    if ready is not None:
        ready(_base_url(listening))
    await stop.wait()
    # Before the server is closed, because asyncio loses a connection that it accepts around that moment.
    asyncio.get_running_loop().remove_reader(listening)
    await _end_all(shared)
    server.close()


def _listen(host: str, port: int) -> socket.socket:
    address = _loopback(host)
    if not 0 <= port <= 65_535:
        raise BadInput(f"port {port} is not accepted; 1 to 65535 are, and 0 for any free one")
    listening = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((str(address), port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        reason = "is taken by another program" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise CryptaiError(f"port {port} on {host} {reason}; choose another with --port") from None
    return listening


def _loopback(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        if address.is_loopback:
            return address
    raise BadInput(f"host {host!r} is not accepted; the replay venue listens on loopback only, such as 127.0.0.1")


def _base_url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _end_all(shared: _Connections) -> None:
    """Break off every connection: what a client has not read by now it does not get, or it could hold the stop up."""
    # What asyncio is still accepting becomes a connection first; cancelled, it would leave its socket open.
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task(), *shared.open}), return_exceptions=True)
    left = dict(shared.open)
    for task, writer in left.items():
        writer.transport.abort()
        task.cancel()
    await asyncio.gather(*left, *(writer.wait_closed() for writer in left.values()), return_exceptions=True)


async def _connection(shared: _Connections, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await _exchange(shared, reader, writer):
            pass
    except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _exchange(shared: _Connections, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read one request and answer it; whether the connection is kept."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return False
    parts = head[0].split(" ")
    if len(parts) != 3:
        await _write(writer, Answer(400, (), b""), keep=False, with_body=True)
        return False
    method, target, version = parts
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > _MOST_BODY_BYTES or "transfer-encoding" in headers:
        await _write(writer, Answer(413, (), b""), keep=False, with_body=True)
        return False
    await reader.readexactly(int(length))
    path, _, query = target.partition("?")
    shared.requests += 1
    answer = shared.api.answer(method, path, query, headers)
    fault = former = None
    if shared.faults is not None:
        fault, former = shared.faults(path, query, shared.requests), _former(shared, path, query, answer)
    spoiled = answer if fault is None else spoil(answer, fault, former)
    if shared.watch is not None:
        shared.watch(path, spoiled)
    connection = headers.get("connection", "").lower()
    keep = connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"
    if fault is not None:
        return await _write_spoiled(reader, writer, spoiled, fault) and keep
    await _write(writer, answer, keep, with_body=method != "HEAD")
    return keep


def _former(shared: _Connections, path: str, query: str, answer: Answer) -> bytes | None:
    """What the endpoint last said about the symbol of the query."""
    about = path, dict(parse_qsl(query)).get("symbol", "")
    former = shared.former.get(about)
    if answer.status == 200:
        shared.former[about] = answer.body
    return former


def _head(answer: Answer, keep: bool, length: int) -> bytes:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in answer.headers)]
    lines += [f"Content-Length: {length}", f"Connection: {'keep-alive' if keep else 'close'}", "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _write(writer: asyncio.StreamWriter, answer: Answer, keep: bool, with_body: bool) -> None:
    writer.write(_head(answer, keep, len(answer.body)) + (answer.body if with_body else b""))
    await writer.drain()


async def _write_spoiled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, spoiled: Answer, fault: Fault) -> bool:
    """Write the answer as `fault` says; whether the connection is still good."""
    if math.isinf(fault.delay_s):
        await reader.read(1)  # returns when the client hangs up
        return False
    await asyncio.sleep(fault.delay_s)
    whole = _head(spoiled, True, int(len(spoiled.body) * fault.declare)) + spoiled.body
    if fault.break_at is not None:
        start = len(whole) - len(spoiled.body)
        whole = whole[: start + int(len(spoiled.body) * fault.break_at)] if fault.break_at else b""
    step = fault.drip_bytes if fault.drip_s else len(whole)
    for at in range(0, len(whole), max(step, 1)):
        writer.write(whole[at : at + step])
        await writer.drain()
        await asyncio.sleep(fault.drip_s)
    if fault.break_at is None:
        return True
    if fault.hang:
        await reader.read(1)
    if fault.reset:
        # Linger 0 makes the close an RST; the bytes above must have left first.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    return False
