"""Every way the wire can lie or break, over a real socket against the real client: the right error, never a silent empty."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import Request, Responder, http_answer, json_answer, kline

HOUR = Timeframe.H1.ms
START = 1_600_000_200_000 // HOUR * HOUR
GOOD = [kline(START + i * HOUR, HOUR) for i in range(3)]
GOOD_BODY = json.dumps(GOOD).encode()
HTML = b"<html><body><h1>502</h1>\nUnavailable</body></html>"


@dataclass(frozen=True)
class Fault:
    """`answer` to every question, the error expected, how often one question is put, and words its message contains."""

    answer: bytes | fakes.Script
    error: type[SourceError]
    tries: int
    says: str = ""


def _error(status: int, code: int, message: str, **headers: str) -> bytes:
    return json_answer({"code": code, "msg": message}, status, **headers)


ONCE, MALFORMED, TRANSIENT = 1, 2, 3

FAULTS: dict[str, Fault] = {
    "html": Fault(http_answer(HTML, Content_Type="text/html"), Malformed, MALFORMED, "<html>"),
    "html as json": Fault(http_answer(HTML), Malformed, MALFORMED),
    "null": Fault(http_answer(b"null"), Malformed, MALFORMED, "'null'"),
    "blank": Fault(http_answer(b""), Malformed, MALFORMED, "0 bytes"),
    "spaces": Fault(http_answer(b" \n "), Malformed, MALFORMED),
    "truncated json": Fault(http_answer(GOOD_BODY[:-40]), Malformed, MALFORMED),
    "empty object": Fault(http_answer(b"{}"), Malformed, MALFORMED),
    "json text": Fault(http_answer(b'"ok"'), Malformed, MALFORMED),
    "json number": Fault(http_answer(b"12"), Malformed, MALFORMED),
    "list of texts": Fault(http_answer(b'["a","b"]'), Malformed, MALFORMED),
    "list of objects": Fault(http_answer(b'[{"openTime":1}]'), Malformed, MALFORMED),
    "list in list": Fault(http_answer(b"[[]]"), Malformed, MALFORMED),
    "deep nesting": Fault(http_answer(b"[" * 100_000), Malformed, MALFORMED),
    "invalid utf-8": Fault(http_answer(GOOD_BODY.replace(b'"0"', b'"\xff\xfe"')), Malformed, MALFORMED),
    "utf-16": Fault(http_answer(GOOD_BODY.decode().encode("utf-16")), Malformed, MALFORMED),
    "NaN literal": Fault(http_answer(GOOD_BODY.replace(b'"0"', b"NaN")), Malformed, MALFORMED),
    "gzip garbage": Fault(http_answer(b"\x1f\x8bgarbage", Content_Encoding="gzip"), Malformed, MALFORMED, "gzip"),
    "not gzip": Fault(http_answer(GOOD_BODY, Content_Encoding="gzip"), Malformed, MALFORMED),
    "11 fields": Fault(json_answer([row[:11] for row in GOOD]), Malformed, MALFORMED),
    "13 fields": Fault(json_answer([[*row, "0"] for row in GOOD]), Malformed, MALFORMED),
    "204": Fault(b"HTTP/1.1 204 No Content\r\n\r\n", Malformed, MALFORMED),
    "206": Fault(http_answer(GOOD_BODY, 206), Malformed, MALFORMED, "206"),
    "code 0 with 200": Fault(_error(200, 0, "fine"), Malformed, MALFORMED),
    "error with 200": Fault(_error(200, -1000, "An unknown error occurred"), Transient, TRANSIENT, "-1000"),
    "odd error with 200": Fault(json_answer({"code": "x", "msg": {"a": [1]}}), Malformed, MALFORMED),
    "reset before headers": Fault(fakes.reset_after(b"", 0), Transient, TRANSIENT, "reset"),
    "reset in body": Fault(fakes.reset_after(http_answer(GOOD_BODY), 300), Transient, TRANSIENT),
    "cut before headers": Fault(fakes.cut_after(b"", 0), Transient, TRANSIENT),
    "cut in headers": Fault(fakes.cut_after(http_answer(GOOD_BODY), 25), Malformed, MALFORMED, "0 bytes"),
    "cut in body": Fault(fakes.cut_after(http_answer(GOOD_BODY), 300), Transient, TRANSIENT),
    "too long declared": Fault(fakes.cut_after(http_answer(GOOD_BODY, Content_Length="99999"), 10**6), Transient, TRANSIENT),
    "no http": Fault(fakes.cut_after(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", 99), Transient, TRANSIENT),
    "429": Fault(_error(429, -1003, "Too much request weight used"), RateLimited, ONCE, "429"),
    "418": Fault(_error(418, -1003, "Way too much; banned until 1", Retry_After="7200"), RateLimited, ONCE, "7200 s"),
    "403 firewall": Fault(http_answer(HTML, 403), Permanent, ONCE, "region"),
    "451": Fault(http_answer(b'{"code":0,"msg":"Service unavailable"}', 451), Permanent, ONCE, "region"),
    "451 blank": Fault(http_answer(b"", 451), Permanent, ONCE, "region"),
    "401": Fault(http_answer(b"", 401), Permanent, ONCE, "credentials"),
    "404": Fault(http_answer(HTML, 404), Permanent, ONCE, "address"),
    "400 blank": Fault(http_answer(b"", 400), Permanent, ONCE, "400"),
    "400 html": Fault(http_answer(HTML, 400), Permanent, ONCE, "400"),
    "400 -1100": Fault(_error(400, -1100, "Illegal characters"), Permanent, ONCE, "Illegal characters"),
    "400 -1120": Fault(_error(400, -1120, "Invalid interval."), Permanent, ONCE, "-1120 Invalid interval."),
    "400 -1001": Fault(_error(400, -1001, "Internal error"), Transient, TRANSIENT, "-1001"),
    "500": Fault(_error(500, -1000, "An unknown error"), Transient, TRANSIENT, "-1000"),
    "500 blank": Fault(http_answer(b"", 500), Transient, TRANSIENT, "500"),
    "500 null": Fault(http_answer(b"null", 500), Transient, TRANSIENT, "500"),
    "500 odd json": Fault(json_answer({"success": False, "msg": "{", "code": []}, 500), Transient, TRANSIENT, "500"),
    "502 html": Fault(http_answer(HTML, 502), Transient, TRANSIENT, "502"),
    "503": Fault(http_answer(b"", 503), Transient, TRANSIENT, "503"),
    "503 permanent looking": Fault(_error(503, -1121, "Invalid symbol."), Transient, TRANSIENT, "503"),
    "504 -1007": Fault(_error(504, -1007, "Timeout waiting for response"), Transient, TRANSIENT, "-1007"),
    "redirect loop": Fault(http_answer(b"", 302, Location="/api/v3/klines"), Permanent, ONCE, "redirect"),
    "redirect elsewhere": Fault(http_answer(b"[]", 301, Location="http://127.0.0.1:1/"), Permanent, ONCE, "redirect"),
}


def _bars(source: BarSource) -> Any:
    return list(source.bars("BTC-USDT", Timeframe.H1, START, START + 3 * HOUR))


QUESTIONS: dict[str, Callable[[BarSource], Any]] = {
    "klines": _bars,
    "exchangeInfo": lambda source: source.symbols(),
    "time": lambda source: source.server_time(),
}


@pytest.mark.parametrize("endpoint", QUESTIONS)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_that_lasts_is_its_own_error(kind: str, endpoint: str, open_at) -> None:
    fault = FAULTS[kind]
    with fakes.serving(lambda _: fault.answer) as server:
        source = open_at(server.url, tries=3, total_s=30.0)
        with pytest.raises(fault.error) as caught:
            QUESTIONS[endpoint](source)
    assert type(caught.value) is fault.error
    message = str(caught.value)
    assert fault.says in message
    assert "binance at " + server.url in message
    assert "\n" not in message
    assert server.paths() == [f"/api/v3/{endpoint}"] * fault.tries


def _once(answer: bytes | fakes.Script, then: Responder) -> Responder:
    waiting = [answer]
    return lambda request: waiting.pop() if waiting else then(request)


@pytest.mark.parametrize("kind", [kind for kind, fault in FAULTS.items() if fault.tries > 1])
def test_a_fault_that_passes_costs_nothing(kind: str, open_at) -> None:
    with fakes.serving(_once(FAULTS[kind].answer, fakes.KlineVenue(GOOD))) as server:
        found = _bars(open_at(server.url))
    assert [page.rows["ts"].tolist() for page in found] == [[row[0] for row in GOOD]]
    assert len(server.requests) == 2


def test_the_symbol_of_an_unknown_symbol_is_named(open_at) -> None:
    with fakes.serving(lambda _: _error(400, -1121, "Invalid symbol.")) as server:
        with pytest.raises(Permanent, match="does not know the symbol NOPEUSDT.*-1121"):
            list(open_at(server.url).bars("NOPE-USDT", Timeframe.H1, START, START + HOUR))
    assert len(server.requests) == 1


def test_a_refused_connection_is_one_clear_line(open_at) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Transient) as caught:
        open_at(url, tries=2).server_time()
    assert str(caught.value) == f"binance at {url}/api/v3/time: Connection refused"


def test_a_host_that_does_not_exist_is_named(open_at) -> None:
    with pytest.raises(Transient, match=r"^binance at http://no-such-venue\.invalid/api/v3/time: [^\n]+$"):
        open_at("http://no-such-venue.invalid", tries=1).server_time()


def test_credentials_in_the_url_are_sent_and_never_shown(open_at, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with fakes.serving(lambda _: http_answer(b"", 500)) as server:
        source = open_at(server.url.replace("//", "//user:s3cret@"), tries=2)
        with pytest.raises(Transient) as caught:
            source.server_time()
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    texts = [str(caught.value), str(caught.value.__cause__), repr(source.client.address.api_url), caplog.text]
    assert not any("s3cret" in text for text in texts)


def test_a_compressed_answer_is_read(open_at) -> None:
    with fakes.serving(lambda _: http_answer(gzip.compress(GOOD_BODY), Content_Encoding="gzip")) as server:
        assert len(_bars(open_at(server.url))[0].rows["ts"]) == 3


def test_a_compression_bomb_ends_at_the_limit(open_at, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cryptai_pipelines.sources.deadline_http.MAX_BODY_BYTES", 1_000_000)
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    with fakes.serving(lambda _: http_answer(bomb, Content_Encoding="gzip")) as server:
        with pytest.raises(Malformed, match="larger than 1000000 bytes"):
            _bars(open_at(server.url))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([GOOD[1], GOOD[0]], "ascending"),
        ([GOOD[0], kline(START, HOUR, price=7.0)], "two different klines"),
        ([kline(START - HOUR, HOUR), GOOD[0]], "outside"),
        ([GOOD[0], kline(START + 3 * HOUR, HOUR)], "outside"),
        ([[START * 1000, *GOOD[0][1:]]], "outside"),
        ([[START // 1000, *GOOD[0][1:]]], "outside"),
        ([[2**80, *GOOD[0][1:]]], "outside"),
        ([[None, *GOOD[0][1:]]], "integer"),
        ([[str(START), *GOOD[0][1:]]], "integer"),
        ([[float(START), *GOOD[0][1:]]], "integer"),
        ([[True, *GOOD[0][1:]]], "integer"),
        ([GOOD[0], None], "list"),
    ],
)
def test_rows_that_break_the_page_are_malformed(rows: list[Any], says: str, open_at) -> None:
    with fakes.serving(lambda _: json_answer(rows)) as server, pytest.raises(Malformed, match=says):
        _bars(open_at(server.url))


def test_a_row_sent_twice_is_one_row(open_at) -> None:
    with fakes.serving(lambda _: json_answer([GOOD[0], GOOD[0], GOOD[1], GOOD[2], GOOD[2]])) as server:
        assert _bars(open_at(server.url))[0].rows["ts"].tolist() == [row[0] for row in GOOD]


def _empty_then(rows: list[list[Any]]) -> Responder:
    """A page question is answered with nothing, a question for one bar from `rows`."""
    venue = fakes.KlineVenue(rows)
    return lambda request: venue(request) if request.parameters["limit"] == "1" else json_answer([])


def test_an_empty_page_where_the_venue_has_bars_is_malformed(open_at) -> None:
    with fakes.serving(_empty_then(GOOD)) as server, pytest.raises(Malformed, match=f"has a bar at {GOOD[2][0]}"):
        _bars(open_at(server.url))


def test_an_empty_list_to_every_question_is_malformed(open_at) -> None:
    with fakes.serving(lambda _: json_answer([])) as server, pytest.raises(Malformed, match="not believed"):
        _bars(open_at(server.url))


@pytest.mark.parametrize("neighbour", [START - HOUR, START + 3 * HOUR], ids=["before", "after"])
def test_an_empty_span_beside_a_bar_is_believed(neighbour: int, open_at) -> None:
    with fakes.serving(fakes.KlineVenue([kline(neighbour, HOUR)])) as server:
        (page,) = _bars(open_at(server.url))
    assert page.asked == (START, START + 3 * HOUR)
    assert len(page.rows["ts"]) == 0


def test_a_stale_answer_to_the_question_for_proof_is_malformed(open_at) -> None:
    def respond(request: Request) -> bytes:
        return json_answer(GOOD[:1] if request.parameters["limit"] == "1" else GOOD[:2])

    with fakes.serving(respond) as server, pytest.raises(Malformed, match="is said to be"):
        _bars(open_at(server.url))
