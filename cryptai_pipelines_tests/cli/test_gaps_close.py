"""`cryptai gaps --close`: what it closes and says, what a second run adds, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.storage import gap_fills
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.cli.test_bad_input import assert_one_line
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, walk_bars

HOLES = {100, 101, 102, 103, 900}
ETH = Series("ETH-USDT", Timeframe.H1)


@pytest.fixture
def world(invoke: Invoke, database: Database, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Settings of a store with BTC and ETH that both lack five hours; coinbase has three of BTC's and knows no ETH."""
    for name, symbol, frame in (
        ("binance", "BTCUSDT", walk_bars(1, HOLES)),
        ("binance", "ETHUSDT", walk_bars(2, HOLES)),
        ("coinbase", "BTCUSD", walk_bars(1, {102, 103})),
    ):
        (tmp_path / name).mkdir(exist_ok=True)
        frame.to_parquet(tmp_path / name / f"{symbol}_1h.parquet", index=False)
    with running(open_recorded(tmp_path, FixedClock(START + BARS * HOUR + 60_000))) as url:
        settings = {
            "CRYPTAI_DATABASE_URL": database.url,
            "CRYPTAI_BINANCE_URL": url,
            "CRYPTAI_VENUE_URLS": f"coinbase={url}",
            "CRYPTAI_SECONDARY": "coinbase:USD",
        }
        synced = invoke("sync", "BTC-USDT", "ETH-USDT", **settings)
        assert synced.code == 0, synced.err
        yield settings


def test_one_line_per_series_says_who_closed_what(invoke: Invoke, database: Database, world: dict[str, str]) -> None:
    ended = invoke("gaps", "--close", **world)
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "BTC-USDT 1h: 2 gaps; bars closed: 3 by coinbase; filled: 2; left: 2 (filled ones included)",
        "ETH-USDT 1h: 2 gaps; bars closed: none; filled: 5; left: 5 (filled ones included)",
    ]
    assert "ETH-USDT 1h: coinbase: coinbase does not know the symbol ETH-USD" in ended.err
    assert "BTC-USDT 1h data_quality" in ended.err, "progress"
    attempts = {(one.source, one.bars) for one in gap_fills.read_attempts(database, SERIES)}
    assert attempts == {("binance", 0), ("coinbase", 2), ("coinbase", 1)}
    assert [bar["tried"] for bar in invoke("gaps", "BTC-USDT", "--json", **world).object["gaps"]]


def test_a_second_run_asks_nobody_again_unless_told_to(invoke: Invoke, database: Database, world: dict[str, str]) -> None:
    def asked() -> int:
        return database.rows("SELECT count(*) FROM fetch_log")[0][0]

    first = invoke("gaps", "BTC-USDT", "--close", "--json", **world).object
    (btc,) = first["series"]
    assert (btc["gaps"], btc["closed_by"], btc["filled_bars"], btc["missing_bars"]) == (2, {"coinbase": 3}, 2, 2)
    assert (first["closed_by"], first["filled_bars"], first["missing_bars"]) == ({"coinbase": 3}, 2, 2) and "error" not in first
    before = asked()
    again = invoke("gaps", "BTC-USDT", "--close", "--json", **world).object
    # What is left of a gap is a gap of its own, of which only the primary, asked for the whole, has been asked.
    assert (again["closed_by"], again["filled_bars"], again["missing_bars"]) == ({}, 2, 2)
    before, once = asked(), before
    assert invoke("gaps", "BTC-USDT", "--close", "--json", **world).object["closed_by"] == {}
    assert asked() == before >= once
    invoke("gaps", "BTC-USDT", "--close", "--ask-again", **world)
    assert asked() == before + 2, "one gap is left, and two sources are asked for it"


def test_a_series_that_another_process_holds_is_named_and_the_others_are_closed(
    invoke: Invoke, database: Database, world: dict[str, str]
) -> None:
    with take_series(database, "binance", SERIES, "somebody", 300.0):
        ended = invoke("gaps", "--close", "--json", **world)
    assert ended.code == 1
    btc, eth = ended.object["series"]
    assert "is being written by somebody" in btc["error"] and btc["filled_bars"] is None
    assert eth["filled_bars"] == 5 and "BTC-USDT 1h failed at data_quality" in ended.object["error"]


def test_an_empty_store_has_nothing_to_close(invoke: Invoke, url: str) -> None:
    ended = invoke("gaps", "--close", CRYPTAI_DATABASE_URL=url)
    assert (ended.code, ended.out) == (0, "nothing is stored yet; `cryptai sync` fetches bars\n")
    told = invoke("gaps", "--close", "--json", CRYPTAI_DATABASE_URL=url).object
    assert told == {"series": [], "closed_by": {}, "filled_bars": 0, "missing_bars": 0, "restated_bars": 0}


@pytest.mark.parametrize(
    ("line", "settings", "words"),
    [
        ("gaps --ask-again", {}, "--ask-again --close"),
        ("gaps --close", {"CRYPTAI_SECONDARY": "mtgox"}, "'mtgox' accepted"),
        ("gaps --close", {"CRYPTAI_SECONDARY": "binance"}, "'binance' primary"),
        ("gaps --close", {"CRYPTAI_FILL": "interpolate"}, "CRYPTAI_FILL reads ahead"),
        ("gaps --close", {"CRYPTAI_EXCHANGE": "mtgox"}, "'mtgox' accepted"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_starts(
    invoke: Invoke, home: Path, line: str, settings: dict[str, str], words: str
) -> None:
    assert_one_line(invoke(*line.split(), **settings), 2, words)
    assert not home.exists()
