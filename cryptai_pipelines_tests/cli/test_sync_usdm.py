"""`cryptai sync` of a USD-M contract as a person runs it: its archive first, then the venue, over a socket into real tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.storage.archive_files import read_files
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.command import call

MINUTE, DAY = Timeframe.M1.ms, Timeframe.D1.ms
FIRST = parse_time("2024-01-30T08:00")
NOW = parse_time("2024-03-08T10:20:30")
COUNT = (NOW - FIRST) // MINUTE
# The archive has the days that have ended.
ARCHIVED_UNTIL = parse_time("2024-03-08")
COLUMNS = ["open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"]
SYNC = ["sync", "BTC-USDT", "-t", "1m", "--json"]


def recording(seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = np.round(50_000 * np.exp(np.cumsum(random.normal(0, 0.0004, COUNT))), 1)
    opened = np.concatenate(([50_000.0], close[:-1]))
    volume = random.integers(1, 9_000, COUNT) / 1000
    bars = {"open": opened, "high": np.maximum(opened, close) + 2.5, "low": np.minimum(opened, close) - 2.5, "close": close}
    bars |= {"volume": volume, "quote_volume": np.round(volume * close, 4), "trades": random.integers(1, 90, COUNT)}
    bars |= {"taker_buy_base": volume / 2, "taker_buy_quote": np.round(volume * close / 2, 4)}
    return pd.DataFrame({"ts": ts_index(FIRST + MINUTE * np.arange(COUNT)), **bars})


@pytest.fixture(scope="module")
def contract() -> pd.DataFrame:
    return recording(1)


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """Of every request, as they come."""
    return []


@pytest.fixture(scope="module")
def url(contract: pd.DataFrame, paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A replay of spot and of the contract, whose bars are not the same."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, frame in (("binance", recording(2)), ("binanceusdm", contract)):
        (folder / name).mkdir()
        frame.to_parquet(folder / name / "BTCUSDT_1m.parquet", index=False)
    with running(open_recorded(folder, FixedClock(NOW)), watch=lambda path, _: paths.append(path)) as base_url:
        yield base_url


@pytest.fixture(autouse=True)
def only_our_requests(paths: list[str]) -> None:
    paths.clear()


def environment(database: Database, url: str, **more: str) -> dict[str, str]:
    chosen = {"CRYPTAI_EXCHANGE": "binanceusdm", "CRYPTAI_VENUE_URLS": f"binanceusdm={url}"}
    return {"CRYPTAI_DATABASE_URL": database.url, **chosen, **more}


def stored(database: Database) -> pd.DataFrame:
    names = ", ".join(["ts", *COLUMNS])
    rows = database.rows(f"SELECT {names} FROM market_data WHERE symbol = 'BTC-USDT' AND timeframe = '1m' ORDER BY ts")
    return pd.DataFrame(rows, columns=["ts", *COLUMNS])


def assert_recorded(database: Database, contract: pd.DataFrame) -> None:
    found = stored(database)
    assert (found["ts"].to_numpy() == contract["ts"].to_numpy()).all()
    for name in COLUMNS[:5]:
        assert np.array_equal(found[name].astype("float64"), contract[name]), name
    for name in COLUMNS[5:]:
        assert np.allclose(found[name].astype("float64"), contract[name], rtol=1e-6, atol=0), name


def test_the_first_download_is_the_archive_and_then_the_venue(
    database: Database, home: Path, url: str, contract: pd.DataFrame, paths: list[str]
) -> None:
    chosen = environment(database, url, CRYPTAI_ARCHIVE_URL=url)
    first = call(SYNC, home, **chosen)
    assert first.code == 0, first.err
    assert_recorded(database, contract)
    in_archive = int((contract["ts"] < pd.Timestamp(ARCHIVED_UNTIL, unit="ms", tz="UTC")).sum())
    assert sorted(database.rows("SELECT source, origin, count(*) FROM market_data GROUP BY 1, 2")) == [
        ("binanceusdm", "rest", COUNT - in_archive),
        ("binanceusdm_archive", "archive", in_archive),
    ]
    ranks = database.rows("SELECT source, origin FROM series_sources ORDER BY rank")
    assert ranks == [("binanceusdm", "rest"), ("binanceusdm_archive", "archive")]
    files = [file.path for file in read_files(database) if file.status == "loaded"]
    folder = "data/futures/um/{}/klines/BTCUSDT/1m/BTCUSDT-1m-{}.zip"
    days = ["2024-01-30", "2024-01-31", *(f"2024-03-0{day}" for day in range(1, 8))]
    assert sorted(files) == sorted([folder.format("monthly", "2024-02"), *(folder.format("daily", day) for day in days)])
    # The rest is less than a page.
    assert not any(path.startswith(("/api/", "/data/spot")) for path in paths)
    assert sum(path == "/fapi/v1/klines" for path in paths) < 6
    paths.clear()
    again = call(SYNC, home, **chosen)
    assert (again.code, again.object["rows_written"]) == (0, 0)
    assert not any(path.startswith("/data/") for path in paths)


def test_a_replaced_venue_has_no_archive_unless_it_is_named(
    database: Database, home: Path, url: str, contract: pd.DataFrame, paths: list[str]
) -> None:
    """Were the real archive asked, bars of the real market would be mixed with the recorded ones."""
    ended = call(SYNC, home, **environment(database, url))
    assert ended.code == 0, ended.err
    assert_recorded(database, contract)
    assert database.rows("SELECT DISTINCT source, origin FROM market_data") == [("binanceusdm", "rest")]
    assert not any(path.startswith("/data/") for path in paths)
    assert read_files(database) == []


def test_a_series_of_spot_is_not_continued_with_the_contract(database: Database, home: Path, url: str) -> None:
    window = ["--start", "2024-03-01", "--end", "2024-03-02"]
    spot = call([*SYNC, *window], home, CRYPTAI_DATABASE_URL=database.url, CRYPTAI_BINANCE_URL=url, CRYPTAI_EXCHANGE="binance")
    assert spot.code == 0, spot.err
    refused = call([*SYNC, *window], home, **environment(database, url))
    assert refused.code == 1
    assert "is fed by binance in this store" in refused.err + refused.out
