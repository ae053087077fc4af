"""Injected faults as a client meets them at the socket, and that nothing but the asked-for request is hit."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.faults import FAULTS, Answer, Fault, spoil
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.replay.conftest import fetch

NOW = 1_700_000_000_000
TARGET = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=100"


@pytest.fixture(scope="module")
def planned() -> Iterator[tuple[str, dict[str, Fault | None], list[tuple[str, str, int]]]]:
    """A server whose next fault is set by the test under `next`, and the calls its plan saw."""
    state: dict[str, Fault | None] = {"next": None}
    calls: list[tuple[str, str, int]] = []

    def plan(path: str, query: str, number: int) -> Fault | None:
        calls.append((path, query, number))
        fault, state["next"] = state["next"], None
        return fault

    with running(open_simulated(2, 1, FixedClock(NOW)), faults=plan) as url:
        yield url, state, calls


def connect(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def received(connection: socket.socket) -> bytes | str:
    """Everything up to the end of the connection, or `reset` when it was reset."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        return "reset"
    return b"".join(parts)


def clean(url: str) -> bytes:
    reply = fetch(url, TARGET)
    assert reply.status == 200 and len(reply.json) == 100
    return reply.body


@pytest.mark.parametrize("kind", sorted(name for name, fault in FAULTS.items() if fault.status))
def test_status_faults_answer_with_their_status(planned: tuple, kind: str) -> None:
    url, state, _ = planned
    state["next"] = FAULTS[kind]
    reply = fetch(url, TARGET)
    assert reply.status == FAULTS[kind].status
    assert reply.headers.get("retry-after") == dict(FAULTS[kind].headers).get("Retry-After")
    clean(url)


def test_the_table_of_kinds_is_as_long_as_the_ways_to_fail_that_are_known() -> None:
    assert len(FAULTS) >= 43


@pytest.mark.parametrize("kind", ["html", "null", "blank", "empty_object", "empty_list", "wrong_type", "invalid_utf8"])
def test_wrong_content_comes_with_status_200(planned: tuple, kind: str) -> None:
    url, state, _ = planned
    state["next"] = FAULTS[kind]
    reply = fetch(url, TARGET)
    assert (reply.status, reply.body) == (200, FAULTS[kind].body)
    assert reply.headers["content-length"] == str(len(reply.body))
    clean(url)


def test_truncated_json_is_a_whole_http_answer(planned: tuple) -> None:
    url, state, _ = planned
    whole = clean(url)
    state["next"] = FAULTS["truncated_json"]
    reply = fetch(url, TARGET)
    assert reply.status == 200 and reply.body == whole[: len(whole) // 2]
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)


