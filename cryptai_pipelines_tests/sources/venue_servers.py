"""One small server per venue, which speaks the documented format of that venue from a common table of bars.

The table and its aggregation are the oracle of the contract suite, so nothing here is shared with the sources.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NamedTuple

from cryptai_pipelines_tests.fakes import Request, http_answer, json_answer

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MONDAY = 4 * DAY


class Bar(NamedTuple):
    """A bar of the model; times are epoch milliseconds."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote: float
    trades: int


@dataclass
class Model:
    """Base bars of `base_ms`, ascending. `quiet` are open times without trades; a flat bar is given there or none."""

    base_ms: int
    bars: list[Bar]
    now_ms: int
    quiet: frozenset[int] = frozenset()
    _made: dict[tuple[int, bool], list[Bar]] = field(default_factory=dict)

    def given(self, length_ms: int, flat: bool) -> list[Bar]:
        """All bars of `length_ms` up to now, as a venue with that habit gives them."""
        if (length_ms, flat) not in self._made:
            shown = [bar for bar in self.bars if bar.ts <= self.now_ms and (flat or bar.ts not in self.quiet)]
            self._made[length_ms, flat] = aggregate(shown, length_ms)
        return self._made[length_ms, flat]

    def forget(self) -> None:
        """Drop what was made, after `now_ms` has moved."""
        self._made.clear()


def aggregate(bars: Iterable[Bar], length_ms: int) -> list[Bar]:
    """Longer bars, by the definition, one at a time."""
    anchor = MONDAY if length_ms == 7 * DAY else 0
    longer: dict[int, list[Bar]] = {}
    for bar in bars:
        longer.setdefault(bar.ts - (bar.ts - anchor) % length_ms, []).append(bar)
    return [
        Bar(ts, p[0].open, max(b.high for b in p), min(b.low for b in p), p[-1].close,
            sum(b.volume for b in p), sum(b.quote for b in p), sum(b.trades for b in p))
        for ts, p in longer.items()
    ]  # fmt: skip


def make_bars(opens: Iterable[int], quiet: frozenset[int] = frozenset()) -> list[Bar]:
    """Bars whose numbers are exact in binary, so that sums are equal however they are made. Flat at the times `quiet`."""
    bars: list[Bar] = []
    for i, ts in enumerate(opens):
        if ts in quiet and bars:
            last = bars[-1].close
            bars.append(Bar(ts, last, last, last, last, 0.0, 0.0, 0))
            continue
        price = 1000.0 + (i * 37) % 500
        bars.append(Bar(ts, price, price + 8.5, price - 4.25, price + 2.0, 1.5 + i % 7, price * 2, 3 + i % 5))
    return bars


@dataclass
class VenueServer:
    """Answers of one venue. `cap` is the most rows it ever gives; `times` are what its open times are multiplied with, and
    `shift_ms` is how far its bars are moved; `broken` takes the place of an answer when it gives one.
    `date_ms` is the date of every answer."""

    model: Model
    symbol: str
    base: str = "BTC"
    quote: str = "USDT"
    cap: int | None = None
    times: float = 1
    shift_ms: int = 0
    broken: Callable[[Request], Any] = lambda _request: None
    bodies: list[bytes] = field(default_factory=list)
    flat: bool = False
    date_ms: int = 1_700_000_040_000

    def __call__(self, request: Request) -> Any:
        instead = self.broken(request)
        if instead is not None:
            return instead
        found = self.answer(request.path, request.parameters)
        if found is None:
            return json_answer({"message": "not served"}, 404)
        if isinstance(found, bytes):
            return found
        body = json.dumps(found).encode()
        if self.is_candles(request.path):
            self.bodies.append(body)
        return http_answer(body, Date=formatdate(self.date_ms / 1000, usegmt=True))

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        raise NotImplementedError

    def is_candles(self, path: str) -> bool:
        raise NotImplementedError

    def window(self, length_ms: int, first_ms: int, last_ms: int) -> list[Bar]:
        bars = self.model.given(length_ms, self.flat)
        return [self.moved(bar) for bar in bars if first_ms <= bar.ts <= last_ms]

    def moved(self, bar: Bar) -> Bar:
        return bar._replace(ts=int((bar.ts + self.shift_ms) * self.times))

    def newest(self, bars: list[Bar], most: int) -> list[Bar]:
        """The newest of them, newest first."""
        return bars[-min(most, self.cap or most) :][::-1]

    def oldest(self, bars: list[Bar], most: int) -> list[Bar]:
        return bars[: min(most, self.cap or most)]


