"""`cryptai bars` through a real store: what is shown, exported and imported again, and what is said when there is nothing."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pandas as pd
import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.orchestration.chain.holes import close_holes
from cryptai_pipelines.orchestration.chain.steps import holding
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.times import to_datetime, to_ms
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, bring_up_to_date, walk_bars

HOLES = {100, 101, 400}
NOW = START + BARS * HOUR + 60_000


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> Database:
    """A store of one series, its gaps filled."""
    (tmp_path / "binance").mkdir()
    walk_bars(31, HOLES).to_parquet(tmp_path / "binance" / "BTCUSDT_1h.parquet", index=False)
    with running(open_recorded(tmp_path, FixedClock(NOW))) as url:
        bring_up_to_date(database, url, tmp_path)
    with holding(database, "binance", settings_for("http://127.0.0.1:1", tmp_path), "test")(SERIES) as lease:
        close_holes(database, lease, (), "carry_forward", NOW, run_id="test")
    return database


def test_what_was_filled_does_not_come_back_as_real(filled: Database, invoke: Invoke, tmp_path: Path) -> None:
    for fill, name in (("stored", "carried.csv"), ("interpolate", "drawn.parquet")):
        to = str(tmp_path / name)
        assert invoke("bars", "BTC-USDT@1h", "--fill", fill, "--to", to, CRYPTAI_DATABASE_URL=filled.url).code == 0
        told = invoke(
            *("import", to, "--symbol", "BTC-USDT", "-t", "1h", "--rank", "primary", "--json"), CRYPTAI_DATABASE_URL=filled.url
        )
        assert told.code == 0, told.err
        assert any("3 filled bars are left out" in note for note in told.object["recognised"]["notes"])
        recorded = str(tmp_path / "binance" / "BTCUSDT_1h.parquet")
        [pair] = invoke("reconcile", "--file", to, "--file", recorded, "-t", "1h", "--json").object["pairs"]
        assert (pair["compared"], pair["kinds"], pair["filled_left_out"]) == (BARS - 3, {}, [3, 0])
    assert filled.rows("SELECT count(*) FILTER (WHERE is_filled), count(*) FROM market_data") == [(3, BARS)]


def test_an_empty_answer_says_why(filled: Database, invoke: Invoke) -> None:
    def said(*arguments: str) -> str:
        ended = invoke("bars", *arguments, CRYPTAI_DATABASE_URL=filled.url)
        assert ended.code == 1 and ended.out == ""
        return ended.err

    assert "cryptai sync BTC-USDT --timeframe 4h" in said("BTC-USDT@4h")
    assert "was known at 2020-01-01T00:00:00Z; the first came at 20" in said("BTC-USDT@1h", "--as-of", "2020-01-01")
    assert "in the window that was asked for; stored: 2021-01-01T00:00:00Z" in said("BTC-USDT@1h", "--start", "2031-01-01")


def test_a_simulated_market_is_labelled_and_is_not_imported(database: Database, invoke: Invoke, tmp_path: Path) -> None:
    now = 1_483_315_200_000 + 300 * HOUR
    with running(open_simulated(3, 1, FixedClock(now))) as url:
        assert open_venue(settings_for(url, tmp_path)).is_simulated()
        where = {"CRYPTAI_DATABASE_URL": database.url, "CRYPTAI_BINANCE_URL": url}
        assert invoke("sync", "BTC-USDT", "--timeframe", "1h", **where).code == 0
        shown = invoke("bars", "BTC-USDT@1h", **where)
        assert "BTC-USDT 1h (simulated)" in shown.out
        assert json.loads(invoke("bars", "BTC-USDT@1h", "--json", **where).out)["simulated"] is True
        to = tmp_path / "made_up.csv"
        assert invoke("bars", "BTC-USDT@1h", "--to", str(to), **where).code == 0
    assert pd.read_csv(to)["simulated"].all()
    refused = invoke("import", str(to), "--symbol", "ETH-USDT", "-t", "1h", CRYPTAI_DATABASE_URL=database.url)
    assert refused.code == 2 and "made_up.csv holds simulated bars" in refused.err


def test_nothing_is_told_as_of_a_moment_of_which_not_all_is_known(filled: Database, invoke: Invoke) -> None:
    for command in (["backtest", "BTC-USDT"], ["bars", "BTC-USDT@1h"]):
        ended = invoke(*command, "--as-of", "2999-01-01", CRYPTAI_DATABASE_URL=filled.url)
        assert (
            ended.code == 2 and "--as-of '2999-01-01' is in the future; accepted: a moment of which all is known" in ended.err
        )
    ended = invoke("backtest", "BTC-USDT", "--as-of", "2020-01-01", CRYPTAI_DATABASE_URL=filled.url)
    assert ended.code == 1 and "no bar of BTC-USDT 1h was known at 2020-01-01T00:00:00Z" in ended.err


def test_the_moment_of_an_answer_is_named_in_one_spelling(filled: Database, invoke: Invoke) -> None:
    store = {"CRYPTAI_DATABASE_URL": filled.url}
    typed, spelled = _after_the_last_row(filled)
    for command in (["bars", "BTC-USDT@1h"], ["backtest", "BTC-USDT"]):
        assert invoke(*command, "--json", **store).object["as_of"] is None
        assert invoke(*command, "--as-of", typed, "--json", **store).object["as_of"] == spelled
    shown = invoke("backtest", "BTC-USDT", "--as-of", typed, **store).out
    assert f"trend_structure on BTC-USDT 1h, bars as known at {spelled}\n" in shown
    assert "as known at" not in invoke("backtest", "BTC-USDT", **store).out


def _after_the_last_row(database: Database) -> tuple[str, str]:
    """The first moment with milliseconds at which all was known, as typed with an offset and as told."""
    [(known,)] = database.rows("SELECT max(known_at) FROM raw_ohlcv")
    assert isinstance(known, dt.datetime)
    at_ms = to_ms(known) + 1
    utc = to_datetime(at_ms + (at_ms % 1000 == 0))
    return (
        utc.astimezone(dt.timezone(dt.timedelta(hours=9))).isoformat(timespec="milliseconds"),
        f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z",
    )
