"""Binance's public spot endpoints: which parameters each takes, what it weighs and what it answers. Sockets are in `server`.

Left out on purpose: intervals that are no `Timeframe`, bar boundaries of other time zones, the order book and trades.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptai_pipelines.replay import parameters as read
from cryptai_pipelines.replay.exchange_info import exchange_info
from cryptai_pipelines.replay.parameters import ApiError
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.ticker import MINI, day_ticker, last_price
from cryptai_pipelines.replay.venue import ReplayVenue, Window
from cryptai_pipelines.replay.wire import kline_rows, to_json

KLINES_DEFAULT, _KLINES_MOST = 500, 1000

Parameters = Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """What an endpoint answers from: checked parameters and the venue's time, `time_factor` 1000 for microseconds."""

    venue: ReplayVenue
    limits: Limits
    parameters: Parameters
    now_ms: int
    time_factor: int = 1


@dataclass(frozen=True)
class Endpoint:
    """`accepted` parameter names, request weight by parameters, and the answer's body."""

    accepted: tuple[str, ...]
    weight: Callable[[Parameters], int]
    answer: Callable[[Request], bytes]


def _ping(request: Request) -> bytes:
    return b"{}"


def server_time(request: Request) -> bytes:
    """The body of `time`."""
    return to_json({"serverTime": request.now_ms * request.time_factor})


def klines(request: Request, most: int = _KLINES_MOST) -> bytes:
    """The body of `klines`, at most `most` rows. `ApiError` for parameters that are not accepted."""
    asked = request.parameters
    symbol = read.required(asked, "symbol")
    timeframe = read.interval(asked)
    if asked.get("timeZone", "0") not in ("0", "00:00", "+00:00", "-00:00"):
        raise ApiError(-1130, "Data sent for parameter 'timeZone' is not valid.")
    limit = read.limit(asked, KLINES_DEFAULT, most)
    window = Window(read.moment(asked, "startTime"), read.moment(asked, "endTime"), limit)
    if symbol not in request.venue.instruments:
        raise ApiError(-1121, "Invalid symbol.")
    return kline_rows(request.venue.bars(symbol, timeframe, window, request.now_ms), timeframe, request.time_factor)


def _exchange_info(request: Request) -> bytes:
    asked, listed = request.parameters, request.venue.instruments
    symbols = read.asked_symbols(asked, listed)
    if symbols is not None and ("permissions" in asked or "symbolStatus" in asked):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    status = read.choice(asked, "symbolStatus", ("TRADING", "HALT", "BREAK"), ApiError(-1122, "Invalid symbolStatus."))
    permitted = "permissions" not in asked or '"SPOT"' in f'"{asked["permissions"]}"'
    if symbols is None:
        symbols = list(listed) if permitted and status in (None, "TRADING") else []
    with_sets = asked.get("showPermissionSets", "true") == "true"
    instruments = [listed[symbol] for symbol in symbols]
    return to_json(exchange_info(instruments, request.limits, request.now_ms, request.venue.simulated, with_sets))


def _ticker_price(request: Request) -> bytes:
    asked, venue = request.parameters, request.venue
    symbols = read.asked_symbols(asked, venue.instruments)
    prices = [
        {"symbol": symbol, "price": last_price(venue, symbol, request.now_ms)}
        for symbol in (venue.instruments if symbols is None else symbols)
    ]
    return to_json(prices[0] if "symbol" in asked else prices)


def _ticker_day(request: Request) -> bytes:
    asked, venue = request.parameters, request.venue
    kind = read.choice(asked, "type", ("FULL", "MINI"), ApiError(-1139, "Invalid ticker type."))
    symbols = read.asked_symbols(asked, venue.instruments)
    tickers = [day_ticker(venue, symbol, request.now_ms) for symbol in (venue.instruments if symbols is None else symbols)]
    for ticker in tickers:
        ticker["openTime"] *= request.time_factor
        ticker["closeTime"] *= request.time_factor
    if kind == "MINI":
        tickers = [{name: ticker[name] for name in MINI} for ticker in tickers]
    return to_json(tickers[0] if "symbol" in asked else tickers)


def weighs(weight: int) -> Callable[[Parameters], int]:
    """The weight of an endpoint whose parameters make no difference."""
    return lambda parameters: weight


def _price_weight(parameters: Parameters) -> int:
    return 2 if "symbol" in parameters else 4


def _day_weight(parameters: Parameters) -> int:
    if "symbol" in parameters:
        return 2
    if "symbols" not in parameters:
        return 80
    count = parameters["symbols"].count(",") + 1
    return 2 if count <= 20 else 40 if count <= 100 else 80


ENDPOINTS: dict[str, Endpoint] = {
    "/api/v3/ping": Endpoint((), weighs(1), _ping),
    "/api/v3/time": Endpoint((), weighs(1), server_time),
    "/api/v3/exchangeInfo": Endpoint(
        ("symbol", "symbols", "permissions", "showPermissionSets", "symbolStatus"), weighs(20), _exchange_info
    ),
    "/api/v3/klines": Endpoint(("symbol", "interval", "startTime", "endTime", "timeZone", "limit"), weighs(2), klines),
    "/api/v3/ticker/price": Endpoint(("symbol", "symbols"), _price_weight, _ticker_price),
    "/api/v3/ticker/24hr": Endpoint(("symbol", "symbols", "type"), _day_weight, _ticker_day),
}
"""Every path that is served; any other is answered 404."""
