"""The futures on the port: their listing, klines, prices, weights and archive, held against the bars that they are made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.perpetual import CONTRACTS_FROM_MS
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.replay.conftest import SAMPLE, ask, ask_json, plain_bars
from cryptai_pipelines_tests.replay.test_archive import lines

HOUR, DAY = Timeframe.H1.ms, Timeframe.D1.ms
START = parse_time("2025-03-03")
BARS = 1_700
NOW = START + BARS * HOUR - HOUR // 2
KLINES = "/fapi/v1/klines?symbol=BTCUSDT&interval=1h"
DAILY, MONTHLY = "/data/futures/um/daily/klines/BTCUSDT/1h/", "/data/futures/um/monthly/klines/BTCUSDT/1h/"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return plain_bars(START + HOUR * np.arange(BARS))


@pytest.fixture(scope="module")
def folder(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spot and futures of one symbol with different bars."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, bars in (("binance", plain_bars(START + HOUR * np.arange(BARS), seed=1)), ("binanceusdm", frame)):
        (folder / name).mkdir()
        bars.reset_index().to_parquet(folder / name / "BTCUSDT_1h.parquet", index=False)
    return folder


@pytest.fixture
def api(folder: Path) -> Api:
    return Api(open_recorded(folder, FixedClock(NOW)))


@pytest.fixture
def simulated() -> Api:
    return Api(open_simulated(5, 3, FixedClock(NOW)))


def test_klines_are_those_of_the_futures_and_at_most_1500(api: Api, frame: pd.DataFrame) -> None:
    rows = ask_json(api, f"{KLINES}&startTime={START}&limit=5000")
    assert [row[0] for row in rows] == [START + n * HOUR for n in range(1500)]
    assert [float(row[4]) for row in rows] == frame["close"].iloc[:1500].tolist()
    assert len(ask_json(api, KLINES)) == 500
    assert ask_json(api, f"{KLINES}&limit=9") != ask_json(api, "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=9")


def test_contracts_are_listed_as_perpetual_from_their_first_bar_on(api: Api) -> None:
    info = ask_json(api, "/fapi/v1/exchangeInfo")
    assert info["futuresType"] == "U_MARGINED" and info["rateLimits"][0]["limit"] == 2400
    (contract,) = info["symbols"]
    told = {name: contract[name] for name in ("symbol", "pair", "contractType", "status", "baseAsset", "quoteAsset")}
    assert list(told.values()) == ["BTCUSDT", "BTCUSDT", "PERPETUAL", "TRADING", "BTC", "USDT"]
    assert (contract["onboardDate"], contract["deliveryDate"]) == (START, 4_133_404_800_000)
    assert {one["filterType"]: one for one in contract["filters"]}["MIN_NOTIONAL"] == {
        "filterType": "MIN_NOTIONAL",
        "notional": "5.00000000",
    }
    assert "simulated" not in json.dumps(info)


def test_the_time_and_the_prices_with_theirs(api: Api, folder: Path, frame: pd.DataFrame) -> None:
    assert ask_json(api, "/fapi/v1/time") == {"serverTime": NOW}
    (price,) = ask_json(api, "/fapi/v1/ticker/price")
    assert price == ask_json(api, "/fapi/v1/ticker/price?symbol=BTCUSDT")
    assert price["time"] == NOW
    late = Api(open_recorded(folder, FixedClock(NOW + DAY)))
    assert ask_json(late, "/fapi/v1/ticker/price?symbol=BTCUSDT") == {
        "symbol": "BTCUSDT",
        "price": f"{frame['close'].iloc[-1]:.8f}",
        "time": START + BARS * HOUR - 1,
    }
    early = Api(open_recorded(folder, FixedClock(START - 1)))
    assert ask_json(early, "/fapi/v1/ticker/price") == [{"symbol": "BTCUSDT", "price": "0.00000000", "time": 0}]


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        ("time", 1),
        ("exchangeInfo", 1),
        ("klines?symbol=BTCUSDT&interval=1h", 5),
        *((f"klines?symbol=BTCUSDT&interval=1h&limit={limit}", weight) for limit, weight in
          ((1, 1), (99, 1), (100, 2), (499, 2), (500, 5), (1000, 5), (1001, 10), (1500, 10))),
        ("ticker/price?symbol=BTCUSDT", 1),
        ("ticker/price", 2),
    ],
)  # fmt: skip
def test_weights_are_the_documented_ones(api: Api, target: str, weight: int) -> None:
    assert dict(ask(api, f"/fapi/v1/{target}").headers)["X-MBX-USED-WEIGHT-1M"] == str(weight)


def test_each_market_has_a_budget_of_its_own(folder: Path) -> None:
    api = Api(open_recorded(folder, FixedClock(NOW)), Limits(weight_per_minute=10), lambda: 0.0)
    assert [ask(api, "/fapi/v1/time").status for _ in range(5)] == [200, 200, 200, 200, 429]
    assert dict(ask(api, "/api/v3/time").headers)["X-MBX-USED-WEIGHT-1M"] == "1"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("klines?symbol=NOPEUSDT&interval=1h", -1121),
        ("klines?symbol=BTCUSDT&interval=7m", -1120),
        ("klines?interval=1h", -1102),
        ("ticker/price?symbol=NOPEUSDT", -1121),
    ],
)
def test_errors_carry_the_code(api: Api, target: str, code: int) -> None:
    answer = ask(api, f"/fapi/v1/{target}")
    assert (answer.status, json.loads(answer.body)["code"]) == (400, code)


def test_the_archive_has_a_line_of_names_and_milliseconds_in_every_year(api: Api) -> None:
    content = ask(api, f"{MONTHLY}BTCUSDT-1h-2025-04.zip").body
    names, *rows = lines(content)
    assert (names[0], names[8], len(names)) == ("open_time", "count", 12)
    opens = range(parse_time("2025-04-01"), parse_time("2025-05-01"), HOUR)
    assert [int(row[0]) for row in rows] == list(opens)
    served = ask_json(api, f"{KLINES}&startTime={opens[0]}&endTime={opens[-1]}&limit=1500")
    assert rows == [[str(field) for field in row] for row in served]
    assert ask(api, f"{MONTHLY}BTCUSDT-1h-2025-04.zip.CHECKSUM").body.startswith(hashlib.sha256(content).hexdigest().encode())
    assert lines(ask(api, f"{DAILY}BTCUSDT-1h-2025-04-30.zip").body) == [names, *rows[-24:]]
    spot = lines(ask(api, f"{MONTHLY.replace('futures/um', 'spot')}BTCUSDT-1h-2025-04.zip").body)
    assert len(spot) == len(rows) and spot[0][0] == str(opens[0] * 1000)


@pytest.mark.parametrize("path", ["/fapi/v1/time", "/fapi/v1/klines", f"{DAILY}BTCUSDT-1h-2018-01-05.zip"])
def test_without_recordings_of_futures_there_are_none(path: str) -> None:
    assert ask(Api(open_recorded(SAMPLE, FixedClock(parse_time("2018-03-02")))), path).status == 404


def test_an_empty_folder_of_futures_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "binance").symlink_to(folder / "binance")
    (tmp_path / "binanceusdm").mkdir()
    with pytest.raises(CryptaiError, match="binanceusdm"):
        open_recorded(tmp_path, FixedClock(NOW))


@pytest.mark.parametrize("timeframe", TIMEFRAMES, ids=lambda timeframe: timeframe.code)
def test_simulated_contracts_have_the_bars_of_spot_since_they_began(simulated: Api, timeframe: Timeframe) -> None:
    asked = f"klines?symbol=ETHUSDT&interval={timeframe.code}&limit=900"
    since = f"&startTime={CONTRACTS_FROM_MS - 20 * timeframe.ms}"
    rows = ask_json(simulated, f"/fapi/v1/{asked}{since}")
    assert rows[0][0] == CONTRACTS_FROM_MS
    spot = ask_json(simulated, f"/api/v3/{asked}&startTime={CONTRACTS_FROM_MS}")
    assert rows == spot
    before = f"&endTime={CONTRACTS_FROM_MS + 2 * timeframe.ms}"
    assert ask_json(simulated, f"/fapi/v1/{asked}{before}") == rows[:3]
    nothing = f"&startTime={CONTRACTS_FROM_MS - 9 * timeframe.ms}&endTime={CONTRACTS_FROM_MS - 1}"
    assert ask_json(simulated, f"/fapi/v1/{asked}{nothing}") == []


def test_simulated_is_said_wherever_it_is_shown(simulated: Api) -> None:
    info = ask_json(simulated, "/fapi/v1/exchangeInfo")
    assert info["simulated"] is True and all(contract["simulated"] is True for contract in info["symbols"])
    assert {contract["onboardDate"] for contract in info["symbols"]} == {CONTRACTS_FROM_MS}
    for path in ("/fapi/v1/time", f"{KLINES}&limit=1", f"{MONTHLY}BTCUSDT-1h-2025-04.zip"):
        answer = ask(simulated, path)
        assert (answer.status, dict(answer.headers)["X-Cryptai-Simulated"]) == (200, "1")
