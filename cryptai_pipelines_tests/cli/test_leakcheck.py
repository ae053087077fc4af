"""`cryptai leakcheck` as a person meets it: words, exit codes, and the one JSON object."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.command import call
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.indicators.samples import random_bars
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store

LEAKING = "def mine(bars):\n    return bars.assign(ahead=bars['close'].shift(-1))[['close', 'ahead']]\n"


def test_what_is_clean_ends_with_0_and_needs_no_store(invoke: Invoke, home: Path) -> None:
    ended = invoke("leakcheck", "rsi_14", "--prefixes", "30", "--json")
    assert ended.code == 0 and not home.exists()
    told = ended.object
    assert told["clean"] is True and told["leaks"] == [] and "error" not in told
    assert (told["kind"], told["columns"], told["bars"]) == ("indicator", ["rsi_14"], 6_000)
    assert 0 < told["prefixes"] == told["shuffles"] <= 30


def test_a_leak_names_bar_and_column_and_ends_with_1(invoke: Invoke, home: Path) -> None:
    (home.parent / "mine.py").write_text(LEAKING)
    ended = invoke("leakcheck", "mine.py", "--json")
    told = ended.object
    assert ended.code == 1 and told["clean"] is False
    [leak] = told["leaks"]
    assert leak["column"] == "ahead" and leak["bar"] <= leak["known_until"] and leak["how"] in ("prefix", "shuffle")
    assert told["error"] == ended.err.splitlines()[-1].removeprefix("cryptai: ")
    shown = invoke("leakcheck", "mine.py")
    assert shown.code == 1 and f"leak: ahead at {leak['bar']}" in shown.out


def test_what_a_users_file_prints_is_no_part_of_the_object(home: Path) -> None:
    (home.parent / "loud.py").write_text("print('loaded')\n\ndef mine(bars):\n    print('asked')\n    return bars[['close']]\n")
    ended = call(["leakcheck", "loud.py", "--prefixes", "3", "--json"], home)
    assert ended.code == 0 and ended.object["clean"] is True
    assert "loaded" in ended.err and "asked" in ended.err
    (home.parent / "loud.py").write_text("def mine(bars):\n    print('asked')\n    raise SystemExit(3)\n")
    ended = call(["leakcheck", "loud.py", "--json"], home)
    assert ended.code == 1 and "SystemExit: 3" in ended.object["error"] and "loud.py, line 3" in ended.object["error"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bars_of_a_file(invoke: Invoke, home: Path, suffix: str) -> None:
    bars = random_bars(42, 400, Timeframe.H4).reset_index()
    path = home.parent / f"bars{suffix}"
    bars.to_csv(path, index=False) if suffix == ".csv" else bars.to_parquet(path)
    ended = invoke("leakcheck", "rsi_14", "--bars", str(path), "-t", "4h", "--json")
    told = ended.object
    assert ended.code == 0 and told["bars"] == 400
    assert pd.Timestamp(told["first_bar"]) == bars["ts"].iloc[0]


def test_stored_bars(invoke: Invoke, url: str, database: Database) -> None:
    store(database, Series("BTC-USDT", Timeframe.H1), hourly(300))
    ended = invoke("leakcheck", "rsi_14", "--bars", "BTC-USDT@1h", "--json", CRYPTAI_DATABASE_URL=url)
    assert ended.code == 0 and (ended.object["bars"], ended.object["bars_of"]) == (300, "BTC-USDT@1h")
    missing = invoke("leakcheck", "rsi_14", "--bars", "ETH-USDT@1h", CRYPTAI_DATABASE_URL=url)
    assert missing.code == 1 and "cryptai sync ETH-USDT" in missing.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("leakcheck nothing_like_it", "'nothing_like_it' is no strategy trend_rsi_macd indicator"),
        ("leakcheck rsi_14 --prefixes 0", "--prefixes 0 accepted: 1"),
        ("leakcheck rsi_14 --bars nowhere.csv", "nowhere.csv no such file"),
        ("leakcheck rsi_14 --bars BTCUSDT", "'BTCUSDT' BASE-QUOTE"),
        ("leakcheck rsi_14 -t 4h", "--timeframe 4h sample"),
    ],
)
def test_bad_usage_is_one_line(invoke: Invoke, home: Path, line: str, words: str) -> None:
    ended = invoke(*line.split())
    assert ended.code == 2 and ended.out == "" and ended.err.count("\n") == 1 and not home.exists()
    assert all(word in ended.err for word in words.split())
