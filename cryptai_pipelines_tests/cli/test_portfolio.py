"""`cryptai portfolio` on a stored market: what it says, shows and leaves behind, whole, in part, and interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import portfolios
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.command import finish, start, until
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.cli.test_bad_input import assert_one_line
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, slots, store

BARS = 1_500
SYMBOLS = ("ADA-USDT", "BTC-USDT", "ETH-USDT")
DIPS = '''
import pandas as pd

from cryptai_pipelines.strategy import as_strategy


@as_strategy()
def dips(inputs, parameters):
    """Long after a fall, out after a rise."""
    {first}
    moved = inputs.bars["close"].pct_change()
    return pd.DataFrame({{"side": (moved < -0.02).astype("int8"), "exit_long": moved > 0.02}})
'''


@pytest.fixture(scope="module")
def stored(postgres_server) -> Iterator[Database]:
    """Three symbols over the same hours, a fourth that comes late, and one of them on another timeframe too."""
    with fresh_database(postgres_server) as database:
        for seed, symbol in enumerate(SYMBOLS, start=3):
            store(database, Series(symbol, Timeframe.H1), hourly(BARS, seed))
        store(database, Series("NEW-USDT", Timeframe.H1), slots(hourly(BARS, 9), range(800, BARS)))
        store(database, Series("BTC-USDT", Timeframe.D1), slots(hourly(24, 1), [11]))
        yield database


def strategy(folder: Path, first: str = "pass") -> str:
    """Path of a strategy that does `first`, a line of Python, before it decides."""
    path = folder / "dips.py"
    path.write_text(DIPS.format(first=first))
    return str(path)


def test_a_portfolio_is_stored_and_told(stored: Database, invoke: Invoke, tmp_path: Path) -> None:
    path = strategy(tmp_path)
    line = ("portfolio", "--all", "--strategy", path, "--set", "max_positions=2")
    told = invoke(*line, "--json", CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 0, told.err
    result = told.object
    assert result["symbols"] == sorted((*SYMBOLS, "NEW-USDT")) and result["failures"] == {} and "error" not in result
    assert result["config"]["engine"]["size"] == 0.5 and result["refused"]["max_positions"] > 0
    assert result["trade_count"] > 50 and result["verdict"]["trials"] == 1
    assert "symbols_chosen_afterwards" in {one["code"] for one in result["findings"]}
    identity, header = portfolios.read_portfolio(stored, result["config"])
    assert (identity, header.trades_sha256) == (result["portfolio_id"], result["trades_sha256"])
    assert len(portfolios.read_trades(stored, identity)) == result["trade_count"]
    assert "NEW-USDT 1h portfolio: 100 %, 700 bars" in told.err
    page = Path(result["report"]).read_text()
    assert "Profit by symbol" in page and "NEW-USDT" in page
    words = invoke(*line, CRYPTAI_DATABASE_URL=stored.url)
    assert words.code == 0 and words.err.endswith(f"report: {result['report']}\n")
    for wanted in (*SYMBOLS, "dips on 4 symbols 1h", "max_positions", "verdict: ", "symbols_chosen_afterwards"):
        assert wanted in words.out


def test_the_order_of_names_does_not_show(stored: Database, invoke: Invoke, tmp_path: Path) -> None:
    path = strategy(tmp_path)
    results = [
        invoke(
            "portfolio", *names, "--strategy", path, "--json", CRYPTAI_DATABASE_URL=stored.url, CRYPTAI_FETCH_THREADS=threads
        )
        for names, threads in ((SYMBOLS, "1"), (SYMBOLS[::-1], "4"), ((*SYMBOLS, "btc-usdt"), "2"))
    ]
    assert [one.code for one in results] == [0, 0, 0]
    assert results[0].object == results[1].object == results[2].object


def test_a_symbol_that_fails_is_named_and_the_others_are_simulated(stored: Database, invoke: Invoke, tmp_path: Path) -> None:
    bad = strategy(tmp_path, "assert inputs.bars['close'].iloc[0] < 100, 'too dear'")
    dear = [symbol for seed, symbol in enumerate(SYMBOLS, start=3) if hourly(BARS, seed)["close"][0] >= 100]
    assert 0 < len(dear) < 3
    line = ("portfolio", *SYMBOLS, "--strategy", bad)
    told = invoke(*line, "--json", CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 1
    result = told.object
    assert list(result["failures"]) == dear and set(result["by_symbol"]) == set(SYMBOLS) - set(dear)
    assert all(f"{symbol} 1h failed: " in result["error"] for symbol in dear) and "too dear" in result["error"]
    assert [line for line in told.err.splitlines() if "too dear" in line] == [f"cryptai: {result['error']}"]
    words = invoke(*line, CRYPTAI_DATABASE_URL=stored.url)
    assert words.code == 1 and words.err.splitlines()[-1] == f"cryptai: {result['error']}" and "dips on" in words.out
    assert "too dear" in Path(result["report"]).read_text()
    alone = invoke("portfolio", dear[0], "--strategy", bad, CRYPTAI_DATABASE_URL=stored.url)
    assert_one_line(alone, 1, f"dips {dear[0]} AssertionError too dear")
    assert alone.out == ""


def test_all_are_those_with_a_bar_in_the_window(stored: Database, invoke: Invoke, tmp_path: Path) -> None:
    line = ("portfolio", "--all", "--strategy", strategy(tmp_path), "--json")
    early = invoke(*line, "--end", "2020-10-10", CRYPTAI_DATABASE_URL=stored.url)
    assert early.code == 0 and early.object["symbols"] == list(SYMBOLS) and early.object["failures"] == {}
    assert early.object["last_bar"] == "2020-10-09T23:00:00Z"
    named = invoke(*line[:1], "NEW-USDT", "ADA-USDT", *line[2:], "--end", "2020-10-10", CRYPTAI_DATABASE_URL=stored.url)
    assert named.code == 1 and list(named.object["failures"]) == ["NEW-USDT"]
    nothing = invoke(*line, "--start", "2030-01-01", CRYPTAI_DATABASE_URL=stored.url)
    assert nothing.code == 2 and "no bars on 1h are stored between --start and --end" in nothing.object["error"]
    assert_one_line(invoke(*line[:-1], "-t", "4h", CRYPTAI_DATABASE_URL=stored.url), 1, "no bars of 4h cryptai sync")
    as_of = invoke(*line, "--as-of", "2020-10-01", CRYPTAI_DATABASE_URL=stored.url)
    assert as_of.code == 1 and "was known at 2020-10-01" in as_of.object["error"]


def test_interrupted_it_leaves_nothing(stored: Database, home: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = strategy(tmp_path, f"open({str(started)!r}, 'w').close(); import time; time.sleep(0.5)")
    before = stored.rows("SELECT count(*), max(updated_at) FROM portfolio_results")
    process = start(["portfolio", "--all", "--strategy", path], home, CRYPTAI_DATABASE_URL=stored.url)
    until(started.exists, "the strategy's first decision")
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.code == 130 and ended.out == "" and ended.err.splitlines()[-1].startswith("cryptai: interrupted")
    assert stored.rows("SELECT count(*), max(updated_at) FROM portfolio_results") == before
