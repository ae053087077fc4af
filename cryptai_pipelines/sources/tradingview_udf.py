"""A server of TradingView's UDF protocol as a source of bars: one that its user runs or is licensed for.

How it is called stands in `udf_http`, how its answers are read in `udf_rows`, how a span is walked in `pagination`. A span is
asked for in windows of `PAGE_BARS` bars, because the protocol gives the newest bars of a span, not the oldest; what lies before
the first bar is found by halving, and is one empty page.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources import udf_rows
from cryptai_pipelines.sources.errors import Malformed, Permanent
from cryptai_pipelines.sources.pagination import Answer, Questions, pages
from cryptai_pipelines.sources.resampled_pages import resampled_pages, span_of_parts
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.udf_http import NotFound, Received, UdfHttp
from cryptai_pipelines.sources.udf_rows import History, ServerConfig
from cryptai_pipelines.sources.venue_address import venue_address

UDF_PREFIX = "udf:"
PAGE_BARS = 1000
_NAME = re.compile(r"udf:[a-z0-9_.-]{1,40}")
_SEARCH_LIMIT = 1000
# Weeks are made of days, so that they begin on Monday whatever the server thinks.
_BASES = {Timeframe.W1: Timeframe.D1}
# The protocol names a pair in one word and does not say where its quote begins.
_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "DAI", "USD", "EUR", "GBP", "JPY", "KRW", "TRY", "BRL", "BTC", "ETH", "BNB")


@dataclass
class UdfSource:
    """A `sources.source.BarSource`; opened by `open_udf`."""

    http: UdfHttp
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _config: ServerConfig | None = None
    _tickers: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.http.address.venue

    def server_time(self) -> int:
        """The clock of the server, or of this machine when the server says that it tells no time."""
        return self.http.ask("time", {}, _server_time) if self._of_server().supports_time else self.http.clock.now_ms()

    def is_simulated(self) -> bool:
        return self.http.ask("config", {}, _says_simulated)

    def origin(self, timeframe: Timeframe) -> str:
        """`udf`, and `resampled` for weeks."""
        return "resampled" if timeframe in _BASES else "udf"

    def symbols(self) -> list[Listing]:
        """What a search for everything finds, as far as base and quote can be told from the name; the protocol has no list."""
        simulated = self.is_simulated()
        found = self._found("") if self._of_server().supports_search else []
        listed = [(_slug(str(one["symbol"])), str(one.get("ticker") or one["symbol"])) for one in found]
        return [
            Listing(self.name, slug, ticker, *slug.split("-"), "TRADING", simulated=simulated)
            for slug, ticker in listed
            if slug
        ]

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        if not is_slug(symbol):
            raise BadInput(f"symbol {symbol!r} is not of the form BASE-QUOTE, such as BTC-USDT")
        if not 0 <= start_ms <= end_ms:
            raise BadInput(f"the span [{start_ms}, {end_ms}) is not accepted; expected 0 <= start <= end in epoch milliseconds")
        return self._bars(symbol, timeframe, Interval(start_ms, end_ms))

    def _bars(self, symbol: str, timeframe: Timeframe, within: Interval) -> Iterator[Page]:
        if within.start_ms == within.end_ms:
            return
        ticker, offered = self._ticker(symbol)
        base = _BASES.get(timeframe, timeframe)
        resolution = udf_rows.served_resolution(base, offered, self.name)
        questions = _UdfSeries(self.http, {"symbol": ticker, "resolution": resolution}, base).questions
        if base is timeframe:
            yield from _windows(questions, timeframe, within)
        else:
            yield from resampled_pages(_windows(questions, base, span_of_parts(timeframe, within)), base, timeframe, within)

    def _of_server(self) -> ServerConfig:
        with self._lock:
            if self._config is None:
                self._config = self.http.ask("config", {}, lambda received: udf_rows.config(received.parsed))
            return self._config

    def _ticker(self, symbol: str) -> tuple[str, tuple[str, ...]]:
        """How the server names a symbol, and the resolutions that it offers of it."""
        if symbol not in self._tickers:
            self._tickers[symbol] = self._looked_up(symbol)
        return self._tickers[symbol]

    def _looked_up(self, symbol: str) -> tuple[str, tuple[str, ...]]:
        offered = self._of_server().resolutions
        for name in (symbol.replace("-", ""), symbol, symbol.replace("-", "/")):
            if described := self._described(name):
                own = described.get("supported_resolutions")
                resolutions = tuple(map(str, own)) if isinstance(own, list) and own else offered
                return str(described.get("ticker") or described["name"]), resolutions
        found = self._found(symbol.replace("-", "")) if self._of_server().supports_search else []
        tickers = {
            str(one.get("ticker") or one.get("full_name") or one["symbol"]) for one in found if _slug(one["symbol"]) == symbol
        }
        if len(tickers) == 1:
            return tickers.pop(), offered
        several = f": it has several, {' '.join(sorted(tickers))[:200]}" if tickers else ""
        raise Permanent(f"{self.name} at {self.http.address.api_url} does not know one symbol {symbol}{several}")

    def _described(self, name: str) -> dict[str, Any] | None:
        try:
            return self.http.ask("symbols", {"symbol": name}, lambda received: udf_rows.known_symbol(received.parsed))
        except NotFound:
            return None

    def _found(self, query: str) -> list[dict[str, Any]]:
        def read(received: Received) -> list[dict[str, Any]]:
            entries = received.parsed
            if type(entries) is not list or any(
                not isinstance(one, dict) or type(one.get("symbol")) is not str for one in entries
            ):
                raise Malformed("search should be a list of objects with a text symbol")
            return entries

        return self.http.ask("search", {"query": query, "type": "", "exchange": "", "limit": _SEARCH_LIMIT}, read)


def open_udf(
    name: str,
    base_url: str | None,
    request_timeout_s: float,
    clock: Clock,
    *,
    retry: RetryPolicy | None = None,
    timer: Timer | None = None,
) -> BarSource:
    """The UDF server at `base_url` under the source name `udf:<name>`. Nothing is called yet; `BadInput` when the name, the URL
    or the timeout is unusable. `retry` bounds all tries of one question (default: three times `request_timeout_s`)."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"source {name!r} is not accepted; expected udf:NAME, NAME of 1 to 40 of a-z 0-9 _ . -")
    if not base_url:
        raise BadInput(f"exchange {name} has no address; accepted: its base URL in CRYPTAI_UDF_URL")
    if not 0 < request_timeout_s < threading.TIMEOUT_MAX:
        raise BadInput(f"request timeout {request_timeout_s!r} is not accepted; expected a positive number of seconds")
    policy = retry or RetryPolicy(total_s=3 * request_timeout_s)
    return UdfSource(UdfHttp(venue_address(name, base_url, ""), request_timeout_s, clock, policy, timer or Timer()))


