"""Every kind of fault at every endpoint has the outcome that a table names: mended by asking again, or an error of its type.

What a client cannot know to be wrong (a clock that is off, a list that lacks a symbol, a bar at an odd time) comes out as the
venue said it, and the table says that, too. Nothing is ever silently empty.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cryptai_pipelines.market.bars import concat_columns
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.ccxt_client import Endpoint, Received
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines_tests.fakes import FakeTime
from cryptai_pipelines_tests.torture.tally import tallied

NOW = 1_700_000_000_000
MINUTE = Timeframe.M1.ms
END = NOW // MINUTE * MINUTE
BARS = 1_300
TIMED = {"hang", "hang_in_body", "drip"}

_TICKER = Endpoint("ticker/24hr", "publicGetTicker24hr", 2)


def _klines(source: BarSource) -> Any:
    columns = concat_columns([page.rows for page in source.bars("BTC-USDT", Timeframe.M1, END - BARS * MINUTE, END)])
    return {name: values.tolist() for name, values in columns.items()}


def _ticker(source: Any) -> Any:
    def read(received: Received) -> str:
        if not isinstance(received.parsed, dict) or not isinstance(received.parsed.get("lastPrice"), str):
            raise Malformed("a ticker should be a JSON object with a lastPrice")
        return received.parsed["lastPrice"]

    return source.client.ask(_TICKER, {"symbol": "BTCUSDT"}, read)


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "time": lambda source: source.server_time(),
    "exchangeInfo": lambda source: [listing.symbol for listing in source.symbols()],
    "klines": _klines,
    "ticker": _ticker,
}

RIGHT, BELIEVED = "right", "believed"
Outcome = type[SourceError] | str


@dataclass(frozen=True)
class Expected:
    """`lasting`: what comes when every answer is spoiled so. `passing`: when the second answer is good again. `but`: endpoints
    where both are another."""

    lasting: Outcome
    passing: Outcome = RIGHT
    but: tuple[tuple[str, Outcome, Outcome], ...] = ()

    def at(self, endpoint: str) -> tuple[Outcome, Outcome]:
        """What comes of it when it lasts, and when it passes."""
        return next(
            ((lasting, passing) for name, lasting, passing in self.but if name == endpoint), (self.lasting, self.passing)
        )


def _on(endpoint: str, lasting: Outcome, passing: Outcome = RIGHT) -> Expected:
    """A kind that concerns one endpoint only."""
    return Expected(RIGHT, RIGHT, ((endpoint, lasting, passing),))


BROKEN, FAILING, REFUSED = Expected(Malformed), Expected(Transient), Expected(Permanent, Permanent)

EXPECTED: dict[str, Expected] = {
    **dict.fromkeys("html null blank empty_object empty_list wrong_type invalid_utf8 truncated_json".split(), BROKEN),
    **dict.fromkeys("wrong_length bad_gzip gzip_bomb".split(), BROKEN),
    **dict.fromkeys("error_with_200 server_error bad_gateway unavailable gateway_timeout".split(), FAILING),
    **dict.fromkeys("hang hang_in_body drip reset reset_in_body cut_in_body".split(), FAILING),
    **dict.fromkeys("firewall not_found bad_symbol bad_interval redirect_loop restricted_location".split(), REFUSED),
    **dict.fromkeys("rate_limited rate_limited_until_a_date rate_limited_negative".split(), Expected(RateLimited)),
    "rate_limited_without_hint": Expected(RateLimited),
    "rate_limited_huge": Expected(RateLimited, RateLimited),
    "banned": Expected(RateLimited, RateLimited),
    "slow": Expected(RIGHT),
    "stale_page": _on("klines", RIGHT),
    "stale_tail": _on("klines", RIGHT),
    "short_page": _on("klines", RIGHT),
    "last_bar_only": _on("klines", Malformed),
    "overlapping_page": _on("klines", Malformed),
    "out_of_order": _on("klines", Malformed),
    "duplicate_rows": _on("klines", RIGHT),
    "conflicting_rows": _on("klines", Malformed),
    "eleven_fields": _on("klines", Malformed),
    "thirteen_fields": _on("klines", Malformed),
    "microseconds": _on("klines", Malformed),
    "off_grid": _on("klines", BELIEVED, BELIEVED),
    "future_bar": _on("klines", Malformed),
    "server_time_ahead": _on("time", BELIEVED, BELIEVED),
    "server_time_behind": _on("time", BELIEVED, BELIEVED),
    "symbol_vanishes": _on("exchangeInfo", BELIEVED, BELIEVED),
    "symbol_reused": _on("exchangeInfo", BELIEVED, BELIEVED),
}


class Venue:
    """A venue whose answers are spoiled by `fault`: from the `first` request on, or only that one."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.first, self.lasts = 1, True
        self.seen = self.hit = 0

    def plan(self, path: str, query: str, number: int) -> Fault | None:
        self.seen += 1
        chosen = self.fault if self.seen == self.first or (self.lasts and self.seen > self.first) else None
        self.hit += chosen is not None
        return chosen

    @contextlib.contextmanager
    def spoiled(self, fault: Fault, first: int, lasts: bool) -> Iterator[None]:
        self.fault, self.first, self.lasts, self.seen, self.hit = fault, first, lasts, 0, 0
        try:
            yield
        finally:
            self.fault = None


