"""Shapes of the answers against recorded ones, tickers against a walk over the bars, and Binance's errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.replay.venue import Window
from cryptai_pipelines_tests.replay.conftest import SAMPLE, ask, ask_json, plain_bars

NOW = parse_time("2023-11-05T12:34:56Z")
Record = Callable[..., Path]


@pytest.fixture
def sample() -> Api:
    return Api(open_recorded(SAMPLE, FixedClock(NOW)))


@pytest.fixture
def simulated() -> Api:
    return Api(open_simulated(4, 3, FixedClock(NOW)))


def shape(value: Any) -> Any:
    """Keys and JSON types."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return type(value).__name__


def test_shapes_are_those_of_recorded_answers(sample: Api, real_data: Path) -> None:
    recorded = real_data / "payloads"
    spot = recorded / "nautilus"
    kline = json.loads((spot / "binance_spot_klines_response.json").read_text())
    assert shape(ask_json(sample, "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1")) == shape(kline)
    time = json.loads((spot / "binance_spot_server_time_response.json").read_text())
    assert shape(ask_json(sample, "/api/v3/time")) == shape(time)
    ticker = json.loads((recorded / "binance/ticker_24hr_2020-10-09.json").read_text())
    answered = ask_json(sample, "/api/v3/ticker/24hr")
    assert list(answered[0]) == list(ticker[0])
    assert shape(answered[0]) == shape(ticker[0])
    price = json.loads((recorded / "binance/ticker_price_2020-10.json").read_text())
    assert shape(ask_json(sample, "/api/v3/ticker/price")) == shape(price[:1])
    assert shape(ask_json(sample, "/api/v3/ticker/price?symbol=BTCUSDT")) == shape(price[0])


def test_exchange_info_has_the_recorded_keys(sample: Api, real_data: Path) -> None:
    import gzip

    info = json.loads((real_data / "payloads/nautilus/binance_spot_exchange_info_response.json").read_text())
    answered = ask_json(sample, "/api/v3/exchangeInfo")
    assert set(answered) == set(info) - {"sors"}
    assert list(answered["symbols"][0]) == list(info["symbols"][0])
    older = json.loads(gzip.decompress((real_data / "payloads/binance/exchangeInfo_2020-10-09.json.gz").read_bytes()))
    assert shape(answered["rateLimits"][0]) == shape(older["rateLimits"][0])
    known = {entry["filterType"]: shape(entry) for entry in older["symbols"][0]["filters"]}
    for entry in answered["symbols"][0]["filters"]:
        if entry["filterType"] in known:
            assert shape(entry) == known[entry["filterType"]]
    assert {entry["filterType"] for entry in answered["symbols"][0]["filters"]} == {"PRICE_FILTER", "LOT_SIZE", "NOTIONAL"}


def test_exchange_info_selects_symbols(simulated: Api) -> None:
    def names(query: str) -> list[str]:
        return [entry["symbol"] for entry in ask_json(simulated, f"/api/v3/exchangeInfo{query}")["symbols"]]

    assert names("") == ["BTCUSDT", "ETHUSDT", "BNBUSDT"]
    assert names("?symbol=ETHUSDT") == ["ETHUSDT"]
    assert names("?symbols=%5B%22BNBUSDT%22,%22BTCUSDT%22%5D") == ["BNBUSDT", "BTCUSDT"]
    assert names("?permissions=SPOT") == names("?symbolStatus=TRADING") == names("?permissions=%5B%22SPOT%22%5D") == names("")
    assert names("?permissions=LEVERAGED") == names("?symbolStatus=BREAK") == []
    without = ask_json(simulated, "/api/v3/exchangeInfo?symbol=ETHUSDT&showPermissionSets=false")["symbols"][0]
    assert without["permissionSets"] == []
    assert ask_json(simulated, "/api/v3/exchangeInfo")["symbols"][0]["permissionSets"] == [["SPOT"]]


def test_simulated_is_said_wherever_it_is_shown(simulated: Api, sample: Api) -> None:
    info = ask_json(simulated, "/api/v3/exchangeInfo")
    assert info["simulated"] is True and all(entry["simulated"] is True for entry in info["symbols"])
    for path in ("ping", "time", "exchangeInfo", "ticker/24hr", "klines?symbol=BTCUSDT&interval=1m", "klines"):
        assert dict(ask(simulated, f"/api/v3/{path}").headers)["X-Cryptai-Simulated"] == "1"
        assert "X-Cryptai-Simulated" not in dict(ask(sample, f"/api/v3/{path}").headers)
    assert "simulated" not in json.dumps(ask_json(sample, "/api/v3/exchangeInfo"))


