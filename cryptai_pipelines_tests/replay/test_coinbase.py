"""The second market on the port: Coinbase's rules of windows, rows and errors, held against the bars that it is made of."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.content_faults import CONTENT_FAULTS, spoiled_content
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.replay.spread import MOST_SPREAD
from cryptai_pipelines.replay.venue import UNIT, Window
from cryptai_pipelines_tests.replay.conftest import ask, ask_json, plain_bars

HOUR = Timeframe.H1.ms
START = parse_time("2024-03-04T00:00:00Z")
BARS = 900
NOW = START + BARS * HOUR - HOUR // 2
QUIET = (7, 8, 500)


def save(frame: pd.DataFrame, folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    frame.reset_index().to_parquet(folder / name, index=False)


@pytest.fixture
def frame() -> pd.DataFrame:
    frame = plain_bars(START + HOUR * np.arange(BARS))
    frame.iloc[list(QUIET), frame.columns.get_loc("volume")] = 0.0
    return frame


@pytest.fixture
def api(frame: pd.DataFrame, tmp_path: Path) -> Api:
    save(plain_bars(START + HOUR * np.arange(BARS), seed=1), tmp_path / "binance", "BTCUSDT_1h.parquet")
    save(frame, tmp_path / "coinbase", "BTCUSD_1h.parquet")
    return Api(open_recorded(tmp_path, FixedClock(NOW)))


@pytest.fixture(scope="module")
def simulated() -> Api:
    return Api(open_simulated(5, 6, FixedClock(NOW)))


def iso(ts: int) -> str:
    return f"{dt.datetime.fromtimestamp(ts / 1000, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def candles(start: int, end: int, granularity: int = 3600, product: str = "BTC-USD") -> str:
    return f"/products/{product}/candles?granularity={granularity}&start={iso(start)}&end={iso(end)}"


def expected(frame: pd.DataFrame, first: int, last: int) -> list[list[Any]]:
    """Rows of the slots `first` to `last` without those that nobody traded in, newest first."""
    return [
        [(START + slot * HOUR) // 1000, *frame.iloc[slot][["low", "high", "open", "close", "volume"]].tolist()]
        for slot in range(last, first - 1, -1)
        if slot not in QUIET
    ]


def test_a_window_is_inclusive_newest_first_and_without_quiet_bars(api: Api, frame: pd.DataFrame) -> None:
    assert ask_json(api, candles(START + 3 * HOUR, START + 10 * HOUR)) == expected(frame, 3, 10)
    seconds = f"/products/btc-usd/candles?granularity=3600&start={START // 1000}&end={(START + HOUR) // 1000}"
    assert ask_json(api, seconds) == expected(frame, 0, 1)
    assert ask_json(api, candles(START + 299 * HOUR, START + 598 * HOUR)) == expected(frame, 299, 598)
    assert ask_json(api, candles(START - 9 * HOUR, START - HOUR)) == []


def test_without_a_window_the_newest_are_given_with_the_one_that_forms(api: Api, frame: pd.DataFrame) -> None:
    for one_end_is_none in ("", f"&start={iso(START)}", f"&end={iso(START)}"):
        rows = ask_json(api, f"/products/BTC-USD/candles?granularity=3600{one_end_is_none}")
        assert rows[1:] == expected(frame, BARS - 300, BARS - 2)
        assert rows[0][0] == (START + (BARS - 1) * HOUR) // 1000
        assert rows[0][5] < frame["volume"].iloc[-1], "half an hour of trading"


def test_days_are_made_of_the_hours(api: Api, frame: pd.DataFrame) -> None:
    day = frame.iloc[24:48]
    (row,) = ask_json(api, candles(START + 24 * HOUR, START + 24 * HOUR, 86400))
    assert row[1:5] == [day["low"].min(), day["high"].max(), day["open"].iloc[0], day["close"].iloc[-1]]
    assert row[5] == pytest.approx(day["volume"].sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        (candles(START, START + 300 * HOUR), 400, "granularity too small"),
        (candles(START, START + HOUR, 14400), 400, "Unsupported granularity"),
        (candles(START + HOUR, START), 400, "start must be before end"),
        ("/products/BTC-USD/candles?granularity=3600&start=yesterday&end=2024-03-05", 400, "Invalid start"),
        (candles(START, START, product="BTC-USDT"), 404, "NotFound"),
        ("/products/BTC-USD/book", 404, "NotFound"),
    ],
)
def test_a_wrong_question_is_answered_in_the_exchanges_words(api: Api, target: str, status: int, words: str) -> None:
    answer = ask(api, target)
    assert answer.status == status and words in json.loads(answer.body)["message"]


def test_products_time_and_spark_lines(api: Api, frame: pd.DataFrame) -> None:
    (product,) = ask_json(api, "/products")
    assert (product["id"], product["status"], product["quote_increment"]) == ("BTC-USD", "online", "0.01")
    assert ask_json(api, "/products/BTC-USD") == product
    assert ask_json(api, "/time") == {"iso": "2024-04-10T11:30:00.000Z", "epoch": NOW / 1000}
    lines = ask_json(api, "/products/spark-lines")
    assert lines.keys() == {"BTC-USD"} and len(lines["BTC-USD"]) == 24
    assert lines["BTC-USD"][1] == expected(frame, BARS - 2, BARS - 2)[0][:5]


def test_only_a_folder_of_that_name_is_a_second_market(tmp_path: Path) -> None:
    save(plain_bars(START + HOUR * np.arange(3)), tmp_path / "binance", "BTCUSDT_1h.parquet")
    alone = Api(open_recorded(tmp_path, FixedClock(NOW)))
    assert {ask(alone, target).status for target in ("/time", "/products", candles(START, START))} == {404}
    (tmp_path / "coinbase").mkdir()
    with pytest.raises(CryptaiError, match=r"no recorded bars in .*coinbase"):
        open_recorded(tmp_path, FixedClock(NOW))


def test_the_simulated_market_is_the_same_a_little_off(simulated: Api) -> None:
    venue, second = simulated.venue, simulated.venue.second
    assert second is not None and list(second.instruments) == [f"{one[:-4]}USD" for one in venue.instruments]
    assert dict(ask(simulated, "/products").headers)["X-Cryptai-Simulated"] == "1"
    window = Window(START, START + 40 * 24 * HOUR, 1000)
    for symbol in venue.instruments:
        ours = venue.bars(symbol, Timeframe.H1, window, NOW)
        theirs = second.bars(symbol.removesuffix("T"), Timeframe.H1, window, NOW)
        tick = UNIT // 10 ** venue.instruments[symbol].tick_places
        for name in ("open", "high", "low", "close"):
            off = np.abs(theirs[name] - ours[name])
            assert (off <= ours[name] * MOST_SPREAD / 1e6 + tick).all() and off.any() and not (theirs[name] % tick).any()
    again = open_simulated(5, 2, FixedClock(NOW)).second
    assert np.array_equal(again.bars("ETHUSD", Timeframe.H1, window, NOW)["low"],
                          second.bars("ETHUSD", Timeframe.H1, window, NOW)["low"])  # fmt: skip


@pytest.mark.parametrize("longer", [one for one in TIMEFRAMES if HOUR < one.ms <= 24 * HOUR], ids=lambda one: one.code)
def test_a_simulated_bar_is_the_aggregate_of_its_hours(simulated: Api, longer: Timeframe) -> None:
    second = simulated.venue.second
    parts = longer.ms // HOUR
    for symbol in second.instruments:
        hours = second.bars(symbol, Timeframe.H1, Window(START, START + 10 * 24 * HOUR - 1, 1000), NOW)
        whole = second.bars(symbol, longer, Window(START, START + 10 * 24 * HOUR - 1, 1000), NOW)
        cut = {name: values.reshape(-1, parts) for name, values in hours.items()}
        assert (whole["open"] == cut["open"][:, 0]).all() and (whole["close"] == cut["close"][:, -1]).all()
        assert (whole["high"] == cut["high"].max(axis=1)).all() and (whole["low"] == cut["low"].min(axis=1)).all()
        assert (whole["volume"] == cut["volume"].sum(axis=1)).all()


@pytest.mark.parametrize("kind", sorted(CONTENT_FAULTS))
def test_every_fault_of_content_applies_to_candles_or_leaves_them(api: Api, kind: str) -> None:
    body = ask(api, candles(START + 20 * HOUR, START + 40 * HOUR)).body
    rows = json.loads(body)
    wrong = json.loads(spoiled_content(kind, body, ask(api, candles(START + 50 * HOUR, START + 60 * HOUR)).body))
    if kind in ("eleven_fields", "server_time_ahead", "server_time_behind", "symbol_vanishes", "symbol_reused"):
        assert wrong == rows
    else:
        assert wrong != rows
    if kind == "future_bar":
        assert wrong[1:] == rows and wrong[0][0] == rows[0][0] + 1000 * 3600
    time = ask(api, "/time").body
    shift = {"server_time_ahead": 600, "server_time_behind": -600}.get(kind, 0)
    assert json.loads(spoiled_content(kind, time, None))["epoch"] == NOW / 1000 + shift