def _text(value: float) -> str:
    return f"{value:.8f}"


class BinanceServer(VenueServer):
    flat = True
    codes = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY, "1w": 7 * DAY}

    def is_candles(self, path: str) -> bool:
        return path == "/api/v3/klines"

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/api/v3/time":
            return {"serverTime": self.model.now_ms}
        if path == "/api/v3/ticker/price":
            return [{"symbol": self.symbol, "price": "1234.50000000"}, {"symbol": "OLDUSDT", "price": "1.0"}]
        if path == "/api/v3/exchangeInfo":
            names = {"baseAsset": self.base, "quoteAsset": self.quote, "status": "TRADING"}
            old = {"symbol": "OLDUSDT", "baseAsset": "OLD", "quoteAsset": "USDT", "status": "BREAK"}
            return {"symbols": [{"symbol": self.symbol, **names}, old]}
        return self.klines(asked) if self.is_candles(path) else None

    def klines(self, asked: dict[str, str]) -> Any:
        if asked["symbol"] != self.symbol:
            return json_answer({"code": -1121, "msg": "Invalid symbol."}, 400)
        length = self.codes[asked["interval"]]
        found = self.window(length, int(asked.get("startTime", 0)), int(asked.get("endTime", 2**62)))
        most = int(asked["limit"])
        rows = self.oldest(found, most) if "startTime" in asked else self.newest(found, most)[::-1]
        return [
            [b.ts, *map(_text, b[1:6]), b.ts + length - 1, _text(b.quote), b.trades, "0.5", "50.0", "0"] for b in rows
        ]  # fmt: skip


class BinanceUsdmServer(BinanceServer):
    """The same klines below another root; contracts with an end are listed and priced beside the perpetual ones."""

    def is_candles(self, path: str) -> bool:
        return path == "/fapi/v1/klines"

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        quarterly = f"{self.symbol}_240628"
        if path == "/fapi/v1/time":
            return {"serverTime": self.model.now_ms}
        if path == "/fapi/v1/ticker/price":
            prices = {self.symbol: "1234.50", quarterly: "1300.00", "OLDUSDT": "1.0"}
            return [{"symbol": name, "price": price, "time": 1_589_437_530_011} for name, price in prices.items()]
        if path == "/fapi/v1/exchangeInfo":
            names = {"pair": self.symbol, "baseAsset": self.base, "quoteAsset": self.quote, "marginAsset": self.quote}
            steps = [
                {"filterType": "PRICE_FILTER", "minPrice": "0.10", "maxPrice": "1000000", "tickSize": "0.10"},
                {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                {"filterType": "MIN_NOTIONAL", "notional": "100"},
            ]
            perpetual = {"symbol": self.symbol, "contractType": "PERPETUAL", "status": "TRADING", "filters": steps, **names}
            perpetual |= {"deliveryDate": 4_133_404_800_000, "onboardDate": 1_569_398_400_000}
            dated = {"symbol": quarterly, "contractType": "CURRENT_QUARTER", "deliveryDate": 1_719_561_600_000}
            old = {"symbol": "OLDUSDT", "pair": "OLDUSDT", "baseAsset": "OLD", "status": "SETTLING"}
            rates = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400}]
            contracts = [perpetual, perpetual | dated, perpetual | old | {"deliveryDate": 1_700_000_000_000}]
            return {"timezone": "UTC", "futuresType": "U_MARGINED", "rateLimits": rates, "symbols": contracts}
        return self.klines(asked) if self.is_candles(path) else None