def test_a_cut_body_is_shorter_than_declared(planned: tuple) -> None:
    url, state, _ = planned
    whole = clean(url)
    state["next"] = FAULTS["cut_in_body"]
    with pytest.raises(http.client.IncompleteRead) as error:
        fetch(url, TARGET)
    assert error.value.partial == whole[: len(whole) // 2]
    clean(url)


@pytest.mark.parametrize("kind", ["reset", "reset_in_body"])
def test_a_reset_is_a_reset(planned: tuple, kind: str) -> None:
    url, state, _ = planned
    state["next"] = FAULTS[kind]
    with connect(url) as connection:
        connection.sendall(f"GET {TARGET} HTTP/1.1\r\n\r\n".encode())
        assert received(connection) == "reset"
    clean(url)


def test_a_length_that_is_too_short_leaves_the_rest_in_the_way_of_the_next_answer(planned: tuple) -> None:
    url, state, _ = planned
    whole = clean(url)
    state["next"] = FAULTS["wrong_length"]
    reply = fetch(url, TARGET)
    assert reply.body == whole[: len(whole) // 2]
    state["next"] = FAULTS["wrong_length"]
    with connect(url) as connection:
        connection.sendall(f"GET {TARGET} HTTP/1.1\r\n\r\n".encode())
        got = b""
        while not got.endswith(whole):
            got += connection.recv(65_536)
    assert f"Content-Length: {len(whole) // 2}\r\n".encode() in got


def test_a_hang_in_the_body_sends_half_and_then_nothing(planned: tuple) -> None:
    url, state, _ = planned
    whole = clean(url)
    state["next"] = FAULTS["hang_in_body"]
    with connect(url) as connection:
        connection.sendall(f"GET {TARGET} HTTP/1.1\r\n\r\n".encode())
        got = b""
        while not got.endswith(whole[: len(whole) // 2]):
            got += connection.recv(65_536)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    clean(url)


def test_a_gzip_bomb_is_small_on_the_wire_and_more_than_a_client_should_hold(planned: tuple) -> None:
    url, state, _ = planned
    state["next"] = FAULTS["gzip_bomb"]
    reply = fetch(url, TARGET)
    assert reply.headers["content-encoding"] == "gzip" and len(reply.body) < 1_000_000
    unpacked = sum(len(part) for part in _unpacked(reply.body))
    assert unpacked > 150 * 2**20
    state["next"] = FAULTS["bad_gzip"]
    with pytest.raises((OSError, EOFError, zlib.error)):
        list(_unpacked(fetch(url, TARGET).body))


def _unpacked(body: bytes) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
        while part := stream.read(1 << 20):
            yield part


def test_content_is_spoiled_on_the_way_and_a_stale_page_is_what_was_said_before(planned: tuple) -> None:
    url, state, _ = planned
    before = fetch(url, TARGET.replace("limit=100", "limit=7")).json
    state["next"] = FAULTS["stale_page"]
    assert fetch(url, TARGET).json == before
    whole = json.loads(clean(url))
    state["next"] = FAULTS["short_page"]
    assert fetch(url, TARGET).json == whole[:50]
    state["next"] = FAULTS["short_page"]
    assert fetch(url, TARGET + "&wrong=1").json["code"] == -1104, "an error is no page"


def test_a_drip_delivers_everything_in_small_parts(planned: tuple) -> None:
    url, state, _ = planned
    whole = clean(url)
    state["next"] = replace(FAULTS["drip"], drip_s=0.001, drip_bytes=len(whole) // 20)
    with connect(url) as connection:
        connection.sendall(f"GET {TARGET} HTTP/1.1\r\n\r\n".encode())
        parts = [connection.recv(1_000_000)]
        while not b"".join(parts).endswith(whole):
            parts.append(connection.recv(1_000_000))
    assert len(parts) > 1


def test_a_hang_lasts_until_the_client_gives_up_and_blocks_nobody(planned: tuple) -> None:
    url, state, _ = planned
    state["next"] = FAULTS["hang"]
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=0.3)
    connection.request("GET", TARGET)
    clean(url)
    with pytest.raises(TimeoutError):
        connection.getresponse()
    connection.close()
    clean(url)


@pytest.mark.parametrize("wait_for_the_hang", [True, False])
def test_a_server_with_a_hanging_client_stops(wait_for_the_hang: bool) -> None:
    hanging = threading.Event()

    def plan(path: str, query: str, number: int) -> Fault:
        hanging.set()
        return FAULTS["hang"]

    with running(open_simulated(2, 1, FixedClock(NOW)), faults=plan) as url:
        connection = connect(url)
        connection.sendall(b"GET /api/v3/ping HTTP/1.1\r\n\r\n")
        assert not wait_for_the_hang or hanging.wait(10)
    with connection:
        assert received(connection) in (b"", "reset")


def test_a_plan_sees_path_query_and_a_running_number() -> None:
    calls: list[tuple[str, str, int]] = []

    def third_fails(path: str, query: str, number: int) -> Fault | None:
        calls.append((path, query, number))
        return Fault(status=500) if number == 3 else None

    with running(open_simulated(2, 1, FixedClock(NOW)), faults=third_fails) as url:
        statuses = [fetch(url, target).status for target in ("/api/v3/ping", TARGET, "/api/v3/time", "/nowhere")]
    assert statuses == [200, 200, 500, 404]
    query = TARGET.partition("?")[2]
    assert calls == [("/api/v3/ping", "", 1), ("/api/v3/klines", query, 2), ("/api/v3/time", "", 3), ("/nowhere", "", 4)]


def test_a_fault_that_says_nothing_changes_nothing() -> None:
    answer = Answer(200, (("Content-Type", "application/json"),), b"[1]")
    assert spoil(answer, Fault()) == answer
    assert spoil(answer, Fault(headers=(("content-type", "x"),))).headers == (("content-type", "x"),)
