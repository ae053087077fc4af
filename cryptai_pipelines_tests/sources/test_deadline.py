"""A call ends when its time is up, whatever the server does, and leaves nothing behind. Real time, short timeouts."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.deadline_http import _DeadlineReader
from cryptai_pipelines.sources.errors import Transient
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import http_answer, json_answer

TIMEOUT_S = 0.4
ANSWER = json_answer({"serverTime": 1_700_000_000_000, "padding": "x" * 400})
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n[\r\n" * 500
CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"[" * 500
HEAD = ANSWER.index(b"{")

SLOW: dict[str, fakes.Script] = {
    "hang before headers": fakes.hang_after(ANSWER, 0),
    "hang in headers": fakes.hang_after(ANSWER, 20),
    "hang in body": fakes.hang_after(ANSWER, HEAD + 9),
    "drip from the first byte": fakes.drip(ANSWER, 0.05),
    "drip in headers": fakes.drip(ANSWER, 0.05, start=10),
    "drip in body": fakes.drip(ANSWER, 0.05, start=HEAD),
    "drip of chunks": fakes.drip(CHUNKED, 0.05, start=50),
    "drip without a length": fakes.drip(CLOSING, 0.05, start=50),
    "headers without end": fakes.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500, 0.05, start=17),
}


@pytest.mark.parametrize("kind", SLOW)
def test_a_call_ends_at_its_deadline(kind: str, open_at) -> None:
    with fakes.serving(lambda _: SLOW[kind]) as server:
        source = open_at(server.url, TIMEOUT_S, tries=1)
        started = time.monotonic()
        with pytest.raises(Transient, match=r"no complete answer within 0\.4 s"):
            source.server_time()
        took = time.monotonic() - started
    assert TIMEOUT_S * 0.9 <= took <= TIMEOUT_S + 1


def test_what_came_before_a_silence_counts_against_the_deadline(open_at) -> None:
    """A drip and then a hang: the hang may only take what the drip left."""

    def drip_then_hang(client: socket.socket) -> None:
        fakes.drip(ANSWER[: HEAD + 16], 0.05, start=HEAD)(client)
        client.recv(1)

    with fakes.serving(lambda _: drip_then_hang) as server:
        started = time.monotonic()
        with pytest.raises(Transient, match="no complete answer"):
            open_at(server.url, 1.0, tries=1).server_time()
        assert time.monotonic() - started <= 1.6


def test_data_that_is_always_ready_does_not_outrun_the_deadline() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"ready")
        with pytest.raises(TimeoutError):
            _DeadlineReader(ours, time.monotonic()).read(5)
        with _DeadlineReader(ours, time.monotonic() + 60) as reader:
            assert reader.read(5) == b"ready"


def test_a_peer_that_never_accepts_ends_at_the_deadline(open_at) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        # Fill the accept queue, so that further connections get no answer at all.
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        started = time.monotonic()
        with pytest.raises(Transient):
            open_at(f"http://127.0.0.1:{address[1]}", TIMEOUT_S, tries=1).server_time()
        assert time.monotonic() - started <= TIMEOUT_S + 1
        for filler in fillers:
            filler.close()


def test_the_answer_after_a_deadline_belongs_to_its_own_question(open_at) -> None:
    """The late answer of the first call must not be read as the answer of the second."""
    late = threading.Event()

    def respond(request: fakes.Request) -> bytes | fakes.Script:
        if len(server.requests) > 1:
            return json_answer({"serverTime": 2})
        return lambda client: (late.wait(5), client.sendall(json_answer({"serverTime": 1})))

    with fakes.serving(respond) as server:
        source = open_at(server.url, TIMEOUT_S, tries=1)
        with pytest.raises(Transient):
            source.server_time()
        late.set()
        assert source.server_time() == 2


def test_no_thread_and_no_connection_outlives_a_deadline(open_at) -> None:
    gone = threading.Event()

    def hang(client) -> None:
        client.recv(1)  # Returns when the other side closes.
        gone.set()

    before = threading.active_count()
    with fakes.serving(lambda _: hang) as server:
        with pytest.raises(Transient):
            open_at(server.url, TIMEOUT_S, tries=1).server_time()
        assert gone.wait(5)
    assert threading.active_count() <= before


def test_the_total_deadline_holds_across_tries() -> None:
    with fakes.serving(lambda _: fakes.hang_after(b"", 0)) as server:
        retry = RetryPolicy(total_s=1.0, tries=50, first_pause_s=0.01)
        source = open_binance(server.url, 0.3, FixedClock(0), retry=retry, timer=Timer())
        started = time.monotonic()
        with pytest.raises(Transient):
            source.server_time()
        took = time.monotonic() - started
    assert len(server.requests) >= 2
    assert took <= 2.0


def test_a_hung_lookup_neither_holds_the_call_nor_the_process() -> None:
    """In a process of its own, because the system's resolver is replaced there by one that never answers."""
    program = """
import socket, threading, time
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.errors import Transient
from cryptai_pipelines.sources.retry import RetryPolicy
socket.getaddrinfo = lambda *a, **k: threading.Event().wait()
source = open_binance("http://venue.example", 0.3, FixedClock(0), retry=RetryPolicy(total_s=9, tries=1))
started = time.monotonic()
try:
    source.server_time()
except Transient as error:
    print(error, time.monotonic() - started < 6)  # The import of ccxt is part of the first call.
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("binance at http://venue.example/api/v3/time: no complete answer within 0.3 s True"), done
    assert done.returncode == 0


def test_a_connection_is_used_again_while_all_is_well(open_at) -> None:
    with fakes.serving(lambda _: http_answer(b'{"serverTime": 5}')) as server:
        source = open_at(server.url)
        for _ in range(5):
            assert source.server_time() == 5
    assert len(server.requests) == 5
    assert server.connections == 1