class KrakenServer(VenueServer):
    """As documented: the newest 720 and the one that is forming, from `since` (exclusive) on."""

    flat = True

    def is_candles(self, path: str) -> bool:
        return path == "/0/public/OHLC"

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        found = self.result(path, asked)
        return found if found is None or isinstance(found, bytes) else {"error": [], "result": found}

    def result(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/0/public/Time":
            return {"unixtime": self.model.now_ms // 1000, "rfc1123": "-"}
        if path == "/0/public/Ticker":
            return {self.symbol: {"c": ["1234.50000", "0.1"]}, "XXBTZEUR": {"c": ["1.0", "1"]}}
        if path == "/0/public/AssetPairs":
            pair = {"altname": "XBTUSD", "wsname": f"XBT/{self.quote}", "base": "XXBT", "quote": "ZUSD", "status": "online"}
            pair |= {"pair_decimals": 1, "lot_decimals": 8, "costmin": "0.5", "tick_size": "0.1"}
            return {self.symbol: pair, "XXBTZEUR": pair | {"wsname": "XBT/EUR", "status": "cancel_only"}}
        if not self.is_candles(path):
            return None
        if asked["pair"] != self.symbol:
            return json_answer({"error": ["EQuery:Unknown asset pair"]})
        kept = self.window(int(asked["interval"]) * MINUTE, 0, 2**62)[-721:]
        rows = [bar for bar in kept if bar.ts > int(asked["since"]) * 1000] or kept[-1:]
        rows = self.newest(rows, 721)[::-1]
        last = rows[-2].ts if len(rows) > 1 else kept[-2].ts
        body = [
            [b.ts // 1000, *map(_text, b[1:5]), _text((b.high + b.low) / 2), _text(b.volume), b.trades] for b in rows
        ]  # fmt: skip
        return {self.symbol: body, "last": last // 1000}


class CoinbaseServer(VenueServer):
    def is_candles(self, path: str) -> bool:
        return path.startswith("/products/") and path.endswith("/candles")

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/time":
            return {"iso": "-", "epoch": self.model.now_ms / 1000}
        if path == "/products/spark-lines":
            return {self.symbol: [[7200, 1, 2, 1.5, 1234.5], [3600, 1, 2, 1.5, 99]], "OLD-USD": [[7200, 1, 1, 1, 1]]}
        if path == "/products":
            product = {"id": self.symbol, "status": "online", "quote_increment": "0.01", "base_increment": "0.00000001"}
            return [product | {"min_market_funds": "1"}, product | {"id": "OLD-USD", "status": "delisted"}]
        if not self.is_candles(path):
            return None
        if path != f"/products/{self.symbol}/candles":
            return json_answer({"message": "NotFound"}, 404)
        first, last = (round(dt.datetime.fromisoformat(asked[name]).timestamp() * 1000) for name in ("start", "end"))
        length = int(asked["granularity"]) * 1000
        if (last - first) // length + 1 > 300:
            return json_answer({"message": "granularity too small for the requested time range."}, 400)
        rows = self.newest(self.window(length, first, last), 300)
        return [[b.ts // 1000, b.low, b.high, b.open, b.close, b.volume] for b in rows]


class BybitServer(VenueServer):
    flat = True
    codes = {"1": MINUTE, "5": 5 * MINUTE, "60": HOUR, "240": 4 * HOUR, "D": DAY, "W": 7 * DAY}

    def is_candles(self, path: str) -> bool:
        return path == "/v5/market/kline"

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        found = self.result(path, asked)
        whole = {"retCode": 0, "retMsg": "OK", "result": found, "retExtInfo": {}, "time": self.model.now_ms}
        return found if found is None or isinstance(found, bytes) else whole

    def result(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/v5/market/time":
            return {"timeSecond": str(self.model.now_ms // 1000)}
        assert asked["category"] == "spot"
        if path == "/v5/market/tickers":
            tickers = [{"symbol": self.symbol, "lastPrice": "1234.5"}, {"symbol": "OLDUSDT", "lastPrice": "1"}]
            return {"category": "spot", "list": tickers}
        if path == "/v5/market/instruments-info":
            names = {"symbol": self.symbol, "baseCoin": self.base, "quoteCoin": self.quote, "status": "Trading"}
            steps = {"lotSizeFilter": {"basePrecision": "0.000001", "minOrderAmt": "1"}, "priceFilter": {"tickSize": "0.01"}}
            old = {"symbol": "OLDUSDT", "baseCoin": "OLD", "quoteCoin": "USDT", "status": "Closed"}
            return {"category": "spot", "list": [names | steps, old]}
        if not self.is_candles(path):
            return None
        if asked["symbol"] != self.symbol:
            return json_answer({"retCode": 10001, "retMsg": "Not supported symbols", "result": {}})
        found = self.window(self.codes[asked["interval"]], int(asked["start"]), int(asked["end"]))
        rows = [[str(b.ts), *map(str, b[1:6]), str(b.quote)] for b in self.newest(found, int(asked["limit"]))]
        return {"category": "spot", "symbol": self.symbol, "list": rows}


class OkxServer(VenueServer):
    flat = True
    codes = {"1m": MINUTE, "5m": 5 * MINUTE, "1H": HOUR, "4H": 4 * HOUR, "1Dutc": DAY}

    def is_candles(self, path: str) -> bool:
        return path in ("/api/v5/market/candles", "/api/v5/market/history-candles")

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        found = self.result(path, asked)
        return found if found is None or isinstance(found, bytes) else {"code": "0", "msg": "", "data": found}

    def result(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/api/v5/public/time":
            return [{"ts": str(self.model.now_ms)}]
        if path == "/api/v5/market/tickers":
            tickers = [{"instId": self.symbol, "last": "1234.5", "ts": "1621440583784"}, {"instId": "OLD-USDT", "last": "1"}]
            return tickers
        if path == "/api/v5/public/instruments":
            entry = {"instId": self.symbol, "baseCcy": self.base, "quoteCcy": self.quote, "state": "live"}
            entry |= {"tickSz": "0.1", "lotSz": "0.00000001", "listTime": "1548133413000"}
            return [entry, entry | {"instId": "OLD-USDT", "baseCcy": "OLD", "state": "suspend"}]
        if not self.is_candles(path):
            return None
        if asked["instId"] != self.symbol:
            return json_answer({"code": "51001", "msg": "Instrument ID doesn't exist", "data": []})
        length = self.codes[asked["bar"]]
        oldest = self.model.now_ms - 1440 * length if path.endswith("/candles") else 0
        found = self.window(length, max(oldest, int(asked["before"]) + 1), int(asked["after"]) - 1)
        rows = self.newest(found, min(300, int(asked["limit"])))
        return [[str(b.ts), *map(str, b[1:6]), str(b.quote), str(b.quote), "1"] for b in rows]


class KucoinServer(VenueServer):
    codes = {"1min": MINUTE, "5min": 5 * MINUTE, "1hour": HOUR, "4hour": 4 * HOUR, "1day": DAY}

    def is_candles(self, path: str) -> bool:
        return path == "/api/v1/market/candles"

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        found = self.result(path, asked)
        return found if found is None or isinstance(found, bytes) else {"code": "200000", "data": found}

    def result(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/api/v1/timestamp":
            return self.model.now_ms
        if path == "/api/v1/market/allTickers":
            return {"time": 1, "ticker": [{"symbol": self.symbol, "last": "1234.5"}, {"symbol": "OLD-USDT", "last": None}]}
        if path == "/api/v2/symbols":
            entry = {"symbol": self.symbol, "baseCurrency": self.base, "quoteCurrency": self.quote, "enableTrading": True}
            entry |= {"priceIncrement": "0.1", "baseIncrement": "0.00000001", "minFunds": "0.1"}
            return [entry, entry | {"symbol": "OLD-USDT", "baseCurrency": "OLD", "enableTrading": False}]
        if not self.is_candles(path):
            return None
        if asked["symbol"] != self.symbol:
            return json_answer({"code": "400100", "msg": "Unsupported trading pair."})
        found = self.window(self.codes[asked["type"]], int(asked["startAt"]) * 1000, int(asked["endAt"]) * 1000)
        numbers = ((b.ts // 1000, b.open, b.close, b.high, b.low, b.volume, b.quote) for b in self.newest(found, 1500))
        return [list(map(str, row)) for row in numbers]


class BitfinexServer(VenueServer):
    codes = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1D": DAY}

    def is_candles(self, path: str) -> bool:
        return path.startswith("/v2/candles/")

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/v2/platform/status":
            return [1]
        if path == "/v2/tickers":
            return [[self.symbol, 1, 1, 1, 1, 1, 1, 1234.5, 1, 1, 1], ["fUSD", *range(1, 17)]]
        if path == "/v2/conf/pub:info:pair":
            return [[["BTCUST", [None, None, None, "0.00004", "2000"]], ["AAVE:USD", [None] * 5]]]
        if not self.is_candles(path):
            return None
        _, code, symbol = path.removesuffix("/hist").rsplit("/", 1)[1].split(":")
        if symbol != self.symbol:
            return json_answer(["error", 10020, "symbol: invalid"], 500)
        found = self.window(self.codes[code], int(asked.get("start", 0)), int(asked.get("end", 2**62)))
        most = int(asked["limit"])
        rows = self.oldest(found, most) if asked["sort"] == "1" else self.newest(found, most)
        return [[b.ts, b.open, b.close, b.high, b.low, b.volume] for b in rows]


class GateServer(VenueServer):
    flat = True
    codes = {"1m": MINUTE, "5m": 5 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY}

    def is_candles(self, path: str) -> bool:
        return path == "/api/v4/spot/candlesticks"

    def answer(self, path: str, asked: dict[str, str]) -> Any:
        if path == "/api/v4/spot/time":
            return {"server_time": self.model.now_ms}
        if path == "/api/v4/spot/tickers":
            return [{"currency_pair": self.symbol, "last": "1234.5"}, {"currency_pair": "OLD_USDT", "last": "0"}]
        if path == "/api/v4/spot/currency_pairs":
            pair = {"id": self.symbol, "base": self.base, "quote": self.quote, "trade_status": "tradable"}
            pair |= {"precision": 1, "amount_precision": 6, "min_quote_amount": "3", "buy_start": 1548133413}
            return [pair, pair | {"id": "OLD_USDT", "base": "OLD", "trade_status": "untradable"}]
        if not self.is_candles(path):
            return None
        if asked["currency_pair"] != self.symbol:
            return json_answer({"label": "INVALID_CURRENCY_PAIR", "message": "Invalid currency pair"}, 400)
        length = self.codes[asked["interval"]]
        first, last = int(asked["from"]) * 1000, int(asked["to"]) * 1000
        if first < self.model.now_ms - 10_000 * length:
            return json_answer({"label": "INVALID_PARAM_VALUE", "message": "Candlestick too long ago."}, 400)
        if (last - first) // length + 1 > 1000:
            return json_answer({"label": "INVALID_PARAM_VALUE", "message": "Too many points."}, 400)
        rows = self.oldest(self.window(length, first, last), 1000)
        numbers = ((b.ts // 1000, b.quote, b.close, b.high, b.low, b.open, b.volume, "true") for b in rows)
        return [list(map(str, row)) for row in numbers]


SERVERS: dict[str, tuple[type[VenueServer], str, str]] = {
    "binance": (BinanceServer, "BTCUSDT", "BTC-USDT"),
    "kraken": (KrakenServer, "XXBTZUSD", "BTC-USD"),
    "coinbase": (CoinbaseServer, "BTC-USD", "BTC-USD"),
    "bybit": (BybitServer, "BTCUSDT", "BTC-USDT"),
    "okx": (OkxServer, "BTC-USDT", "BTC-USDT"),
    "kucoin": (KucoinServer, "BTC-USDT", "BTC-USDT"),
    "bitfinex": (BitfinexServer, "tBTCUST", "BTC-USDT"),
    "gate": (GateServer, "BTC_USDT", "BTC-USDT"),
    "binanceusdm": (BinanceUsdmServer, "BTCUSDT", "BTC-USDT"),
}
"""By venue: its server, its spelling of the symbol, and our slug."""


def server_of(venue: str, model: Model, **changes: Any) -> VenueServer:
    """The server of a venue over `model`."""
    kind, symbol, slug = SERVERS[venue]
    base, _, quote = slug.partition("-")
    return kind(model, symbol, base, quote, **({"flat": kind.flat} | changes))
