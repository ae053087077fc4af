"""The receiver of alerts as a real server on a socket, over a real Postgres: what is stored, refused, and never breaks it."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tradingview_alerts import TradingViewAlert, read_alerts, record_alert
from cryptai_pipelines.web.alert_body import read_alert
from cryptai_pipelines.web.serving import running
from cryptai_pipelines.web.webhook import MOST_BODY_BYTES, RateLimit, checked_secret, webhook_app

SECRET = "correct-horse-battery"
NOW_MS = 1_700_000_000_000


class Reply(NamedTuple):
    status: int
    json: Any


@pytest.fixture(scope="module")
def url(database_per_module: Database) -> Iterator[str]:
    with running(webhook_app(database_per_module, SECRET, 1_000_000, FixedClock(NOW_MS))) as base_url:
        yield base_url


def _post(url: str, body: bytes, path: str = f"/tradingview/{SECRET}", method: str = "POST") -> Reply:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "text/plain; charset=utf-8"})
        answer = connection.getresponse()
        text = answer.read()
        return Reply(answer.status, json.loads(text) if text.startswith(b"{") else text)
    finally:
        connection.close()


def _raw(url: str, *parts: bytes, hang_up: bool = True) -> bytes:
    """Everything that comes back for bytes sent as they are; `hang_up`: nothing more will come."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as client:
        try:
            for part in parts:
                client.sendall(part)
            if hang_up:
                client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The server may hang up before it has heard everything; what it said counts.
        found = b""
        try:
            while part := client.recv(65536):
                found += part
        except ConnectionError:
            pass
        return found


HEAD = f"POST /tradingview/{SECRET} HTTP/1.1\r\nHost: x\r\n".encode()


def test_an_alert_is_stored_as_it_came_and_readable(url: str, database_per_module: Database) -> None:
    said = {
        "ticker": "BTCUSDT",
        "exchange": "BINANCE",
        "interval": "60",
        "time": "2023-11-14T22:00:00Z",
        "rule": "cross",
        "n": 1,
    }
    body = json.dumps(said).encode()
    assert _post(url, body) == (200, {"stored": True, "duplicate": False})
    alert = read_alerts(database_per_module, 1)[0]
    assert (alert["ticker"], alert["exchange"], alert["interval"], alert["rule"]) == ("BTCUSDT", "BINANCE", "60", "cross")
    assert (alert["payload"], alert["body"]) == (said, body)
    assert (alert["fired_at"].isoformat(), alert["received_at"].timestamp()) == ("2023-11-14T22:00:00+00:00", NOW_MS / 1000)


