"""Every command that is about a named series ends alike when its name is malformed, and when nothing is stored of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.market.series import parse_series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.cli.test_bad_input import assert_one_line
from cryptai_pipelines_tests.cli.test_commands_page import commands
from cryptai_pipelines_tests.orchestration.stored_bars import store
from cryptai_pipelines_tests.quality.samples import good_rows

# Every command that takes a SYMBOL or SERIES, the ways to name one, and whether it reads what is stored or brings it.
READING = {
    "gaps": ["gaps {symbol}", "gaps {symbol} -t {code}", "gaps {symbol} --close"],
    "quality": ["quality {symbol}", "quality {symbol} -t {code}", "quality {symbol} --assess"],
    "bars": ["bars {symbol} -t {code}", "bars {symbol}@{code}", "bars {symbol}@{code} --as-of 2020-01-01"],
    "backtest": ["backtest {symbol} -t {code}"],
    "portfolio": ["portfolio {symbol} -t {code}", "portfolio {symbol} ETH-USDT -t {code}"],
    "sweep": ["sweep {symbol} -t {code} --grid stop_loss=0.05,0.08"],
    "walkforward": ["walkforward {symbol} -t {code} --grid stop_loss=0.05,0.08 --train 20d --test 10d"],
    "explain": ["explain {symbol} 2020-01-01 -t {code}", "explain {symbol}@{code} 2020-01-01"],
    "leakcheck": ["leakcheck rsi_14 --bars {symbol}@{code}"],
    "reconcile": ["reconcile {symbol} -t {code}", "reconcile {symbol} -t {code} --source a --against b"],
    "restatements": ["restatements {symbol}", "restatements {symbol} -t {code}"],
}
BRINGING = {
    "sync": ["sync {symbol}", "sync {symbol} -t {code}"],
    "import": ["import bars.csv --symbol {symbol} -t {code}"],
}
LINES = [line for lines in READING.values() for line in lines]
ALL_LINES = [*LINES, *(line for lines in BRINGING.values() for line in lines)]


def test_the_table_holds_every_command_that_takes_a_series() -> None:
    taking = {
        name
        for name, command in commands().items()
        for parameter in command.params  # type: ignore[attr-defined]
        if "SYMBOL" in (parameter.metavar or "") or "SERIES" in (parameter.metavar or "")
    }
    assert taking == {*READING, *BRINGING}


@pytest.mark.parametrize("line", ALL_LINES)
@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC-", "BTC-USDT-1h"])
def test_a_malformed_symbol_is_bad_input_before_anything_starts(invoke: Invoke, home: Path, line: str, symbol: str) -> None:
    ended = invoke(*line.format(symbol=symbol, code="1h").split())
    assert_one_line(ended, 2, f"symbol '{symbol}' BASE-QUOTE BTC-USDT")
    assert ended.out == "" and not home.exists()


@pytest.mark.parametrize("line", [line for line in ALL_LINES if "{code}" in line])
def test_a_malformed_timeframe_is_bad_input_before_anything_starts(invoke: Invoke, home: Path, line: str) -> None:
    ended = invoke(*line.format(symbol="BTC-USDT", code="7m").split())
    assert_one_line(ended, 2, "timeframe '7m' accepted: 1m 5m 15m")
    assert ended.out == "" and not home.exists()


@pytest.mark.parametrize("line", LINES)
def test_a_series_that_is_not_stored_is_a_failure_that_says_how_to_fetch_it(
    invoke: Invoke, database: Database, url: str, line: str
) -> None:
    """In an empty store, and in one that holds another symbol on the timeframe and the symbol on another timeframe."""
    symbol, length = ("BTC-USDT", " --timeframe 1h") if "{code}" in line else ("DOGE-USDT", "")
    arguments = line.format(symbol=symbol, code="1h").split()
    for keys in ((), ("ETH-USDT|1h", "BTC-USDT|4h")):
        for series in map(parse_series, keys):
            store(database, series, good_rows(50, series.timeframe))
        ended = invoke(*arguments, CRYPTAI_DATABASE_URL=url)
        assert_one_line(ended, 1, symbol)
        assert ended.out == "" and ended.err.endswith(f"are stored; fetch them with: cryptai sync {symbol}{length}\n")
    told = invoke(*arguments, "--json", CRYPTAI_DATABASE_URL=url)
    assert told.code == 1 and f"cryptai: {told.object['error']}\n" == told.err == ended.err


@pytest.mark.parametrize("command", ["gaps", "quality", "restatements"])
def test_a_timeframe_on_which_nothing_is_stored_is_told(invoke: Invoke, database: Database, url: str, command: str) -> None:
    store(database, parse_series("BTC-USDT|1h"), good_rows(50))
    assert invoke(command, "BTC-USDT", "-t", "1h", CRYPTAI_DATABASE_URL=url).code == 0
    ended = invoke(command, "-t", "4h", CRYPTAI_DATABASE_URL=url)
    assert (ended.code, ended.err) == (1, "cryptai: no bars of 4h are stored; fetch them with: cryptai sync --timeframe 4h\n")


@pytest.mark.parametrize("command", ["gaps", "quality"])
def test_one_of_several_names_that_is_not_stored_is_told(invoke: Invoke, database: Database, url: str, command: str) -> None:
    store(database, parse_series("BTC-USDT|1h"), good_rows(50))
    store(database, parse_series("ETH-USDT|4h"), good_rows(50, Timeframe.H4))
    assert invoke(command, "BTC-USDT", "ETH-USDT", "-t", "1h", "-t", "4h", CRYPTAI_DATABASE_URL=url).code == 0
    ended = invoke(command, "BTC-USDT", "ETH-USDT", "-t", "1h", CRYPTAI_DATABASE_URL=url)
    assert_one_line(ended, 1, "no bars of ETH-USDT 1h cryptai sync ETH-USDT --timeframe 1h")
    ended = invoke(command, "BTC-USDT", "ETH-USDT", "-t", "1h", "-t", "4h", "-t", "1d", CRYPTAI_DATABASE_URL=url)
    assert_one_line(ended, 1, "BTC-USDT ETH-USDT 1d cryptai sync BTC-USDT ETH-USDT --timeframe 1d")
