"""The server over real sockets: the real ccxt client, keep-alive, errors in one line, and a clean end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ccxt
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.timeframe import TIMEFRAMES
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running, serve
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.replay.conftest import SAMPLE, ccxt_client, fetch

NOW = parse_time("2023-06-01T10:05Z")


@pytest.fixture(scope="module")
def sample_url() -> Iterator[str]:
    with running(open_recorded(SAMPLE, FixedClock(NOW))) as url:
        yield url


@pytest.fixture(scope="module")
def simulated_url() -> Iterator[str]:
    with running(open_simulated(9, 5, FixedClock(NOW))) as url:
        yield url


def test_ccxt_reads_time_markets_and_tickers(simulated_url: str) -> None:
    client = ccxt_client(simulated_url)
    assert client.fetch_time() == NOW
    markets = client.load_markets()
    assert set(markets) == {"BTC/USDT", "ETH/USDT", "BNB/USDT", "SOL/USDT", "XRP/USDT"}
    market = markets["BTC/USDT"]
    assert market["active"] and market["spot"] and market["id"] == "BTCUSDT"
    assert market["precision"]["price"] == 0.01 and market["limits"]["cost"]["min"] == 5.0
    assert market["info"]["simulated"] is True
    tickers = client.fetch_tickers()
    assert set(tickers) == set(markets)
    assert tickers["ETH/USDT"]["timestamp"] == NOW
    assert client.last_response_headers["X-Cryptai-Simulated"] == "1"
    assert client.fetch_ticker("ETH/USDT")["last"] == tickers["ETH/USDT"]["last"]
    assert set(client.fetch_tickers(["BTC/USDT", "SOL/USDT"])) == {"BTC/USDT", "SOL/USDT"}


def test_ccxt_reads_klines_of_every_timeframe(simulated_url: str) -> None:
    client = ccxt_client(simulated_url)
    for timeframe in TIMEFRAMES:
        rows = client.publicGetKlines({"symbol": "BTCUSDT", "interval": timeframe.code, "limit": 1000})
        opens = [int(row[0]) for row in rows]
        assert opens == sorted(opens) and opens[-1] == timeframe.floor(NOW)
        assert all(len(row) == 12 and int(row[6]) == int(row[0]) + timeframe.ms - 1 for row in rows)
        assert [row for row in rows if int(row[6]) >= NOW] == rows[-1:]
        candles = client.fetch_ohlcv("BTC/USDT", timeframe.code, since=opens[-3])
        assert [candle[0] for candle in candles] == opens[-3:]
        assert candles[0][1:] == [float(cell) for cell in rows[-3][1:6]]


def test_ccxt_walks_the_sample_to_its_last_closed_bar(sample_url: str) -> None:
    client = ccxt_client(sample_url)
    start, opens = parse_time("2023-01-01"), []
    while page := client.publicGetKlines({"symbol": "BTCUSDT", "interval": "1h", "startTime": start, "limit": 1000}):
        opens += [int(row[0]) for row in page]
        start = opens[-1] + 1
    assert len(opens) == len(set(opens)) == 3635 - 1
    assert opens[-1] == parse_time("2023-06-01T10:00Z")


def test_ccxt_raises_its_own_errors(sample_url: str) -> None:
    client = ccxt_client(sample_url)
    with pytest.raises(ccxt.BadSymbol):
        client.publicGetKlines({"symbol": "NOPEUSDT", "interval": "1h"})
    with pytest.raises(ccxt.BadRequest):
        client.publicGetKlines({"symbol": "BTCUSDT", "interval": "7m"})
    with running(open_recorded(SAMPLE, FixedClock(NOW)), limits=Limits(3, refusals_before_ban=1)) as url:
        limited = ccxt_client(url)
        limited.publicGetKlines({"symbol": "BTCUSDT", "interval": "1h", "limit": 1})
        for status in (429, 418):
            with pytest.raises(ccxt.DDoSProtection, match=str(status)):
                limited.publicGetKlines({"symbol": "BTCUSDT", "interval": "1h", "limit": 1})
            assert int(limited.last_response_headers["Retry-After"]) > 0


def test_one_connection_carries_many_requests(sample_url: str) -> None:
    connection = http.client.HTTPConnection(sample_url.removeprefix("http://"), timeout=10)
    connection.connect()
    used = connection.sock
    for number in range(20):
        connection.request("GET", "/api/v3/nothing" if number % 5 == 4 else "/api/v3/time")
        response = connection.getresponse()
        response.read()
        assert response.status == (404 if number % 5 == 4 else 200)
        assert connection.sock is used
    connection.close()


def raw(url: str, sent: bytes) -> bytes:
    """Everything the server sends until it closes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65_536):
            received += part
        return received