def test_the_same_alert_is_stored_once_however_often_and_however_written(url: str, database_per_module: Database) -> None:
    said = {"ticker": "ETHUSDT", "interval": "15", "time": "2023-11-14T22:15:00Z", "rule": "cross", "price": 1}
    before = len(read_alerts(database_per_module, 10_000))
    replies: list[Reply] = []
    bodies = [json.dumps({**said, "price": n}).encode() for n in range(8)]
    threads = [threading.Thread(target=lambda body=body: replies.append(_post(url, body))) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(reply.json["stored"] for reply in replies) == [False] * 7 + [True]
    assert {reply.status for reply in replies} == {200}
    assert _post(url, json.dumps({**said, "rule": "other"}).encode()).json["stored"]
    assert _post(url, json.dumps({**said, "time": "2023-11-14T22:30:00Z"}).encode()).json["stored"]
    assert len(read_alerts(database_per_module, 10_000)) == before + 3


@pytest.mark.parametrize(("later_ms", "stored"), [(0, False), (59_000, False), (61_000, True), (86_400_000, True)])
def test_a_text_without_a_time_is_a_repetition_for_a_minute(database: Database, later_ms: int, stored: bool) -> None:
    for start in (NOW_MS, NOW_MS + 3_600_000 + 30_000):
        body = f"price crossed {start}".encode()
        assert record_alert(database, read_alert(body, start), 5000)
        assert record_alert(database, read_alert(body, start + later_ms), 5000) is stored


@pytest.mark.parametrize(
    "path",
    [
        "/tradingview/",
        "/tradingview/wrong-horse-battery",
        f"/tradingview/{SECRET}x",
        f"/tradingview/{SECRET[:-1]}",
        f"/tradingview/{SECRET.upper()}",
        f"/tradingview/{SECRET}/",
        f"/tradingview/%00{SECRET}",
        "/tradingview/%ff%fe",
        "/tradingview/%ed%a0%80",
        "/tradingview/" + "a" * 5000,
        "/",
        "/docs",
    ],
)
def test_a_wrong_path_is_not_found_and_stores_nothing(url: str, database_per_module: Database, path: str) -> None:
    before = len(read_alerts(database_per_module, 10_000))
    assert _post(url, b"x", path).status == 404
    assert len(read_alerts(database_per_module, 10_000)) == before


def test_only_post_is_taken(url: str) -> None:
    assert [_post(url, b"", method=method).status for method in ("GET", "PUT", "DELETE")] == [405] * 3
    assert _post(url, b"", "/health", "GET") == (200, {"status": "ok"})


def test_a_body_of_the_limit_is_taken_and_one_byte_more_is_not(url: str) -> None:
    assert _post(url, b"a" * MOST_BODY_BYTES).status == 200
    assert _post(url, b"a" * (MOST_BODY_BYTES + 1)).status == 413


def test_the_limit_holds_for_chunks_and_for_lengths_that_lie(url: str, database_per_module: Database) -> None:
    before = len(read_alerts(database_per_module, 10_000))
    chunk = b"2000\r\n" + b"b" * 8192 + b"\r\n"
    assert b" 413 " in _raw(url, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40, b"0\r\n\r\n")
    assert b" 413 " in _raw(url, HEAD + b"Content-Length: 99999999999\r\n\r\n", b"x", hang_up=False)
    assert b" 200 " not in _raw(url, HEAD + b"Content-Length: 50\r\n\r\n", b"short")
    assert b" 200 " not in _raw(url, HEAD + b"Content-Length: -5\r\n\r\n", b"short")
    assert b" 200 " not in _raw(url, HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", b"xy")
    assert len(read_alerts(database_per_module, 10_000)) == before
    small = b"5\r\nhello\r\n0\r\n\r\n"
    whole = HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + small
    assert b" 200 " in _raw(url, whole, hang_up=False)
    assert read_alerts(database_per_module, 1)[0]["body"] == b"hello"


HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "invalid utf-8": b'{"ticker":"\xff\xfe"}',
    "nul byte": b'{"ticker":"a\x00b"}',
    "nul escape": b'{"ticker":"a\\u0000b","time":1}',
    "nul in a key": b'{"a\\u0000":1}',
    "lone surrogate": b'{"ticker":"\\ud800"}',
    "deep list": b"[" * 30_000 + b"]" * 30_000,
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "depth of 100": b"[" * 100 + b"]" * 100,
    "huge integer": b'{"time":' + b"9" * 60_000 + b"}",
    "integer of 4000 digits": b'{"time":' + b"9" * 4000 + b',"ticker":"X"}',
    "huge float": b'{"price":1e999999}',
    "tiny float": b'{"price":1e-999999}',
    "NaN": b'{"price":NaN}',
    "infinite time": b'{"ticker":"X","time":1e308}',
    "negative time": b'{"ticker":"X","time":-1e15}',
    "year 1": b'{"ticker":"X","time":"0001-01-01T00:00:00+23:59"}',
    "year 9999": b'{"ticker":"X","time":"9999-12-31T23:59:59-23:59"}',
    "time as list": b'{"ticker":"X","time":[1]}',
    "ticker as object": b'{"ticker":{"a":1},"time":1}',
    "long ticker": b'{"ticker":"' + b"T" * 60_000 + b'","time":1}',
    "true": b"true",
    "null": b"null",
    "text": "крест вверх 🚀".encode(),
    "sql": b"'); DROP TABLE tradingview_alerts; --",
    "percent": b'{"ticker":"%s %(key)s","time":2}',
    "bom": b'\xef\xbb\xbf{"ticker":"X"}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_kept_byte_for_byte(url: str, database_per_module: Database, body: bytes) -> None:
    assert _post(url, body) == (200, {"stored": True, "duplicate": False})
    assert read_alerts(database_per_module, 1)[0]["body"] == body
    assert _post(url, body).json["duplicate"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
_FIELDS = st.fixed_dictionaries(
    {}, optional={name: _JSON for name in ("ticker", "symbol", "interval", "time", "rule", "exchange")}
)


@settings(max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400) | (_JSON | _FIELDS).map(lambda value: json.dumps(value).encode()))
@example(b"\x00")
def test_any_body_is_stored_or_known(url: str, database_per_module: Database, body: bytes) -> None:
    reply = _post(url, body)
    assert reply.status == 200
    if reply.json["stored"]:
        assert read_alerts(database_per_module, 1)[0]["body"] == body


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([HEAD, b"POST /tradingview/x HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\n", b""]),
    middle=st.binary(max_size=200) | st.sampled_from([b"Transfer-Encoding: chunked\r\n\r\n", b"Content-Length: 10\r\n\r\n"]),
    end=st.binary(max_size=200),
)
def test_any_bytes_on_the_wire_end_no_server(
    url: str, start: bytes, middle: bytes, end: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert not _raw(url, start + middle, end).startswith(b"HTTP/1.1 5")
    assert _post(url, b"", "/health", "GET").status == 200
    assert "Exception" not in caplog.text


def test_more_than_the_limit_of_a_minute_are_put_off(database: Database) -> None:
    with running(webhook_app(database, SECRET, 3, FixedClock(NOW_MS))) as base_url:
        assert [_post(base_url, f"alert {n}".encode()).status for n in range(5)] == [200, 200, 200, 429, 429]
        assert _post(base_url, b"x", "/tradingview/wrong").status == 404
    assert len(read_alerts(database)) == 3


def test_the_rate_limit_gives_room_again_after_a_minute() -> None:
    at = [0.0]
    limit = RateLimit(2, lambda: at[0])
    assert [limit.wait_s(), limit.wait_s(), limit.wait_s()] == [0.0, 0.0, 60.0]
    at[0] = 59.0
    assert limit.wait_s() == 1.0
    at[0] = 60.0
    assert [limit.wait_s(), limit.wait_s(), limit.wait_s()] == [0.0, 0.0, 60.0]


def test_a_database_that_does_not_answer_gives_503_and_recovers(database: Database) -> None:
    with running(webhook_app(database, SECRET, 1000, FixedClock(NOW_MS))) as base_url:
        with database.transaction() as cursor:
            cursor.execute("LOCK TABLE tradingview_alerts IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            assert _post(base_url, b"while it is locked").status == 503
            # TradingView gives up after three seconds.
            assert time.monotonic() - began < 3.0
        assert _post(base_url, b"while it is locked").json["stored"]


def test_a_database_that_is_away_gives_503() -> None:
    away = Database("postgresql://nobody:hunter2@127.0.0.1:1/none")
    with running(webhook_app(away, SECRET, 1000, FixedClock(NOW_MS))) as base_url:
        assert _post(base_url, b"x").status == 503
        assert _post(base_url, b"", "/health", "GET").status == 503


def test_no_log_shows_the_secret(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        _post(url, b"seen")
        _raw(url, HEAD + b"Content-Length: 50\r\n\r\n", b"short")
        away = Database("postgresql://nobody:hunter2@127.0.0.1:1/none")
        with running(webhook_app(away, SECRET, 1000, FixedClock(NOW_MS))) as base_url:
            _post(base_url, b"x")
    assert "not stored" in caplog.text
    assert SECRET not in caplog.text and "hunter2" not in caplog.text


@pytest.mark.parametrize(
    "secret", [None, "", "short", "a" * 15, "with space " * 3, "slash/slash/slash/slash", "ünïcödé-ünïcödé-ün"]
)
def test_a_secret_that_is_no_secret_is_refused_without_showing_it(secret: str | None) -> None:
    with pytest.raises(BadInput) as refused:
        checked_secret(secret)
    assert not secret or secret not in str(refused.value)
    assert "CRYPTAI_WEBHOOK_SECRET" in str(refused.value)


def test_times_are_read_in_the_forms_that_alerts_have() -> None:
    def fired(value: Any) -> int | None:
        return read_alert(json.dumps({"ticker": "X", "time": value}).encode(), NOW_MS).fired_at_ms

    expected = 1_699_999_200_000
    for value in ("2023-11-14T22:00:00Z", expected, expected // 1000, str(expected), str(expected // 1000)):
        assert fired(value) == expected
    assert [fired(value) for value in ("soon", True, -1, [], {}, "", 1e300)] == [None] * 7


def test_a_payload_that_only_the_database_refuses_is_kept_as_text(database: Database) -> None:
    """The last net under what is taken for JSON that can be stored."""
    from cryptai_pipelines.web.webhook import _record

    alert = TradingViewAlert("k", True, NOW_MS, b"raw", {"a": "\x00"}, True)
    assert _record(database, alert)
    assert (read_alerts(database, 1)[0]["body"], read_alerts(database, 1)[0]["payload"]) == (b"raw", None)