@pytest.mark.parametrize("kind", ["sample", "simulated"])
def test_a_ticker_is_what_the_bars_of_the_last_day_say(kind: str, request: pytest.FixtureRequest) -> None:
    api: Api = request.getfixturevalue(kind)
    ticker = ask_json(api, "/api/v3/ticker/24hr?symbol=BTCUSDT")
    timeframe = Timeframe.H1 if kind == "sample" else Timeframe.M1
    rows = []
    for page in range(3):
        start = NOW - 25 * 3_600_000 + page * 600 * timeframe.ms
        window = f"startTime={start}&endTime={start + 600 * timeframe.ms - 1}&limit=1000"
        rows += ask_json(api, f"/api/v3/klines?symbol=BTCUSDT&interval={timeframe.code}&{window}")
    rows = [row for n, row in enumerate(rows) if not n or row[0] > rows[n - 1][0]]
    before = [row for row in rows if row[0] < NOW - 86_400_000][-1]
    rows = [row for row in rows if row[0] >= NOW - 86_400_000]
    number = [[Decimal(str(cell)) for cell in row] for row in rows]
    first, last = number[0][1], number[-1][4]
    volume, quote = sum(row[5] for row in number), sum(row[7] for row in number)
    assert ticker["openPrice"] == rows[0][1] and ticker["lastPrice"] == rows[-1][4]
    assert ticker["prevClosePrice"] == before[4]
    assert Decimal(ticker["highPrice"]) == max(row[2] for row in number)
    assert Decimal(ticker["lowPrice"]) == min(row[3] for row in number)
    assert Decimal(ticker["priceChange"]) == last - first
    assert ticker["priceChangePercent"] == f"{(last - first) / first * 100:.3f}"
    exact = Decimal(0) if kind == "simulated" else Decimal("1e-5")
    assert abs(Decimal(ticker["volume"]) - volume) <= exact and abs(Decimal(ticker["quoteVolume"]) - quote) <= exact
    assert abs(Decimal(ticker["weightedAvgPrice"]) - quote / volume) < Decimal("1e-7")
    assert ticker["count"] == sum(row[8] for row in rows)
    assert (ticker["openTime"], ticker["closeTime"]) == (NOW - 86_400_000, NOW)
    assert ask_json(api, "/api/v3/ticker/price?symbol=BTCUSDT") == {"symbol": "BTCUSDT", "price": rows[-1][4]}


def test_a_mini_ticker_is_part_of_the_full_one(simulated: Api) -> None:
    full = ask_json(simulated, "/api/v3/ticker/24hr")
    mini = ask_json(simulated, "/api/v3/ticker/24hr?type=MINI")
    assert [entry | part for entry, part in zip(full, mini, strict=True)] == full
    assert "priceChange" not in mini[0] and "lastPrice" in mini[0]


def test_a_ticker_uses_the_recording_that_reaches_furthest(record: Record) -> None:
    hour = Timeframe.H1.ms
    start = NOW // hour * hour - 100 * hour
    record(plain_bars(start + 60_000 * np.arange(300), seed=1), timeframe="1m")
    hours = plain_bars(start + hour * np.arange(100), seed=2)
    api = Api(open_recorded(record(hours), FixedClock(NOW)))
    assert float(ask_json(api, "/api/v3/ticker/price?symbol=BTCUSDT")["price"]) == hours["close"].iloc[-1]
    assert float(ask_json(api, "/api/v3/ticker/24hr?symbol=BTCUSDT")["lastPrice"]) == hours["close"].iloc[-1]


