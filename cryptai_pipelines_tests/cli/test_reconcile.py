"""`cryptai reconcile`: the acceptance on the real files in one command, the sources of the store, wrong arguments in a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import OHLCV, Columns, take_rows, ts_index
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.cli.test_bad_input import assert_one_line
from cryptai_pipelines_tests.orchestration.test_reconcile import changed, store
from cryptai_pipelines_tests.quality.samples import good_rows


def write(rows: Columns, path: Path) -> Path:
    frame = pd.DataFrame({"ts": ts_index(rows["ts"]), **{name: rows[name] for name in OHLCV}})
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def files(*paths: Path, more: str = "") -> list[str]:
    return ["reconcile", *(word for path in paths for word in ("--file", str(path))), *more.split()]


def test_the_two_copies_of_binance_in_one_command(invoke: Invoke, home: Path, real_data: Path) -> None:
    paths = [real_data / folder / "BTCUSDT_1h.parquet" for folder in ("binance_vision_2025", "binance")]
    arguments = files(*paths, more="--role archive --role api --timeframe 1h")
    [pair] = invoke(*arguments, "--json").object["pairs"]
    assert pair["kinds"] == {
        "price": 3,
        "volume": 12,
        "only in source": 1,
        "only in other": 43,
        "off grid in source": 43,
    }
    bars = [bar for month in pair["months"] for bar in month["bars"]]
    assert len(bars) == pair["bars_found"] == 102
    told = invoke(*arguments)
    assert told.code == 0 and told.err == "" and not home.exists()
    for bar in bars:
        assert bar["at"] in told.out
    assert "55,706 of 55,721 bars agree" in told.out
    lines = {line.split("│")[1].strip(): line for line in told.out.splitlines() if line.startswith("│")}
    for at in ("2020-12-21T13:00:00Z", "2021-01-11T08:00:00Z", "2021-04-23T01:00:00Z"):
        assert " price " in lines[at] and "api over archive" in lines[at]
    assert "only in binance_vision_2025/BTCUSDT_1h" in lines["2020-12-21T14:00:00Z"]


def test_csv_and_parquet_of_equal_bars_agree(invoke: Invoke, tmp_path: Path) -> None:
    rows = good_rows(50)
    paths = write(rows, tmp_path / "a.csv"), write(take_rows(rows, np.arange(49, -1, -1)), tmp_path / "b.parquet")
    ended = invoke(*files(*paths))
    assert ended.code == 0 and ended.out.count("\n") == 1 and "50 of 50 bars agree" in ended.out


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("flags", [(True, False), ("True", "false"), (1, 0)], ids=str)
def test_bars_that_a_file_says_are_filled_are_no_witness(
    invoke: Invoke, tmp_path: Path, suffix: str, flags: tuple[object, object]
) -> None:
    rows = good_rows(50)
    exported = changed(changed(rows, 3, "close", 1.5), 7, "close", 1.5)
    frame = pd.DataFrame({"ts": ts_index(exported["ts"]), **{name: exported[name] for name in OHLCV}})
    path = tmp_path / f"exported.{suffix}"
    # In no order, so that a flag that is not moved along with its row would be seen.
    frame = frame.assign(is_filled=[flags[0] if row in (3, 20, 21) else flags[1] for row in range(50)]).iloc[::-1]
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    real = write(rows, tmp_path / "real.parquet")
    [pair] = invoke(*files(path, real), "--json").object["pairs"]
    assert (pair["compared"], pair["filled_left_out"], pair["kinds"]) == (47, [3, 0], {"price": 1, "only in other": 3})
    told = invoke(*files(real, path))
    assert told.out.count("filled bars") == 1 and f"3 filled bars of {tmp_path.name}/exported are left out" in told.out


def test_a_file_of_nothing_but_filled_bars_is_told(invoke: Invoke, tmp_path: Path) -> None:
    real, filled = write(good_rows(10), tmp_path / "real.parquet"), tmp_path / "filled.csv"
    pd.read_parquet(real).assign(is_filled=True).to_csv(filled, index=False)
    assert_one_line(invoke(*files(real, filled)), 1, "filled.csv 10 filled ones accepted")


def test_columns_tolerance_and_band_are_options(invoke: Invoke, tmp_path: Path) -> None:
    rows = good_rows(50)
    other = changed(changed(rows, 3, "open", 1.5), 7, "close", 1.005)
    paths = write(rows, tmp_path / "a.parquet"), write(other, tmp_path / "b.parquet")

    def kinds(more: str) -> dict[str, int]:
        return invoke(*files(*paths, more=more), "--json").object["pairs"][0]["kinds"]

    assert kinds("") == {"price": 2}
    assert kinds("--columns high,low,close,volume") == {"price": 1}
    assert kinds("--columns close --tolerance 0.01") == {"last digit": 1}
    assert kinds("--band 0.01") == {} and kinds("--band 0.001") == {"price": 1}


def test_equal_bars_of_two_venues_are_called_suspicious(invoke: Invoke, tmp_path: Path) -> None:
    rows = good_rows(50)
    paths = write(rows, tmp_path / "kraken" / "x.parquet"), write(rows, tmp_path / "gemini" / "x.parquet")
    ended = invoke(*files(*paths, more="--band 0.01"))
    assert ended.code == 0 and "mislabelled" in ended.out


def test_more_bars_than_a_person_reads_are_counted(invoke: Invoke, tmp_path: Path) -> None:
    rows = good_rows(1_000)
    paths = (write(one, tmp_path / name) for one, name in ((rows, "a.csv"), ({**rows, "volume": rows["volume"] * 2}, "b.csv")))
    ended = invoke(*files(*paths))
    assert ended.out.count(" volume +") + ended.out.count(" volume -") == 200
    assert ended.err == "and 800 more; --json tells of each\n"


def test_the_sources_of_a_stored_series(invoke: Invoke, database: Database, url: str) -> None:
    rows = good_rows(100)
    store(database, "binance", rows)
    store(database, "binance_archive", changed(rows, 5, "volume", 1.5), "archive")
    told = invoke("reconcile", "BTC-USDT", "--json", CRYPTAI_DATABASE_URL=url).object
    assert told["months_written"] == 1 and told["symbol"] == "BTC-USDT"
    assert [(pair["source"], pair["against"], pair["kinds"]) for pair in told["pairs"]] == [
        ("binance", "binance_archive", {"volume": 1})
    ]
    named = "reconcile BTC-USDT --source binance_archive --against binance"
    ended = invoke(*named.split(), CRYPTAI_DATABASE_URL=url)
    assert ended.code == 0 and "99 of 100 bars agree" in ended.out and "api over archive" in ended.out
    assert invoke("reconcile", "BTC-USDT", "--json", CRYPTAI_DATABASE_URL=url).object["months_written"] == 0


def test_a_series_of_one_source_has_nothing_to_reconcile(invoke: Invoke, database: Database, url: str) -> None:
    store(database, "binance", good_rows(100))
    ended = invoke("reconcile", "BTC-USDT", CRYPTAI_DATABASE_URL=url)
    assert ended.code == 0 and ended.out == "" and "fewer than two sources" in ended.err
    ended = invoke("reconcile", "BTC-USDT", "--source", "a", "--against", "b", CRYPTAI_DATABASE_URL=url)
    assert_one_line(ended, 2, "BTC-USDT 'a' binance", lines_before=True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("reconcile", "SYMBOL --file"),
        ("reconcile BTCUSDT", "'BTCUSDT' BASE-QUOTE"),
        ("reconcile BTC-USDT -t 2h", "'2h' accepted"),
        ("reconcile BTC-USDT --source binance", "--against both"),
        ("reconcile BTC-USDT --role api", "--role api --file"),
        ("reconcile --file a.csv", "--file 1 twice"),
        ("reconcile --file a.csv --file b.csv --file c.csv", "--file 3 twice"),
        ("reconcile BTC-USDT --file a.csv --file b.csv", "--file SYMBOL"),
        ("reconcile --file a.csv --file b.csv --role rest --role api", "'rest' api archive file venue"),
        ("reconcile --file a.csv --file b.csv --role api", "--role 1"),
        ("reconcile --file a.csv --file b.csv --columns close,price", "'price' open high low close volume"),
        ("reconcile --file a.csv --file b.csv --band 2", "band 2.0"),
        ("reconcile --file a.csv --file b.csv --tolerance nan", "price_tolerance nan"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(invoke: Invoke, home: Path, line: str, words: str) -> None:
    assert_one_line(invoke(*line.split()), 2, words)
    assert not home.exists()


def test_files_that_cannot_be_read_or_compared(invoke: Invoke, tmp_path: Path) -> None:
    good = write(good_rows(10), tmp_path / "good.parquet")
    missing, lacking, broken = (tmp_path / name for name in ("missing.csv", "lacking.csv", "broken.parquet"))
    lacking.write_text("ts,open,high,low,close\n2024-01-01,1,1,1,1\n")
    broken.write_bytes(good.read_bytes()[:100])
    for path, words in ((missing, "missing.csv"), (lacking, "lacking.csv 'volume'"), (broken, "broken.parquet")):
        assert_one_line(invoke(*files(good, path)), 1, words)
    late = {**good_rows(10), "ts": good_rows(10)["ts"] + 10**10}
    assert_one_line(invoke(*files(good, write(late, tmp_path / "late.csv"))), 1, "no time in common")
