"""From two exchanges on a socket to a backtest: holes of the first are closed by the second, the rest is filled and flagged, no
trade is filled where nothing was traded, and both exchanges can be held against each other. All of it through the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.market.clock import FixedClock, format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain.holes import Closed, close_holes
from cryptai_pipelines.orchestration.chain.steps import chain_steps, data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_doors, open_venue
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import market_data, quality_log, series_sources
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.command import Ended, call
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, walk_bars

NOW = START + BARS * HOUR + 60_000
HOLES = {100, 101, 102, 103, 400, 401, 900}
HELD_BY_COINBASE = {100, 101, 400, 900}
PREMIUM = 1.0005
SEED = 31


def coinbase_bars(lacking: Iterable[int]) -> pd.DataFrame:
    """The same walk a little dearer."""
    frame = walk_bars(SEED, set())
    frame = frame.drop(index=list(lacking))
    frame[["open", "high", "low", "close"]] = (frame[["open", "high", "low", "close"]] * PREMIUM).round(2)
    return frame


@contextmanager
def exchanges(folder: Path, holes: set[int], lacking: Iterable[int], other: pd.DataFrame | None = None) -> Iterator[Settings]:
    """The settings of somebody whose binance lacks `holes`, with a coinbase that lacks `lacking`."""
    for name, symbol, frame in (
        ("binance", "BTCUSDT", walk_bars(SEED, holes)),
        ("coinbase", "BTCUSD", coinbase_bars(lacking) if other is None else other),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        frame.to_parquet(folder / name / f"{symbol}_1h.parquet", index=False)
    with running(open_recorded(folder, FixedClock(NOW))) as url:
        yield settings_for(url, folder / "home", secondary="coinbase:USD", venue_urls=f"coinbase={url}")


def bring(database: Database, settings: Settings, window: Interval | None = None, *, whole: bool = False) -> None:
    steps = (chain_steps if whole else data_steps)(database, open_venue(settings), settings, "test", window)
    for result in walk([SERIES], steps, holding(database, "binance", settings, "test"), 1):
        assert result.error is None, f"{result.failed_at}: {result.error}"


def close(database: Database, settings: Settings) -> Closed:
    doors = open_doors(settings, database, open_venue(settings), FixedClock(NOW))(SERIES)
    assert [one.source for one in doors] == ["binance", "coinbase"]
    with holding(database, "binance", settings, "test")(SERIES) as lease:
        return close_holes(database, lease, doors, settings.fill, NOW, run_id="test")


def command(database: Database, settings: Settings, *arguments: str) -> Ended:
    ended = call(
        arguments,
        settings.home,
        CRYPTAI_DATABASE_URL=database.url,
        CRYPTAI_BINANCE_URL=settings.binance_url,
        CRYPTAI_VENUE_URLS=",".join(settings.venue_urls),
        CRYPTAI_SECONDARY=",".join(settings.secondary),
    )
    assert ended.code == 0, ended.err
    return ended


def moment(slot: int) -> str:
    return format_time(START + slot * HOUR)


def test_holes_are_closed_by_the_second_exchange_and_the_rest_is_filled(database: Database, tmp_path: Path) -> None:
    with exchanges(tmp_path, HOLES, HOLES - HELD_BY_COINBASE) as settings:
        bring(database, settings)
        assert quality_log.count_missing(database, SERIES) == (3, len(HOLES))
        closed = close(database, settings)
        assert closed.closed_by == {"coinbase": len(HELD_BY_COINBASE)} and closed.errors == ()
        assert (closed.filled, closed.left) == (3, 3)
        bars = market_data.read(database, SERIES)
        assert len(bars) == BARS
        original, theirs = walk_bars(SEED, set()), coinbase_bars(())
        for slot in range(BARS):
            told = tuple(bars.iloc[slot][["source", "origin", "is_filled"]])
            values = bars.iloc[slot][["open", "high", "low", "close", "volume"]].tolist()
            if slot in HELD_BY_COINBASE:
                assert told == ("coinbase", "secondary", False)
                assert values == theirs.loc[slot, ["open", "high", "low", "close", "volume"]].tolist()
            elif slot in HOLES:
                assert told == ("binance", "carried", True)
                assert values == [bars["close"].iloc[slot - 1]] * 4 + [0.0]
            else:
                assert told == ("binance", "rest", False)
                assert values == original.loc[slot, ["open", "high", "low", "close", "volume"]].tolist()
        ranks = [(one.source, one.rank, one.origin) for one in series_sources.read_sources(database, SERIES)]
        assert ranks == [("binance", 0, "rest"), ("coinbase", 1, "secondary")]
        again = close(database, settings)
        assert (again.closed_by, again.filled, again.left) == ({}, 3, 3)
        told = command(database, settings, "bars", "BTC-USDT@1h", "--start", moment(99), "--end", moment(105), "--json").object
    assert (told["bars"], told["filled"], told["origins"]) == (6, 2, {"rest": 2, "secondary": 2, "carried": 2})
    assert [(row["source"], row["origin"], row["is_filled"]) for row in told["rows"]] == [
        ("binance", "rest", False),
        ("coinbase", "secondary", False),
        ("coinbase", "secondary", False),
        ("binance", "carried", True),
        ("binance", "carried", True),
        ("binance", "rest", False),
    ]


def entries(database: Database) -> list[int]:
    """The slots after whose close the strategy wants to buy."""
    rows = database.rows("SELECT ts FROM signals WHERE entry ORDER BY ts")
    return [(round(ts.timestamp() * 1000) - START) // HOUR for (ts,) in rows]


def fills(database: Database) -> set[int]:
    """The slots in which a trade was filled."""
    rows = database.rows("SELECT entry_ts, exit_ts FROM backtest_trades")
    return {(round(ts.timestamp() * 1000) - START) // HOUR for row in rows for ts in row if ts is not None}


def test_no_trade_is_filled_on_a_bar_that_nobody_traded(database: Database, postgres_server, tmp_path: Path) -> None:
    """The holes are where a backtest over all bars buys."""
    with exchanges(tmp_path / "whole", set(), ()) as settings, fresh_database(postgres_server) as whole:
        bring(whole, settings, whole=True)
        bought = sorted({slot + 1 for slot in entries(whole)} & fills(whole))[:8]
    assert len(bought) >= 4
    by_coinbase, by_nobody = set(bought[::2]), set(bought[1::2])
    with exchanges(tmp_path / "holes", set(bought), by_nobody) as settings:
        bring(database, settings)
        closed = close(database, settings)
        assert closed.closed_by == {"coinbase": len(by_coinbase)} and closed.filled == len(by_nobody)
        bring(database, settings, whole=True)
    wanted = {slot + 1 for slot in entries(database)}
    assert wanted & by_nobody, "there are orders for a filled bar"
    assert not fills(database) & by_nobody
    assert fills(database) & by_coinbase, "a bar of the second exchange is a real one"


def test_two_exchanges_in_the_store_are_reconciled(database: Database, tmp_path: Path) -> None:
    """Binance finds its bars again; those of coinbase are kept beside them, and one of them is far off."""
    other = coinbase_bars(HOLES - HELD_BY_COINBASE)
    other.loc[101, ["open", "high", "low", "close"]] = (other.loc[101, ["open", "high", "low", "close"]] * 1.2).round(2)
    with exchanges(tmp_path, HOLES, (), other) as settings:
        bring(database, settings)
        close(database, settings)
    with exchanges(tmp_path, set(), (), other) as settings:
        bring(database, settings, Interval(START + 95 * HOUR, START + 110 * HOUR))
        bars = market_data.read(database, SERIES, START + 100 * HOUR, START + 104 * HOUR)
        assert set(bars["source"]) == {"binance"} and not bars["is_filled"].any()
        named = ("reconcile", "BTC-USDT", "--source", "binance", "--against", "coinbase", "--json")
        [pair] = command(database, settings, *named).object["pairs"]
    found = [bar for month in pair["months"] for bar in month["bars"] if bar["kind"] == "price"]
    assert [bar["at"] for bar in found] == [moment(101)] and found[0]["believed"] == "binance"
    assert found[0]["difference"]["close"] == pytest.approx(1 / (1.2 * PREMIUM) - 1, rel=1e-3)
    assert (pair["compared"], pair["agreeing"], pair["kinds"]["price"]) == (2, 1, 1)