@dataclass(frozen=True)
class _UdfSeries:
    """One series of a server; answers the questions of `pagination`."""

    http: UdfHttp
    parameters: Mapping[str, str]
    timeframe: Timeframe

    @property
    def questions(self) -> Questions:
        return Questions(self.bars_within, self.last_open_before, self.first_open_from)

    def bars_within(self, span: Interval) -> Answer:
        end_ms = span.end_ms
        while True:
            part = Interval(span.start_ms, end_ms)
            found, received = self._ask(part, min(max(1, self.timeframe.count(*part)), PAGE_BARS))
            first = int(found.rows["ts"][0]) if len(found.rows["ts"]) else None
            if first is None or first <= self.timeframe.ceil(span.start_ms) or not self._lies_before(first, span.start_ms):
                proof = hashlib.sha256(received.body).hexdigest()
                return Answer(found.rows, end_ms < span.end_ms, received.url, proof, received.fetched_at_ms)
            # A server that gives fewer bars than asked for gives the newest; the older ones come first here.
            end_ms = first

    def last_open_before(self, end_ms: int) -> int | None:
        for start in (max(0, end_ms - PAGE_BARS * self.timeframe.ms), 0):
            found, _ = self._ask(Interval(start, end_ms), 1)
            if len(found.rows["ts"]):
                return int(found.rows["ts"][-1])
            if found.next_ms is not None:
                return found.next_ms
        return None

    def first_open_from(self, start_ms: int) -> int | None:
        page = self.bars_within(Interval(start_ms, start_ms + PAGE_BARS * self.timeframe.ms))
        if len(page.opens):
            return int(page.opens[0])
        # Further away it need not be the first: any bar shows that the server knows the series.
        newest = self.last_open_before(max(start_ms, self.http.clock.now_ms()) + self.timeframe.ms)
        return newest if newest is not None and newest >= start_ms else None

    def _lies_before(self, end_ms: int, start_ms: int) -> bool:
        before = self.last_open_before(end_ms)
        return before is not None and before >= start_ms

    def _ask(self, span: Interval, countback: int) -> tuple[History, Received]:
        # The protocol counts in seconds; a span is widened to whole ones, and rows outside it are left out again.
        asked = {"from": span.start_ms // 1000, "to": -(-span.end_ms // 1000), "countback": countback}

        def read(received: Received) -> tuple[History, Received]:
            return udf_rows.history(received.parsed, span), received

        return self.http.ask("history", {**self.parameters, **asked}, read)


def _windows(questions: Questions, timeframe: Timeframe, within: Interval) -> Iterator[Page]:
    """Pages that tile `within`, a window of `PAGE_BARS` at a time from the one on in which bars begin."""
    page_ms = PAGE_BARS * timeframe.ms
    cuts = [*range(timeframe.floor(within.start_ms) + page_ms, within.end_ms, page_ms), within.end_ms]
    first = _first_with_bars(questions, cuts)
    if first > 0:
        yield from pages(questions, timeframe, Interval(within.start_ms, cuts[first - 1]))
    start = cuts[first - 1] if first else within.start_ms
    for cut in cuts[first:]:
        yield from pages(questions, timeframe, Interval(start, cut))
        start = cut


def _first_with_bars(questions: Questions, cuts: list[int]) -> int:
    """The first cut that has a bar somewhere before it; the last when none has."""
    low, high = 0, len(cuts) - 1
    while low < high:
        middle = (low + high) // 2
        if questions.last_open_before(cuts[middle]) is None:
            low = middle + 1
        else:
            high = middle
    return low


def _slug(name: str) -> str:
    """The slug of a symbol's name, empty when it cannot be told."""
    plain = name.rpartition(":")[2].upper().replace("/", "-")
    if is_slug(plain):
        return plain
    quote = next((quote for quote in _QUOTES if plain.endswith(quote) and len(plain) > len(quote)), None)
    slug = f"{plain[: -len(quote)]}-{quote}" if quote else ""
    return slug if is_slug(slug) else ""


def _says_simulated(received: Received) -> bool:
    return received.headers.get("X-Cryptai-Simulated", "").strip().lower() not in ("", "0", "false")


def _server_time(received: Received) -> int:
    if type(received.parsed) is not int or not 0 < received.parsed < 10**11:
        raise Malformed("time should be a number of seconds since 1970")
    return received.parsed * 1000