def test_requests_sent_ahead_are_answered_in_order(sample_url: str) -> None:
    asked = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\nGET /api/v3/time HTTP/1.1\r\nConnection: close\r\n\r\n"
    answered = raw(sample_url, asked)
    assert answered.count(b"HTTP/1.1 200 OK") == 2
    assert answered.index(b"\r\n\r\n{}") < answered.index(b"serverTime")


def test_head_has_no_body(sample_url: str) -> None:
    reply = fetch(sample_url, "/api/v3/time", method="HEAD")
    assert reply.status == 200 and reply.body == b"" and int(reply.headers["content-length"]) > 0


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET /api/v3/time HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a" * 70_000],
)
def test_what_is_not_http_ends_its_connection_only(sample_url: str, sent: bytes) -> None:
    assert b"HTTP/1.1 200" not in raw(sample_url, sent)
    assert fetch(sample_url, "/api/v3/ping").json == {}


def test_a_taken_port_is_named(sample_url: str) -> None:
    port = int(sample_url.rpartition(":")[2])
    venue = open_recorded(SAMPLE, FixedClock(NOW))
    with pytest.raises(CryptaiError) as error:
        serve(venue, port)
    assert str(port) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(CryptaiError, match=str(port)), running(venue, port=port):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(BadInput, match="loopback"):
        serve(open_recorded(SAMPLE, FixedClock(NOW)), 0, host=host)


def test_a_port_out_of_range_is_refused() -> None:
    with pytest.raises(BadInput, match="70000"):
        serve(open_recorded(SAMPLE, FixedClock(NOW)), 70_000)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "from cryptai_pipelines.replay.simulated import open_simulated\n"
        "from cryptai_pipelines.replay.server import serve\n"
        "from cryptai_pipelines.replay.venue_clock import venue_clock\n"
        "serve(open_simulated(1, 1, venue_clock()), 0, ready=lambda url: print(url, flush=True))\n"
        "print('ended', flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        kept = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        kept.request("GET", "/api/v3/ping")
        assert json.loads(kept.getresponse().read()) == {}
        process.send_signal(number)
        output, errors = process.communicate(timeout=20)
        kept.close()
    finally:
        process.kill()
    assert (process.returncode, output.strip(), errors) == (0, "ended", "")


def test_what_breaks_in_the_block_is_not_hidden_and_the_port_is_free_again() -> None:
    venue = open_recorded(SAMPLE, FixedClock(NOW))
    with pytest.raises(ZeroDivisionError), running(venue) as url:
        _ = 1 / (url == "")
    port = int(url.rpartition(":")[2])
    with running(venue, port=port) as again:
        assert again == url and fetch(again, "/api/v3/ping").json == {}


def test_an_ipv6_loopback_address_is_served() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")
    with running(open_recorded(SAMPLE, FixedClock(NOW)), host="::1") as url:
        assert url.startswith("http://[::1]:")
        connection = http.client.HTTPConnection("::1", int(url.rpartition(":")[2]), timeout=10)
        connection.request("GET", "/api/v3/ping")
        assert connection.getresponse().read() == b"{}"
        connection.close()