@pytest.fixture(scope="module")
def venue() -> Iterator[tuple[Venue, str, dict[str, Any]]]:
    spoiling = Venue()
    limits = Limits(weight_per_minute=10**9)
    with running(open_simulated(3, 3, FixedClock(NOW)), limits=limits, faults=spoiling.plan) as url:
        right = {endpoint: ask(_open(url, 20.0)) for endpoint, ask in QUESTIONS.items()}
        yield spoiling, url, right


@pytest.fixture(scope="module")
def tally() -> Iterator[Any]:
    with tallied("wire faults by endpoint") as rows:
        yield rows


def _open(url: str, timeout_s: float) -> BarSource:
    retry = RetryPolicy(total_s=100.0, tries=3, first_pause_s=0.001)
    return open_binance(url, timeout_s, FixedClock(NOW), retry=retry, timer=FakeTime().timer())


def test_every_kind_has_an_expected_outcome() -> None:
    assert EXPECTED.keys() == FAULTS.keys()


@pytest.mark.parametrize("endpoint", QUESTIONS)
@pytest.mark.parametrize("kind", FAULTS)
def test_each_kind_at_each_endpoint(kind: str, endpoint: str, venue: tuple, tally: Any) -> None:
    spoiling, url, right = venue
    fault = replace(FAULTS[kind], delay_s=0.01) if kind == "slow" else FAULTS[kind]
    lasting, passing = EXPECTED[kind].at(endpoint)
    # Only where the fault is one of time may time decide.
    timeout_s = 0.25 if kind in TIMED else 20.0
    # A page is stale, or overlaps, only when something was said before it.
    first = 2 if endpoint == "klines" and kind in ("stale_page", "overlapping_page") else 1
    for expected, lasts in ((lasting, True), (passing, False)):
        with spoiling.spoiled(fault, first, lasts):
            got = _outcome(QUESTIONS[endpoint], _open(url, timeout_s))
        assert spoiling.hit, "the fault was injected"
        tally.add(kind, spoiling.hit, unrecovered=isinstance(got, SourceError))
        _check(kind, endpoint, expected, got, right[endpoint])


def _outcome(ask: Callable[[Any], Any], source: BarSource) -> Any:
    try:
        return ask(source)
    except SourceError as error:
        return error


def _check(kind: str, endpoint: str, expected: Outcome, got: Any, right: Any) -> None:
    if expected == RIGHT:
        assert got == right
    elif expected == BELIEVED:
        assert not isinstance(got, SourceError)
        _check_believed(kind, got, right)
    else:
        assert isinstance(got, expected), got
        assert "http://127.0.0.1:" in str(got) or "binance asked for no calls" in str(got)
        assert "\n" not in str(got)


def _check_believed(kind: str, got: Any, right: Any) -> None:
    if kind == "off_grid":
        moved = np.setdiff1d(got["ts"], right["ts"])
        assert len(moved) and set(moved % MINUTE) == {1_234}
        assert set(got["ts"]) - set(moved.tolist()) <= set(right["ts"])
        assert set(moved - 1_234) <= set(right["ts"])
    elif kind.startswith("server_time"):
        assert got - right == {"server_time_ahead": 600_000, "server_time_behind": -600_000}[kind]
    else:
        assert got == right[1:]
