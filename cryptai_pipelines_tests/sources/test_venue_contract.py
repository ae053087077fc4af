"""What every venue must hold, over a socket, through its real ccxt client, against a server of its documented format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

from cryptai_pipelines.market.bars import concat_columns
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.sources.catalog import EXCHANGES, VENUES
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, Request, http_answer, json_answer
from cryptai_pipelines_tests.sources.tiling import assert_tiles
from cryptai_pipelines_tests.sources.venue_servers import (
    DAY,
    HOUR,
    MINUTE,
    MONDAY,
    SERVERS,
    Bar,
    Model,
    VenueServer,
    aggregate,
    make_bars,
    server_of,
)

FIRST = 1_695_600_000_000 // (7 * DAY) * 7 * DAY + 4 * DAY  # A Monday.
DAYS = 120
NOW = FIRST + DAYS * DAY + 20 * MINUTE
LISTED = FIRST + 7 * DAY + 5 * HOUR
OUTAGE = range(FIRST + 40 * DAY + 3 * HOUR, FIRST + 57 * DAY, HOUR)
SHORT_OUTAGE = range(FIRST + 100 * DAY, FIRST + 100 * DAY + 4 * HOUR, HOUR)
_OPENS = [ts for ts in range(LISTED, NOW, HOUR) if ts not in OUTAGE and ts not in SHORT_OUTAGE]
QUIET = frozenset(_OPENS[50::97])


def _model() -> Model:
    return Model(HOUR, make_bars(_OPENS, QUIET), NOW, QUIET)


class Opened(NamedTuple):
    """A source, the server behind it and what was asked of that."""

    source: BarSource
    server: VenueServer
    wire: fakes.WireServer
    slug: str


OpenVenue = Callable[..., Opened]


@pytest.fixture(params=EXCHANGES)
def venue(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def open_venue(fake_time: FakeTime) -> Iterator[OpenVenue]:
    """Serve a venue and open its source; pauses take no time. Closed with the test."""
    closing: list[Any] = []

    def opened(venue: str, model: Model | None = None, tries: int = 3, **changes: Any) -> Opened:
        model = model or _model()
        server = server_of(venue, model, **changes)
        context = fakes.serving(server)
        wire = context.__enter__()
        closing.append(context)
        retry = RetryPolicy(total_s=50.0, tries=tries)
        clock = FixedClock(model.now_ms)
        source = open_ccxt(VENUES[venue], wire.url, 10.0, clock, retry=retry, timer=fake_time.timer())
        return Opened(source, server, wire, SERVERS[venue][2])

    yield opened
    for context in closing:
        context.__exit__(None, None, None)


def _assert_rows(found: list[Page], expected: list[Bar], venue: str) -> None:
    columns = concat_columns([page.rows for page in found])
    assert columns["ts"].tolist() == [bar.ts for bar in expected]
    for name in ("open", "high", "low", "close", "volume"):
        assert columns[name].tolist() == [getattr(bar, name) for bar in expected], name
    if venue in ("binance", "bybit", "okx", "kucoin", "gate", "binanceusdm"):
        assert columns["quote_volume"].tolist() == [bar.quote for bar in expected]
    else:
        assert not columns["quote_volume"].any()
    trades = [bar.trades if venue in ("binance", "kraken", "binanceusdm") else 0 for bar in expected]
    assert columns["trades"].tolist() == trades


def _seen_from(opened: Opened, start: int, base_ms: int, length_ms: int) -> int:
    """From when on the venue gives bars of `length_ms` that are made of bars of `base_ms`: Kraken keeps 721 bars."""
    if opened.source.name != "kraken":
        return start
    oldest = opened.server.model.given(base_ms, opened.server.flat)[-721:][0].ts
    anchor = MONDAY if length_ms == 7 * DAY else 0
    return max(start, oldest + (anchor - oldest) % length_ms)


@pytest.mark.parametrize("start", [FIRST, FIRST + 60 * DAY + 7], ids=["before the listing", "off the grid"])
def test_pages_tile_the_span_and_hold_the_model(venue: str, start: int, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    found = list(opened.source.bars(opened.slug, Timeframe.H1, start, NOW))
    seen_from = _seen_from(opened, start, HOUR, HOUR)
    assert_tiles(found, Interval(seen_from, NOW))
    _assert_rows(found, [b for b in opened.server.model.given(HOUR, opened.server.flat) if b.ts >= seen_from], venue)
    assert opened.source.origin(Timeframe.H1) == "rest"
    served = {hashlib.sha256(body).hexdigest() for body in opened.server.bodies}
    assert {page.sha256 for page in found} <= served
    called = {(request.path, *sorted(request.parameters.items())) for request in opened.wire.requests}
    for page in found:
        target = urlsplit(page.url)
        assert page.url.startswith(opened.wire.url) and (target.path, *sorted(parse_qsl(target.query))) in called


def test_the_open_bar_is_given_like_any_other(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    forming = NOW // HOUR * HOUR
    found = list(opened.source.bars(opened.slug, Timeframe.H1, forming - 5 * HOUR, forming + HOUR))
    assert_tiles(found, Interval(forming - 5 * HOUR, forming + HOUR))
    assert found[-1].rows["ts"][-1] == forming


def test_a_walk_can_be_taken_up_in_the_middle(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    start, end = NOW - 25 * DAY, NOW
    whole = concat_columns([page.rows for page in opened.source.bars(opened.slug, Timeframe.H1, start, end)])
    first = next(opened.source.bars(opened.slug, Timeframe.H1, start, start + 13 * DAY + 5))
    rest = list(opened.source.bars(opened.slug, Timeframe.H1, first.asked.end_ms, end))
    again = concat_columns([first.rows, *(page.rows for page in rest)])
    assert all(np.array_equal(again[name], whole[name]) for name in whole)


@pytest.mark.parametrize("cap", [3, 50])
def test_pages_shorter_than_ours_lose_nothing(venue: str, cap: int, open_venue: OpenVenue) -> None:
    opened = open_venue(venue, cap=cap)
    start, end = FIRST + 98 * DAY, FIRST + 101 * DAY + 7 * HOUR
    found = list(opened.source.bars(opened.slug, Timeframe.H1, start, end))
    expected = [b for b in opened.server.model.given(HOUR, opened.server.flat) if start <= b.ts < end]
    if venue == "kraken":
        # It always gives its newest; a page that holds fewer settles no more than it shows, which is nothing of this span.
        assert found == []
    else:
        assert_tiles(found, Interval(start, end))
        _assert_rows(found, expected, venue)
        # Once the venue's page is known, the most that is wasted is a question in two and one for each end that is missing.
        assert len(opened.wire.requests) < 4 * len(expected) / cap + 30


@pytest.mark.parametrize("timeframe", [t for t in TIMEFRAMES if t.ms >= HOUR], ids=lambda t: t.code)
def test_every_timeframe_is_given_natively_or_resampled(venue: str, timeframe: Timeframe, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    native = timeframe in VENUES[venue].codes
    assert opened.source.origin(timeframe) == ("rest" if native else "resampled")
    assert native or (venue, timeframe) == ("coinbase", Timeframe.H4) or timeframe is Timeframe.W1
    end = timeframe.ceil(NOW)
    seen_from = _seen_from(opened, FIRST, timeframe.ms if native else DAY, timeframe.ms)
    found = list(opened.source.bars(opened.slug, timeframe, FIRST, end))
    assert_tiles(found, Interval(seen_from, end))
    given = opened.server.model.given(HOUR, opened.server.flat)
    _assert_rows(found, [b for b in aggregate(given, timeframe.ms) if b.ts >= seen_from], venue)
    assert timeframe.on_grid(concat_columns([page.rows for page in found])["ts"]).all()


def test_a_resampled_page_proves_the_payloads_it_was_made_of(open_venue: OpenVenue) -> None:
    opened = open_venue("coinbase")
    start = FIRST + 60 * DAY
    first, second = opened.source.bars(opened.slug, Timeframe.H4, start, start + 100 * 4 * HOUR)
    # 300 hours, then the 100 that are left: two answers, neither of which lacks a bar at its ends.
    digests = [hashlib.sha256(body).hexdigest() for body in opened.server.bodies]
    assert [first.sha256, second.sha256] == [hashlib.sha256(digest.encode()).hexdigest() for digest in digests]
    assert first.url != second.url and "granularity=3600" in first.url


# Empty answers


def test_an_empty_span_in_the_middle_is_settled_with_proof(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    start, end = (OUTAGE[0] + 5 * HOUR, OUTAGE[-1]) if venue != "kraken" else (SHORT_OUTAGE[0], SHORT_OUTAGE[-1])
    found = list(opened.source.bars(opened.slug, Timeframe.H1, start, end))
    assert_tiles(found, Interval(start, end))
    assert sum(len(page.rows["ts"]) for page in found) == 0


def test_years_before_the_listing_cost_a_handful_of_calls(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    start = FIRST - 3000 * DAY
    found = list(opened.source.bars(opened.slug, Timeframe.H1, start, LISTED + 3 * HOUR))
    if venue != "kraken":
        seen_from = NOW - 9_990 * HOUR if venue == "gate" else start
        assert_tiles(found, Interval(Timeframe.H1.ceil(seen_from), LISTED + 3 * HOUR))
        assert found[-1].rows["ts"].tolist() == [LISTED, LISTED + HOUR, LISTED + 2 * HOUR]
    assert len(opened.wire.requests) < 25


def test_a_venue_that_knows_no_bar_at_all_is_not_believed(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue, model=Model(HOUR, [], NOW))
    if venue == "kraken":
        pytest.skip("Kraken always gives the forming bar; the next test is its own")
    with pytest.raises(Malformed, match="not believed"):
        list(opened.source.bars(opened.slug, Timeframe.H1, FIRST, NOW))


def test_kraken_without_its_forming_bar_is_not_believed(open_venue: OpenVenue) -> None:
    empty = json_answer({"error": [], "result": {"XXBTZUSD": [], "last": 0}})
    opened = open_venue("kraken", broken=lambda request: empty if "OHLC" in request.path else None)
    with pytest.raises(Malformed, match="always given"):
        list(opened.source.bars(opened.slug, Timeframe.H1, FIRST, NOW))


def test_kraken_cut_at_its_end_is_seen(open_venue: OpenVenue) -> None:
    opened = open_venue("kraken")
    whole = opened.server.result("/0/public/OHLC", {"pair": "XXBTZUSD", "interval": "60", "since": "0"})
    cut = json_answer({"error": [], "result": whole | {"XXBTZUSD": whole["XXBTZUSD"][:-5]}})
    opened.server.broken = lambda request: cut if "OHLC" in request.path else None
    with pytest.raises(Malformed, match="the one before it"):
        list(opened.source.bars(opened.slug, Timeframe.H1, FIRST, NOW))


def test_kraken_cut_at_its_front_settles_only_what_it_shows(open_venue: OpenVenue) -> None:
    opened = open_venue("kraken", cap=100)
    (page,) = opened.source.bars(opened.slug, Timeframe.H1, FIRST, NOW)
    assert page.asked == (int(page.rows["ts"][0]), NOW)
    assert len(page.rows["ts"]) == 100


def _no_bars_of(server: VenueServer, length_ms: int) -> VenueServer:
    """The server, but its answers of one length are always empty."""
    honest = server.window
    server.window = lambda length, first, last: [] if length == length_ms else honest(length, first, last)
    return server


@pytest.mark.parametrize("venue", ["coinbase", "bybit", "okx", "kucoin", "gate"])
def test_an_empty_page_where_longer_bars_exist_is_malformed(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    _no_bars_of(opened.server, 5 * MINUTE)
    with pytest.raises(Malformed, match="none of 5m in it"):
        list(opened.source.bars(opened.slug, Timeframe.M5, NOW - 2 * DAY, NOW - DAY))


# Structure: units, anchors, fields


@pytest.mark.parametrize("times", [1000, 0.001], ids=["a unit too small", "a unit too large"])
def test_another_unit_of_time_is_malformed(venue: str, times: float, open_venue: OpenVenue) -> None:
    opened = open_venue(venue, times=times)
    with pytest.raises(Malformed):
        list(opened.source.bars(opened.slug, Timeframe.H1, NOW - 3 * DAY, NOW))


@pytest.mark.parametrize("shift_ms", [-8 * HOUR, 17_000], ids=["Hong Kong's day", "seconds"])
def test_days_that_begin_elsewhere_are_malformed(venue: str, shift_ms: int, open_venue: OpenVenue) -> None:
    if venue in ("binance", "binanceusdm"):
        pytest.skip("Binance's bars may be off the grid after an outage; they are quarantined one by one")
    opened = open_venue(venue, shift_ms=shift_ms)
    with pytest.raises(Malformed, match="grid|outside"):
        list(opened.source.bars(opened.slug, Timeframe.D1, FIRST + 90 * DAY, FIRST + 110 * DAY))


def test_weeks_that_begin_on_thursday_are_malformed(open_venue: OpenVenue) -> None:
    opened = open_venue("bybit", shift_ms=3 * DAY)
    with pytest.raises(Malformed, match="grid|outside"):
        list(opened.source.bars(opened.slug, Timeframe.W1, FIRST, NOW))


def _rows_in(parsed: Any) -> list[Any]:
    """The list of rows in an answer of any venue."""
    if isinstance(parsed, list):
        return parsed
    found = parsed.get("data", parsed.get("result"))
    if isinstance(found, dict):
        found = next(value for value in found.values() if isinstance(value, list))
    return found


def _changed(opened: Opened, change: Callable[[list[Any]], None]) -> None:
    """From now on `change` is done to the rows of every answer that has any."""
    honest = opened.server.answer

    def answer(path: str, asked: dict[str, str]) -> Any:
        parsed = honest(path, asked)
        if opened.server.is_candles(path) and not isinstance(parsed, bytes) and _rows_in(parsed):
            parsed = json.loads(json.dumps(parsed))
            change(_rows_in(parsed))
        return parsed

    opened.server.answer = answer


BREAKS: dict[str, Callable[[list[Any]], None]] = {
    "a field less": lambda rows: rows[1].__delitem__(slice(3, None)),
    "a field more": lambda rows: rows[1].extend(["0", "0"]),
    "no row": lambda rows: rows.__setitem__(1, None),
    "an object": lambda rows: rows.__setitem__(1, {"t": 1}),
    "no time": lambda rows: rows[1].__setitem__(0, None),
    "a time that is true": lambda rows: rows[1].__setitem__(0, True),
    "a fractional time": lambda rows: rows[1].__setitem__(0, 1_700_000_000.5),
    "a negative time": lambda rows: rows[1].__setitem__(0, -rows[1][0] if isinstance(rows[1][0], int) else "-" + rows[1][0]),
    "out of order": lambda rows: rows.insert(1, rows.pop(3)),
    "two of one time": lambda rows: rows.insert(1, [rows[0][0], *rows[2][1:]]),
}


@pytest.mark.parametrize("kind", BREAKS)
def test_a_broken_structure_is_malformed(venue: str, kind: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    _changed(opened, BREAKS[kind])
    with pytest.raises(Malformed):
        list(opened.source.bars(opened.slug, Timeframe.H1, FIRST + 110 * DAY, FIRST + 111 * DAY))


@pytest.mark.parametrize("value", ["abc", None, "1_000", True, " 1.5", [1], "NaN"])
def test_an_unreadable_price_is_alone_in_being_nan(venue: str, value: Any, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    _changed(opened, lambda rows: rows[2].__setitem__(2, value))
    found = list(opened.source.bars(opened.slug, Timeframe.H1, FIRST + 110 * DAY, FIRST + 111 * DAY))
    columns = concat_columns([page.rows for page in found])
    wrong = [int(np.isnan(columns[name]).sum()) for name in ("open", "high", "low", "close", "volume", "quote_volume")]
    assert sorted(wrong) == [0, 0, 0, 0, 0, 1]
    assert len(columns["ts"]) == 24


def test_a_row_sent_twice_is_one_row(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    _changed(opened, lambda rows: rows.insert(0, list(rows[0])))
    found = list(opened.source.bars(opened.slug, Timeframe.H1, FIRST + 110 * DAY, FIRST + 111 * DAY))
    assert len(concat_columns([page.rows for page in found])["ts"]) == 24


# Errors


HTML = http_answer(b"<html><body><h1>502</h1></body></html>")


class Failure(NamedTuple):
    """An answer, the error it is, how often one question is put, and words of the message."""

    answer: bytes
    error: type[SourceError]
    tries: int
    says: str = ""


EVERYWHERE: dict[str, Failure] = {
    "429": Failure(http_answer(b"", 429), RateLimited, 1, "no calls for 60 s"),
    "429 with Retry-After": Failure(http_answer(b"{}", 429, Retry_After="7200"), RateLimited, 1, "7200 s"),
    "500": Failure(http_answer(b"", 500), Transient, 3, "500"),
    "502 html": Failure(http_answer(b"<html></html>", 502), Transient, 3, "502"),
    "503": Failure(json_answer({}, 503), Transient, 3, "503"),
    "451": Failure(http_answer(b"", 451), Permanent, 1, "region"),
    "403": Failure(http_answer(b"<html>not from your country</html>", 403), Permanent, 1, "region"),
    "302": Failure(http_answer(b"", 302, Location="/"), Permanent, 1, "redirects"),
    "html": Failure(HTML, Malformed, 2, "<html>"),
    "null": Failure(http_answer(b"null"), Malformed, 2, "'null'"),
    "blank": Failure(http_answer(b""), Malformed, 2, "0 bytes"),
    "text": Failure(http_answer(b'"ok"'), Malformed, 2),
    "truncated": Failure(http_answer(b'{"code":"0","data":[["1'), Malformed, 2),
    "numbers": Failure(json_answer([1, 2]), Malformed, 2),
}


def _kraken_says(words: str) -> bytes:
    return json_answer({"error": [words]})


OWN: dict[str, dict[str, Failure]] = {
    "binance": {
        "limit": Failure(json_answer({"code": -1003, "msg": "Too many"}, 418, Retry_After="300"), RateLimited, 1, "300 s"),
        "busy": Failure(json_answer({"code": -1008, "msg": "Busy"}, 400), Transient, 3),
    },
    "kraken": {
        "limit": Failure(_kraken_says("EAPI:Rate limit exceeded"), RateLimited, 1, "60 s"),
        "too many": Failure(_kraken_says("EGeneral:Too many requests"), RateLimited, 1),
        "busy": Failure(_kraken_says("EService:Unavailable"), Transient, 3, "EService:Unavailable"),
        "internal": Failure(_kraken_says("EGeneral:Internal error"), Transient, 3),
        "arguments": Failure(_kraken_says("EGeneral:Invalid arguments"), Permanent, 1, "Invalid arguments"),
        "no result": Failure(json_answer({"error": []}), Malformed, 2, "result"),
    },
    "coinbase": {
        "limit": Failure(json_answer({"message": "Public rate limit exceeded"}, 429), RateLimited, 1, "Public rate limit"),
        "arguments": Failure(json_answer({"message": "Unsupported granularity"}, 400), Permanent, 1, "granularity"),
        "an object": Failure(json_answer({"candles": []}), Malformed, 2),
    },
    "bybit": {
        "limit": Failure(json_answer({"retCode": 10006, "retMsg": "Too many visits!"}), RateLimited, 1, "Too many visits"),
        "limit by address": Failure(json_answer({"retCode": 10018, "retMsg": "Exceeded the IP Rate Limit"}), RateLimited, 1),
        "internal": Failure(json_answer({"retCode": 10016, "retMsg": "Internal System Error"}), Transient, 3, "10016"),
        "arguments": Failure(json_answer({"retCode": 10001, "retMsg": "params error"}), Permanent, 1, "10001"),
        "no list": Failure(json_answer({"retCode": 0, "retMsg": "OK", "result": {}}), Malformed, 2, "result"),
    },
    "okx": {
        "limit": Failure(json_answer({"code": "50011", "msg": "Rate limit", "data": []}, 429), RateLimited, 1, "50011"),
        "limit with 200": Failure(json_answer({"code": "50011", "msg": "Rate limit", "data": []}), RateLimited, 1, "50011"),
        "busy": Failure(json_answer({"code": "50013", "msg": "Busy", "data": []}), Transient, 3, "50013"),
        "maintenance": Failure(json_answer({"code": "50001", "msg": "Upgrading", "data": []}, 503), Transient, 3, "50001"),
        "arguments": Failure(json_answer({"code": "51000", "msg": "Parameter bar error", "data": []}), Permanent, 1, "51000"),
        "no data": Failure(json_answer({"code": "0", "msg": ""}), Malformed, 2, "data"),
    },
    "kucoin": {
        "limit": Failure(json_answer({"code": "429000", "msg": "Too many requests"}, 429), RateLimited, 1, "429000"),
        "limit with 200": Failure(json_answer({"code": "429000", "msg": "Too many requests"}), RateLimited, 1, "429000"),
        "internal": Failure(json_answer({"code": "500000", "msg": "Internal Server Error"}), Transient, 3, "500000"),
        "arguments": Failure(json_answer({"code": "400100", "msg": "Incorrect candlestick type"}), Permanent, 1, "400100"),
        "no data": Failure(json_answer({"code": "200000"}), Malformed, 2, "data"),
    },
    "bitfinex": {
        "limit": Failure(json_answer(["error", 11010, "ratelimit: error"], 429), RateLimited, 1, "11010"),
        "limit with 500": Failure(json_answer(["error", 11010, "ratelimit: error"], 500), RateLimited, 1, "11010"),
        "internal": Failure(json_answer(["error", 10000, "generic error"], 500), Transient, 3, "10000"),
        "maintenance": Failure(json_answer(["error", 20060, "maintenance"], 503), Transient, 3),
        "arguments": Failure(json_answer(["error", 10020, "time_interval: invalid"], 500), Permanent, 1, "time_interval"),
    },
    "gate": {
        "limit": Failure(json_answer({"label": "TOO_MANY_REQUESTS", "message": "slow"}, 429), RateLimited, 1, "TOO_MANY"),
        "internal": Failure(json_answer({"label": "SERVER_ERROR", "message": "oops"}, 400), Transient, 3, "SERVER_ERROR"),
        "arguments": Failure(json_answer({"label": "INVALID_PARAM_VALUE", "message": "x"}, 400), Permanent, 1, "INVALID_PARAM"),
    },
}
OWN["binanceusdm"] = OWN["binance"]

CASES = [(venue, kind) for venue in EXCHANGES for kind in (*EVERYWHERE, *OWN[venue])]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_failure_of_candles_is_its_own_error(name: str, kind: str, open_venue: OpenVenue) -> None:
    failure = OWN[name].get(kind) or EVERYWHERE[kind]
    opened = open_venue(name)
    opened.server.broken = lambda request: failure.answer if opened.server.is_candles(request.path) else None
    with pytest.raises(failure.error) as caught:
        list(opened.source.bars(opened.slug, Timeframe.H1, NOW - DAY, NOW))
    assert type(caught.value) is failure.error
    assert failure.says in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{name} at {opened.wire.url}/")
    assert sum(map(opened.server.is_candles, opened.wire.paths())) == failure.tries


@pytest.mark.parametrize("ask", ["server_time", "symbols", "last_prices"])
@pytest.mark.parametrize("kind", ["null", "html", "500", "429"])
def test_other_questions_fail_as_candles_do(venue: str, kind: str, ask: str, open_venue: OpenVenue) -> None:
    failure = EVERYWHERE[kind]
    opened = open_venue(venue, broken=lambda _: failure.answer)
    with pytest.raises(failure.error):
        getattr(opened.source, ask)()
    assert len(opened.wire.requests) == failure.tries


@pytest.mark.parametrize("body", [b"{}", b"[]", b"[1]", b'[["a"]]', b'{"result":{}}', b'{"data":[1],"code":"0"}', b"[{}]"])
@pytest.mark.parametrize("ask", ["symbols", "last_prices"])
def test_listings_and_prices_of_another_shape_are_never_an_empty_list(
    venue: str, ask: str, body: bytes, open_venue: OpenVenue
) -> None:
    opened = open_venue(venue, broken=lambda _: http_answer(body))
    with pytest.raises(SourceError):
        getattr(opened.source, ask)()


def test_a_failure_that_passes_costs_nothing(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    failing = [HTML, http_answer(b"", 503), http_answer(b"", 429, Retry_After="5")]

    def broken(request: Request) -> bytes | None:
        candles = opened.server.is_candles(request.path) and len(opened.wire.requests) % 2 == 0
        return failing.pop() if candles and failing else None

    opened.server.broken = broken
    found = list(opened.source.bars(opened.slug, Timeframe.H1, NOW - 20 * DAY, NOW))
    assert_tiles(found, Interval(NOW - 20 * DAY, NOW))
    _assert_rows(
        found, [b for b in opened.server.model.given(HOUR, opened.server.flat) if b.ts >= NOW - 20 * DAY], venue
    )  # fmt: skip


def test_a_symbol_that_the_venue_does_not_know_is_named(venue: str, open_venue: OpenVenue) -> None:
    with pytest.raises(Permanent, match=f"{venue} does not know the symbol NOPE"):
        list(open_venue(venue).source.bars("NOPE-USDT", Timeframe.H1, NOW - DAY, NOW))


def test_a_listed_symbol_whose_candles_are_refused_is_named(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    opened.source.symbols()
    spelled = opened.server.symbol
    opened.server.symbol = "ANOTHER"
    with pytest.raises(Permanent, match=f"{venue} does not know the symbol {spelled}"):
        list(opened.source.bars(opened.slug, Timeframe.H1, NOW - DAY, NOW))


# Listings, clock, prices


def test_the_venue_introduces_itself(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    header_date = 1_700_000_040_000  # Of every answer of these servers; Bitfinex has no other clock.
    expected = {"bitfinex": header_date, "kraken": NOW // 1000 * 1000}.get(venue, NOW)
    assert opened.source.server_time() == expected
    assert opened.source.is_simulated() is False
    listed = {listing.symbol: listing for listing in opened.source.symbols()}
    listing = listed[opened.slug]
    assert (listing.venue, listing.venue_symbol) == (venue, SERVERS[venue][1])
    assert f"{listing.base}-{listing.quote}" == opened.slug
    assert listing.status in VENUES[venue].active
    assert not listing.simulated
    if venue not in ("binance", "bitfinex"):
        assert listing.tick_size is not None and listing.lot_size is not None
    assert (listing.listed_at_ms is not None) is (venue in ("okx", "gate", "binanceusdm"))


def test_last_prices_are_those_of_symbols_that_trade(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)
    (price,) = opened.source.last_prices()
    assert (price.venue, price.symbol, price.price, price.fetched_at_ms) == (venue, opened.slug, 1234.5, NOW)
    assert price.traded_at_ms == {"okx": 1_621_440_583_784, "binanceusdm": 1_589_437_530_011}.get(venue)
    calls = len(opened.wire.requests)
    opened.source.last_prices()
    assert (calls, len(opened.wire.requests)) == (2, 3)


def test_the_symbols_of_another_spelling_are_found_by_the_listing(open_venue: OpenVenue) -> None:
    opened = open_venue("kraken")
    list(opened.source.bars("BTC-USD", Timeframe.H1, NOW - DAY, NOW))
    assert [request.parameters.get("pair") for request in opened.wire.requests] == [None, "XXBTZUSD"]
    listed = {listing.symbol: listing.status for listing in opened.source.symbols()}
    assert listed == {"BTC-USD": "online", "BTC-EUR": "cancel_only"}


@pytest.mark.parametrize("venue", ["kraken", "coinbase"])
def test_series_that_begin_at_once_share_one_listing(venue: str, open_venue: OpenVenue) -> None:
    opened = open_venue(venue)

    def walk(_: int) -> int:
        return sum(len(page.rows["ts"]) for page in opened.source.bars(opened.slug, Timeframe.H1, NOW - 9 * DAY, NOW))

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(walk, range(6)))) == 1
    assert sum(not opened.server.is_candles(path) for path in opened.wire.paths()) == 1


def test_okx_asks_for_old_candles_where_they_are(open_venue: OpenVenue) -> None:
    opened = open_venue("okx")
    list(opened.source.bars(opened.slug, Timeframe.H1, FIRST + 20 * DAY, FIRST + 21 * DAY))
    list(opened.source.bars(opened.slug, Timeframe.H1, NOW - DAY, NOW))
    list(opened.source.bars(opened.slug, Timeframe.D1, FIRST + 110 * DAY, FIRST + 111 * DAY))
    candles = [request for request in opened.wire.requests if opened.server.is_candles(request.path)]
    assert candles[0].path.endswith("/history-candles") and candles[1].path.endswith("/candles")
    assert candles[-1].parameters["bar"] == "1Dutc"


def test_gate_is_never_asked_further_back_than_it_goes(open_venue: OpenVenue) -> None:
    opened = open_venue("gate", model=Model(HOUR, make_bars(range(FIRST - 600 * DAY, NOW, HOUR)), NOW))
    found = list(opened.source.bars(opened.slug, Timeframe.H1, 0, FIRST))
    assert_tiles(found, Interval(Timeframe.H1.ceil(NOW - 9_990 * HOUR), FIRST))
    assert list(opened.source.bars(opened.slug, Timeframe.H1, 0, FIRST - 400 * DAY)) == []
