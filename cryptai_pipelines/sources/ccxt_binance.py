"""Binance spot as a source of bars: its endpoints and how its answers become pages and listings.

How it is called (deadline, retries, limits) stands in `ccxt_client`, how a span is walked in `pagination`.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.series import is_slug
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.binance_listings import listings, weight_limit
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, Received, VenueLimits
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.kline_rows import kline_columns
from cryptai_pipelines.sources.pagination import Answer, Questions, pages
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue_address import venue_address
from cryptai_pipelines.sources.weight_budget import WeightBudget

logger = logging.getLogger(__name__)

NAME = "binance"
PAGE_ROWS = 1000
DEFAULT_WEIGHT_LIMIT = 6000
"""Weight per minute that Binance granted in 2026; exchangeInfo corrects it."""

_TIME = Endpoint("time", "publicGetTime", 1)
_EXCHANGE_INFO = Endpoint("exchangeInfo", "publicGetExchangeInfo", 20)
_KLINES = Endpoint("klines", "publicGetKlines", 2)

_FOREVER_MS = 2**62


@dataclass(frozen=True)
class BinanceSource:
    """A `sources.source.BarSource`; opened by `open_binance`."""

    client: CcxtClient

    @property
    def name(self) -> str:
        return NAME

    def server_time(self) -> int:
        return self.client.ask(_TIME, {}, _server_time)

    def is_simulated(self) -> bool:
        return self.client.ask(_TIME, {}, _says_simulated)

    def origin(self, timeframe: Timeframe) -> str:
        return "rest"

    def symbols(self) -> list[Listing]:
        def read(received: Received) -> list[Listing]:
            simulated = _says_simulated(received)
            if (limit := weight_limit(received.parsed)) is not None:
                self.client.limits.budget.set_limit(limit)
            return listings(received.parsed, NAME, simulated)

        return self.client.ask(_EXCHANGE_INFO, {}, read)

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        if not is_slug(symbol):
            raise BadInput(f"symbol {symbol!r} is not of the form BASE-QUOTE, such as BTC-USDT")
        if not 0 <= start_ms <= end_ms:
            raise BadInput(f"the span [{start_ms}, {end_ms}) is not accepted; expected 0 <= start <= end in epoch milliseconds")
        return pages(_questions(self.client, symbol, timeframe), timeframe, Interval(start_ms, end_ms))


def open_binance(
    base_url: str,
    request_timeout_s: float,
    clock: Clock,
    *,
    retry: RetryPolicy | None = None,
    timer: Timer | None = None,
) -> BarSource:
    """Binance spot at `base_url`, no key needed. Nothing is called yet; `BadInput` when the URL or the timeout is unusable.

    `request_timeout_s` bounds one HTTP call; `retry` bounds all tries of one question (default: three times that long).
    Sources of one URL in one process share the weight budget and Retry-After, unless a `timer` of their own is given.
    """
    if not 0 < request_timeout_s < threading.TIMEOUT_MAX:
        raise BadInput(f"request timeout {request_timeout_s!r} is not accepted; expected a positive number of seconds")
    address = venue_address(NAME, base_url, "/api/v3")
    limits = _new_limits(timer) if timer else _limits_of_process(address.api_url)
    policy = retry or RetryPolicy(total_s=3 * request_timeout_s)
    return BinanceSource(CcxtClient(address, request_timeout_s, clock, policy, timer or Timer(), limits))


_limits: dict[str, VenueLimits] = {}
_limits_lock = threading.Lock()


def _limits_of_process(api_url: str) -> VenueLimits:
    # Binance counts per network address, so every source of this process draws on one budget.
    with _limits_lock:
        return _limits.setdefault(api_url, _new_limits(Timer()))


def _new_limits(timer: Timer) -> VenueLimits:
    return VenueLimits(WeightBudget(DEFAULT_WEIGHT_LIMIT, timer), RetryAfterGate(NAME, timer))


def _questions(client: CcxtClient, symbol: str, timeframe: Timeframe) -> Questions:
    """The three kline questions of one series. The venue symbol of Binance is the slug without its dash."""
    series = {"symbol": symbol.replace("-", ""), "interval": timeframe.code}

    def bars_within(span: Interval) -> Answer:
        asked = {**series, "startTime": span.start_ms, "endTime": span.end_ms - 1, "limit": PAGE_ROWS}
        return client.ask(_KLINES, asked, lambda received: _page(received, span))

    def last_open_before(end_ms: int) -> int | None:
        return _only_open(client, {**series, "endTime": end_ms - 1, "limit": 1}, Interval(0, end_ms))

    def first_open_from(start_ms: int) -> int | None:
        return _only_open(client, {**series, "startTime": start_ms, "limit": 1}, Interval(start_ms, _FOREVER_MS))

    return Questions(bars_within, last_open_before, first_open_from)


def _page(received: Received, span: Interval) -> Answer:
    columns = kline_columns(received.parsed, span)
    full = len(received.parsed) >= PAGE_ROWS
    return Answer(columns, full, received.url, hashlib.sha256(received.body).hexdigest(), received.fetched_at_ms)


def _only_open(client: CcxtClient, parameters: dict[str, str | int], span: Interval) -> int | None:
    """Open time of the one bar asked for; None for an empty list. More than one bar is `Malformed`."""

    def read(received: Received) -> int | None:
        opens = kline_columns(received.parsed, span)["ts"]
        if len(opens) > 1:
            raise Malformed(f"one kline was asked for, {len(opens)} came")
        return int(opens[0]) if len(opens) else None

    return client.ask(_KLINES, parameters, read)


def _says_simulated(received: Received) -> bool:
    return received.headers.get("X-Cryptai-Simulated", "").strip().lower() not in ("", "0", "false")


def _server_time(received: Received) -> int:
    value = received.parsed.get("serverTime") if isinstance(received.parsed, dict) else None
    if type(value) is not int or not 0 < value < _FOREVER_MS:
        raise Malformed("time should be a JSON object with a positive integer serverTime")
    return value