def test_a_symbol_that_ceased_to_trade_has_an_empty_ticker(record: Record) -> None:
    frame = plain_bars(NOW // 3_600_000 * 3_600_000 - 3_600_000 * np.arange(60, 30, -1))
    api = Api(open_recorded(record(frame), FixedClock(NOW)))
    ticker = ask_json(api, "/api/v3/ticker/24hr?symbol=BTCUSDT")
    assert ticker["count"] == 0 and ticker["lastPrice"] == "0.00000000" and ticker["volume"] == "0.00000000"
    assert float(ticker["prevClosePrice"]) == frame["close"].iloc[-1]
    early = Api(open_recorded(record(frame), FixedClock(0)))
    assert ask_json(early, "/api/v3/ticker/price?symbol=BTCUSDT")["price"] == "0.00000000"
    assert ask_json(early, "/api/v3/ticker/24hr")[0]["prevClosePrice"] == "0.00000000"


KLINES = "/api/v3/klines?"


@pytest.mark.parametrize(
    ("target", "code", "named"),
    [
        (KLINES + "symbol=NOPEUSDT&interval=1h", -1121, "Invalid symbol."),
        (KLINES + "symbol=BTCUSDT&interval=7m", -1120, "Invalid interval."),
        (KLINES + "symbol=BTCUSDT&interval=1H", -1120, "Invalid interval."),
        (KLINES + "symbol=BTCUSDT&interval=3m", -1120, "Invalid interval."),
        (KLINES + "interval=1h", -1102, "'symbol'"),
        (KLINES + "symbol=BTCUSDT", -1102, "'interval'"),
        (KLINES + "symbol=&interval=1h", -1105, "'symbol'"),
        (KLINES + "symbol=btcusdt&interval=1h", -1100, "'symbol'"),
        (KLINES + "symbol=BTC%2FUSDT&interval=1h", -1100, "'symbol'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&limit=None", -1100, "'limit'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&limit=-5", -1100, "'limit'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&limit=0", -1130, "'limit'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&startTime=yesterday", -1100, "'startTime'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&endTime=1.5", -1100, "'endTime'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&endTime=99999999999999999999", -1108, "'endTime'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&startTime=%D9%A1", -1100, "'startTime'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&since=1", -1104, "read '2' parameter(s) but was sent '3'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&interval=1m", -1101, "'interval'"),
        (KLINES + "symbol=BTCUSDT&interval=1h&timeZone=8", -1130, "'timeZone'"),
        ("/api/v3/exchangeInfo?symbol=NOPE", -1121, "Invalid symbol."),
        ("/api/v3/exchangeInfo?symbols=BTCUSDT", -1100, "'symbols'"),
        ("/api/v3/exchangeInfo?symbol=BTCUSDT&symbols=%5B%22BTCUSDT%22%5D", -1128, "Combination"),
        ("/api/v3/exchangeInfo?symbol=BTCUSDT&permissions=SPOT", -1128, "Combination"),
        ("/api/v3/exchangeInfo?symbolStatus=GONE", -1122, "symbolStatus"),
        ("/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22,%22BTCUSDT%22%5D", -1151, "multiple times"),
        ("/api/v3/ticker/24hr?symbol=BTCUSDT&type=TINY", -1139, "ticker type"),
        ("/api/v3/ticker/24hr?symbol=XXXUSDT", -1121, "Invalid symbol."),
        ("/api/v3/ping?x=1", -1104, "read '0' parameter(s) but was sent '1'"),
    ],
)
def test_errors_carry_the_code_and_name_the_parameter(sample: Api, target: str, code: int, named: str) -> None:
    answer = ask(sample, target)
    assert answer.status == 400
    body = json.loads(answer.body)
    assert set(body) == {"code", "msg"} and body["code"] == code and named in body["msg"]


def test_a_wrong_time_unit_is_refused(sample: Api) -> None:
    answer = ask(sample, "/api/v3/time", {"x-mbx-time-unit": "NANOSECOND"})
    assert (answer.status, json.loads(answer.body)["code"]) == (400, -1194)


@pytest.mark.parametrize("path", ["/", "/api/v3", "/api/v3/kline", "/api/v1/klines", "/api/v3/klines/", "/../etc/passwd"])
def test_an_unknown_path_is_not_found(sample: Api, path: str) -> None:
    answer = ask(sample, path)
    assert answer.status == 404 and b"404 Not Found" in answer.body


def test_other_methods_are_refused(sample: Api) -> None:
    assert sample.answer("POST", "/api/v3/time", "", {}).status == 405


def test_a_defect_in_a_venue_is_answered_as_an_error(simulated: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(symbol: str, timeframe: Timeframe, window: Window, now_ms: int) -> Any:
        raise ZeroDivisionError

    object.__setattr__(simulated.venue, "bars", broken)
    answer = ask(simulated, KLINES + "symbol=BTCUSDT&interval=1h")
    assert (answer.status, json.loads(answer.body)["code"]) == (500, -1000)
