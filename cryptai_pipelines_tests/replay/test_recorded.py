"""Recorded bars on the wire: equal to what Binance itself answered, off-grid bars and all, and clear about bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.recordings import read_recording
from cryptai_pipelines.replay.venue import Window, split_symbol
from cryptai_pipelines_tests.replay.conftest import SAMPLE, ask, ask_json, plain_bars

HOUR = Timeframe.H1.ms
START = parse_time("2024-03-04")
LATER = FixedClock(parse_time("2030-01-01"))
Record = Callable[..., Path]


def test_rows_equal_the_answer_binance_gave(real_data: Path) -> None:
    recorded = json.loads((real_data / "payloads/binance/klines_BTCUSDT_1h_2024-01-01.json").read_text())
    api = Api(open_recorded(SAMPLE, LATER))
    rows = ask_json(api, f"/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={recorded[0][0]}&limit=1000")
    shared = [row for row in recorded if row[0] <= rows[-1][0]]
    assert len(shared) >= 20
    assert rows == shared


def test_every_price_survives_the_wire(real_data: Path) -> None:
    frame = pd.read_parquet(real_data / "binance" / "SOLUSDT_1h.parquet").set_index("ts").iloc[:3000]
    api = Api(open_recorded(real_data, LATER))
    rows: list[list[object]] = []
    start = 0
    while len(page := ask_json(api, f"/api/v3/klines?symbol=SOLUSDT&interval=1h&startTime={start}&limit=1000")) and (
        len(rows) < 3000
    ):
        rows += page
        start = page[-1][0] + 1
    assert [row[0] for row in rows] == index_ms(frame.index).tolist()
    for position, name in enumerate(("open", "high", "low", "close", "volume"), start=1):
        assert np.array_equal([float(row[position]) for row in rows], frame[name].to_numpy())  # type: ignore[arg-type]


def test_off_grid_bars_end_with_their_hour() -> None:
    api = Api(open_recorded(SAMPLE, LATER))
    start = parse_time("2018-02-09T09:00Z")
    rows = ask_json(api, f"/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime={start}&limit=3")
    assert [row[0] - start for row in rows] == [n * HOUR + 28 * 60_000 + 14_000 for n in range(3)]
    assert [row[6] - start for row in rows] == [(n + 1) * HOUR - 1 for n in range(3)]


def test_what_was_not_recorded_is_zero(record: Record) -> None:
    api = Api(open_recorded(record(plain_bars(START + HOUR * np.arange(3))), LATER))
    for row in ask_json(api, "/api/v3/klines?symbol=BTCUSDT&interval=1h"):
        assert row[7:] == ["0.00000000", 0, "0.00000000", "0.00000000", "0"]


def test_unreported_extras_in_a_recorded_column_are_zero(record: Record) -> None:
    frame = plain_bars(START + HOUR * np.arange(2)).assign(quote_volume=[np.nan, 7.5], trades=[np.nan, 3])
    rows = ask_json(Api(open_recorded(record(frame), LATER)), "/api/v3/klines?symbol=BTCUSDT&interval=1h")
    assert [(row[7], row[8]) for row in rows] == [("0.00000000", 0), ("7.50000000", 3)]


@pytest.mark.parametrize("times", ["iso", "milliseconds", "microseconds"])
def test_csv_is_served_like_parquet(record: Record, tmp_path: Path, times: str) -> None:
    frame = plain_bars(START + HOUR * np.arange(50)).assign(quote_volume=1.25, trades=4)
    expected = ask(Api(open_recorded(record(frame), LATER)), "/api/v3/klines?symbol=BTCUSDT&interval=1h").body
    (tmp_path / "binance" / "BTCUSDT_1h.parquet").unlink()
    factor = {"iso": 0, "milliseconds": 1, "microseconds": 1000}[times]
    if factor:
        frame.index = pd.Index(index_ms(frame.index) * factor, name="ts")
    folder = record(frame, suffix="csv")
    assert ask(Api(open_recorded(folder, LATER)), "/api/v3/klines?symbol=BTCUSDT&interval=1h").body == expected


def test_numbers_beyond_exact_eighths_are_written_like_python_does(record: Record) -> None:
    frame = plain_bars(START + HOUR * np.arange(4)).assign(volume=[123456789012.375, 0.1 + 0.2, 1e-8, 0.0])
    rows = ask_json(Api(open_recorded(record(frame), LATER)), "/api/v3/klines?symbol=BTCUSDT&interval=1h")
    assert [row[5] for row in rows] == ["123456789012.37500000", "0.30000000", "0.00000001", "0.00000000"]


def test_an_unrecorded_timeframe_is_made_of_a_shorter_one(record: Record) -> None:
    frame = plain_bars(START + HOUR * np.arange(24 * 21)).drop(plain_bars(START + HOUR * np.arange(5, 9)).index)
    venue = open_recorded(record(frame), LATER)
    for timeframe, rule in ((Timeframe.H4, "4h"), (Timeframe.D1, "1D"), (Timeframe.W1, "W-MON")):
        expected = frame.resample(rule, label="left", closed="left").agg(
            {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
        )
        bars = venue.bars("BTCUSDT", timeframe, Window(None, None, 1000), LATER.now_ms())
        assert bars["ts"].tolist() == index_ms(expected.index).tolist()
        for name in ("open", "high", "low", "close"):
            assert np.array_equal(bars[name], expected[name].to_numpy())
        assert np.allclose(bars["volume"], expected["volume"], rtol=1e-12)


def test_a_timeframe_shorter_than_any_recorded_has_no_bars(record: Record) -> None:
    api = Api(open_recorded(record(plain_bars(START + HOUR * np.arange(30))), LATER))
    assert ask(api, "/api/v3/klines?symbol=BTCUSDT&interval=30m").body == b"[]"


def test_the_longest_shorter_recording_is_resampled(record: Record) -> None:
    record(plain_bars(START + 60_000 * np.arange(600)), timeframe="1m")
    folder = record(plain_bars(START + HOUR * np.arange(24 * 30)), timeframe="1h")
    bars = open_recorded(folder, LATER).bars("BTCUSDT", Timeframe.D1, Window(None, None, 1000), LATER.now_ms())
    assert len(bars["ts"]) == 30


def test_a_small_cache_serves_the_same(record: Record) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        folder = record(plain_bars(START + HOUR * np.arange(40), seed=len(symbol)), symbol=symbol)
    roomy, tight = open_recorded(folder, LATER), open_recorded(folder, LATER)
    tight.cached_rows = 50
    for _ in range(2):
        for symbol in roomy.instruments:
            for timeframe in (Timeframe.H1, Timeframe.D1):
                window = Window(None, None, 100)
                wanted = roomy.bars(symbol, timeframe, window, LATER.now_ms())
                found = tight.bars(symbol, timeframe, window, LATER.now_ms())
                assert all(np.array_equal(wanted[name], found[name]) for name in wanted)
    assert sum(len(columns["ts"]) for columns in tight._series.values()) <= 50


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("BTCUSDT", ("BTC", "USDT")),
        ("BTCFDUSD", ("BTC", "FDUSD")),
        ("ETHBTC", ("ETH", "BTC")),
        ("BTCUSD", ("BTC", "USD")),
        ("BNBETH", ("BNB", "ETH")),
        ("USDTTRY", ("USDT", "TRY")),
        ("1000SATSUSDC", ("1000SATS", "USDC")),
    ],
)
def test_symbols_are_split_at_their_quote_asset(symbol: str, parts: tuple[str, str]) -> None:
    assert split_symbol(symbol) == parts


def test_all_recorded_symbols_of_an_old_exchange_info_split_as_listed(real_data: Path) -> None:
    import gzip

    payload = (real_data / "payloads/binance/exchangeInfo_2020-10-09.json.gz").read_bytes()
    listed = json.loads(gzip.decompress(payload))["symbols"]
    wrong = [s["symbol"] for s in listed if split_symbol(s["symbol"]) != (s["baseAsset"], s["quoteAsset"])]
    assert wrong == []


def one_line(error: pytest.ExceptionInfo[CryptaiError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_corrupt_file_is_named(record: Record, tmp_path: Path) -> None:
    folder = record(plain_bars(START + HOUR * np.arange(300)))
    path = folder / "binance" / "BTCUSDT_1h.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CryptaiError) as error:
        open_recorded(folder, LATER)
    assert str(path) in one_line(error)


def test_a_file_that_breaks_when_read_is_an_error_of_the_venue(record: Record, caplog: pytest.LogCaptureFixture) -> None:
    folder = record(plain_bars(START + HOUR * np.arange(3)), suffix="csv")
    path = folder / "binance" / "BTCUSDT_1h.csv"
    path.write_text(path.read_text().replace("100.0,", "abc,", 1))
    answer = ask(Api(open_recorded(folder, LATER)), "/api/v3/klines?symbol=BTCUSDT&interval=1h")
    assert (answer.status, json.loads(answer.body)["code"]) == (500, -1000)
    assert str(path) in caplog.text


def test_missing_folders_columns_and_doubled_series_are_named(record: Record, tmp_path: Path) -> None:
    with pytest.raises(CryptaiError) as error:
        open_recorded(tmp_path / "nowhere", LATER)
    assert "nowhere" in one_line(error)
    (tmp_path / "binance").mkdir()
    with pytest.raises(CryptaiError) as error:
        open_recorded(tmp_path, LATER)
    assert "no recorded bars" in one_line(error)
    frame = plain_bars(START + HOUR * np.arange(3))
    record(frame.drop(columns="volume"))
    with pytest.raises(CryptaiError) as error:
        open_recorded(tmp_path, LATER)
    assert "'volume'" in one_line(error)
    record(frame)
    record(frame, suffix="csv")
    with pytest.raises(CryptaiError) as error:
        open_recorded(tmp_path, LATER)
    assert "same series" in one_line(error)


def test_a_symbol_without_a_known_quote_asset_is_named(record: Record) -> None:
    with pytest.raises(CryptaiError) as error:
        open_recorded(record(plain_bars(START + HOUR * np.arange(3)), symbol="BTCXYZ"), LATER)
    assert "BTCXYZ" in one_line(error)


def test_values_that_are_not_finite_are_refused(record: Record) -> None:
    folder = record(plain_bars(START + HOUR * np.arange(3)).assign(close=[1.0, np.nan, 2.0]))
    with pytest.raises(CryptaiError) as error:
        open_recorded(folder, LATER).bars("BTCUSDT", Timeframe.H1, Window(None, None, 5), LATER.now_ms())
    assert "'close'" in one_line(error)


def test_unsorted_rows_are_sorted_and_other_files_left_alone(record: Record) -> None:
    frame = plain_bars(START + HOUR * np.arange(20))
    folder = record(frame.iloc[::-1])
    (folder / "binance" / "README.md").write_text("notes")
    bars = open_recorded(folder, LATER).bars("BTCUSDT", Timeframe.H1, Window(None, None, 50), LATER.now_ms())
    assert np.array_equal(bars["close"], frame["close"]) and bars["ts"].tolist() == index_ms(frame.index).tolist()


def test_csv_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binance").mkdir()
    (tmp_path / "binance" / "BTCUSDT_1h.csv").write_bytes(b"\xff\xfe\x00ts")
    with pytest.raises(CryptaiError) as error:
        open_recorded(tmp_path, LATER)
    assert "BTCUSDT_1h.csv" in one_line(error)


@pytest.mark.parametrize("times", [["2024-01-01", None], ["first", "second"]])
def test_open_times_that_are_none_are_named(record: Record, times: list[str | None]) -> None:
    frame = plain_bars(START + HOUR * np.arange(2))
    frame.index = pd.Index(times, name="ts")
    with pytest.raises(CryptaiError) as error:
        folder = record(frame, suffix="csv")
        open_recorded(folder, LATER).bars("BTCUSDT", Timeframe.H1, Window(None, None, 50), LATER.now_ms())
    assert "open time" in one_line(error)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_venue_has_not_given_what_a_file_says_was_filled(tmp_path: Path, suffix: str) -> None:
    frame = plain_bars(START + HOUR * np.arange(10)).assign(is_filled=[row in (3, 4) for row in range(10)])
    home = tmp_path / "binance"
    home.mkdir()

    def save(table: pd.DataFrame) -> None:
        path = home / f"BTCUSDT_1h.{suffix}"
        table.to_parquet(path) if suffix == "parquet" else table.to_csv(path)

    save(frame)
    found = read_recording(home / f"BTCUSDT_1h.{suffix}")
    assert found["ts"].tolist() == [START + hour * HOUR for hour in range(10) if hour not in (3, 4)]
    for broken, words in ((frame.assign(is_filled=True), "10 filled ones"), (frame.assign(simulated=True), "simulated bars")):
        save(broken)
        with pytest.raises(CryptaiError, match=words):
            read_recording(home / f"BTCUSDT_1h.{suffix}")
