"""`cryptai webhook` as a process: it stores, it listens on loopback alone, it ends when told to, and it shows no secret."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
from pathlib import Path

import psutil

from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tradingview_alerts import read_alerts
from cryptai_pipelines_tests.cli.command import finish, start, until
from cryptai_pipelines_tests.cli.conftest import Invoke

SECRET = "correct-horse-battery"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _status(port: int, method: str, path: str, body: bytes = b"") -> int:
    with contextlib.suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request(method, path, body)
        return connection.getresponse().status
    return 0


def test_it_stores_on_loopback_until_it_is_told_to_end(home: Path, url: str, database: Database) -> None:
    port = _free_port()
    environment = {"CRYPTAI_DATABASE_URL": url, "CRYPTAI_WEBHOOK_SECRET": SECRET}
    process = start(["--verbose", "webhook", "--port", str(port)], home, **environment)
    try:
        until(lambda: _status(port, "GET", "/health") == 200, "healthy")
        assert _status(port, "POST", f"/tradingview/{SECRET}", b'{"ticker":"BTCUSDT","time":1700000000}') == 200
        assert _status(port, "POST", "/tradingview/guess", b"x") == 404
        listening = [one.laddr for one in psutil.Process(process.pid).net_connections("inet") if one.status == "LISTEN"]
        assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", port)]
    finally:
        process.send_signal(signal.SIGTERM)
        ended = finish(process)
    assert [alert["ticker"] for alert in read_alerts(database)] == ["BTCUSDT"]
    assert (ended.code, ended.out) == (0, "")
    assert SECRET not in ended.err and f"127.0.0.1:{port}/tradingview/" in ended.err


def test_a_taken_port_and_a_missing_secret_are_one_line(invoke: Invoke, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = invoke("webhook", "--port", str(port), CRYPTAI_DATABASE_URL=url, CRYPTAI_WEBHOOK_SECRET=SECRET)
        assert ended.code == 1 and str(port) in ended.err and ended.err.count("\n") == 1
    assert invoke("webhook").code == 2
    short = invoke("webhook", CRYPTAI_WEBHOOK_SECRET="hunter2")
    assert short.code == 2 and "hunter2" not in short.err


def test_the_address_is_told_when_it_is_asked_for(invoke: Invoke) -> None:
    ended = invoke("webhook", "--print-url", "--port", "9000", CRYPTAI_WEBHOOK_SECRET=SECRET)
    assert (ended.code, ended.out) == (0, f"http://127.0.0.1:9000/tradingview/{SECRET}\n")
