"""Whatever is wrong ends as one line that names it, with exit code 1 or 2, and leaves nothing behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cryptai_pipelines.cli.demo import SAMPLE
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines_tests.cli.command import Ended
from cryptai_pipelines_tests.cli.conftest import Invoke

_NOW_MS = 1_704_153_900_000

# Arguments, and what the line must contain. All end with exit code 2 before anything is started.
USAGE = [
    ("sync BTCUSDT", "'BTCUSDT' BASE-QUOTE"),
    ("sync BTC-USDT -t 2h", "'2h' accepted: 1m 5m"),
    ("sync --start 2024-01-02 --end 2024-01-01", "--end 2024-01-01 --start 2024-01-02 later"),
    ("sync --end 1960-01-01", "--end 1960-01-01 1970-01-01"),
    ("sync --start yesterday", "--start 'yesterday' ISO 8601"),
    ("sync --end 2024-02-30", "--end '2024-02-30' ISO 8601"),
    ("sync --exchange nowhere", "'nowhere' accepted: binance"),
    ("sync --bogus", "--bogus cryptai sync --help"),
    ("bogus", "'bogus' cryptai --help"),
    ("db bogus", "'bogus' cryptai db --help"),
    ("backtest", "SYMBOL cryptai backtest --help"),
    ("backtest BTC-USDT --strategy nope", "'nope' accepted: trend_rsi_macd FILE.py[:NAME]"),
    ("backtest BTC-USDT --capital -5", "initial_capital -5.0 above 0"),
    ("backtest BTC-USDT --capital 0", "initial_capital 0.0 above 0"),
    ("backtest BTC-USDT --capital nan", "initial_capital nan above 0"),
    ("backtest BTC-USDT --capital inf", "initial_capital inf above 0"),
    ("backtest BTC-USDT --capital much", "--capital number"),
    ("backtest BTC-USDT --stop-loss 1.5", "stop_loss 1.5 below 1"),
    ("backtest BTC-USDT --take-profit nan", "take_profit nan above 0"),
    ("backtest BTC-USDT --set rsi_window", "'rsi_window' NAME=VALUES"),
    ("backtest BTC-USDT --set rsi_window=3:5", "'rsi_window=3:5' one value"),
    ("backtest BTC-USDT --set rsi_windo=3", "'rsi_windo' trend_structure rsi_window"),
    ("backtest BTC-USDT --set rsi_window=0", "rsi_window 0 whole number from 1 to 50"),
    ("backtest BTC-USDT --set rsi_window=few", "rsi_window 'few' whole number"),
    ("backtest BTC-USDT --capital 5 --set initial_capital=6", "initial_capital twice"),
    ("backtest BTC-USDT --fee-rate -1", "fee_rate -1.0 at least 0"),
    ("backtest BTC-USDT --funding none.csv", "none.csv cannot be read: No such file"),
    ("backtest BTC-USDT --slippage-bps 20000", "slippage_bps 20000.0 below 10,000"),
    ("backtest BTC-USDT --min-risk-reward 0", "min_risk_reward 0.0 above 0"),
    ("portfolio", "no symbol is named accepted: --all"),
    ("portfolio BTC-USDT --all", "--all beside symbols accepted:"),
    ("portfolio BTC-USDT ETHUSDT", "'ETHUSDT' BASE-QUOTE"),
    ("portfolio BTC-USDT ETH-BTC", "quoted in BTC USDT accepted: one currency"),
    ("portfolio --all --strategy nope", "'nope' accepted: trend_rsi_macd"),
    ("portfolio --all --set max_positions=-1", "max_positions -1 from 0"),
    ("portfolio --all --set max_position=1", "'max_position' trend_structure max_positions"),
    ("portfolio --all --start 2024-01-02 --end 2024-01-01", "--end 2024-01-01 --start 2024-01-02 later"),
    ("backtest BTC-USDT -t 1h --timeframe 4h", "--timeframe 2 times '4h' once cryptai backtest --help"),
    ("bars BTC-USDT@1h --start 2024-01-01 --start 2024-01-01", "--start 2 times once"),
    ("bars BTC-USDT@1h -t 4h", "--timeframe 4h BTC-USDT@1h accepted: 1h"),
    ("bars BTC-USDT|1h -t 7m", "'7m' accepted: 1m"),
    ("outages withdraw 2024-01-01 --exchange kraken --exchange okx", "--exchange 2 times 'okx' once cryptai outages withdraw"),
    ("replay", "DIR --simulate"),
    ("replay --simulate 1 --port -1", "--port 0"),
    ("replay --simulate 1 --port 70000", "--port 65535"),
    ("replay --simulate 1 --symbols 0", "--symbols 1"),
    ("replay --simulate 1 --speed 0", "speed 0.0 positive"),
    ("replay --simulate 1 --speed nan", "speed nan positive"),
    ("replay --simulate 1 --now soon", "--now 'soon' ISO 8601"),
    ("up --port 0", "--port 1"),
    ("up --port -3", "--port 1"),
]

SETTINGS = [
    ("CRYPTAI_OVERLAP_BARS", "x", "CRYPTAI_OVERLAP_BARS 'x' integer"),
    ("CRYPTAI_INITIAL_CAPITAL", "-1", "CRYPTAI_INITIAL_CAPITAL '-1' greater than 0"),
    ("CRYPTAI_INITIAL_CAPITAL", "nan", "CRYPTAI_INITIAL_CAPITAL 'nan' finite"),
    ("CRYPTAI_GRACE_SECONDS", "inf", "CRYPTAI_GRACE_SECONDS 'inf' finite"),
    ("CRYPTAI_SYMBOLS", "BTCUSDT", "CRYPTAI_SYMBOLS 'BTCUSDT' BASE-QUOTE"),
    ("CRYPTAI_SYMBOLS", ",", "no series is chosen"),
    ("CRYPTAI_TIMEFRAMES", "2h", "CRYPTAI_TIMEFRAMES '2h' accepted"),
    ("CRYPTAI_EXCHANGE", "nowhere", "'nowhere' accepted: binance"),
    ("CRYPTAI_BINANCE_URL", "nonsense", "'nonsense' http(s)://"),
    ("CRYPTAI_BINANCE_URL", "http://127.0.0.1:99999", "99999 http(s)://"),
    ("CRYPTAI_DATABASE_URL", "not a url", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
    ("CRYPTAI_DATABASE_URL", "mysql://u:secretword@h/x", "'mysql' postgresql://USER"),
    ("CRYPTAI_DATABASE_URL", "postgresql://u:secretword@h:port/x", "h:port"),
    ("CRYPTAI_DATABASE_URL", "postgresql://u:secretword@h", "names no database"),
]

DATABASES = [
    ("postgresql://u:secretword@127.0.0.1:1/x", "127.0.0.1 port 1 refused"),
    ("postgresql://u:secretword@host.invalid/x", "host.invalid"),
    ("postgresql:///x?host=/nonexistent", "/nonexistent"),
    ("postgresql://u:secretword@h/x?bogus=1", "bogus"),
]


@pytest.mark.parametrize(("line", "words"), USAGE, ids=[line for line, _ in USAGE])
def test_a_wrong_argument_is_named_in_one_line(invoke: Invoke, home: Path, line: str, words: str) -> None:
    ended = invoke(*line.split())
    assert_one_line(ended, 2, words)
    assert ended.out == ""
    assert not home.exists()


@pytest.mark.parametrize("line", [line for line, _ in USAGE if line.startswith(("sync", "backtest", "portfolio"))])
def test_with_json_the_same_line_is_an_object(invoke: Invoke, line: str) -> None:
    ended = invoke(*line.split(), "--json")
    assert ended.code == 2
    assert ended.err == f"cryptai: {ended.object['error']}\n"


@pytest.mark.parametrize(("name", "value", "words"), SETTINGS, ids=[f"{name}={value}" for name, value, _ in SETTINGS])
def test_a_wrong_setting_is_named_in_one_line(invoke: Invoke, home: Path, name: str, value: str, words: str) -> None:
    ended = invoke("sync", **{name: value})
    assert_one_line(ended, 2, words)
    assert not home.exists()


@pytest.mark.parametrize(("database", "words"), DATABASES, ids=[url for url, _ in DATABASES])
@pytest.mark.parametrize("command", ["sync BTC-USDT", "db url", "db upgrade", "backtest BTC-USDT", "portfolio --all"])
def test_a_database_out_of_reach_is_named_without_its_password(
    invoke: Invoke, home: Path, database: str, words: str, command: str
) -> None:
    ended = invoke(*command.split(), CRYPTAI_DATABASE_URL=database, CRYPTAI_BINANCE_URL="http://127.0.0.1:9")
    assert_one_line(ended, 1, words)
    assert not home.exists()


@pytest.mark.parametrize("command", ["sync BTC-USDT", "db url", "backtest BTC-USDT", "up --port 65431"])
def test_a_home_that_is_a_file(invoke: Invoke, home: Path, command: str) -> None:
    home.write_text("mine")
    ended = invoke(*command.split(), CRYPTAI_BINANCE_URL="http://127.0.0.1:9")
    assert_one_line(ended, 1, str(home))
    assert home.read_text() == "mine"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("command", ["up", "replay --simulate 1"])
def test_a_taken_port_is_named(invoke: Invoke, home: Path, taken_port: int, command: str) -> None:
    assert_one_line(invoke(*command.split(), "--port", str(taken_port)), 1, f"{taken_port} taken --port")
    assert not (home / "postgres").exists()


def test_a_corrupt_recording_is_named(invoke: Invoke, tmp_path: Path) -> None:
    recording = tmp_path / "binance" / "BTCUSDT_1h.parquet"
    recording.parent.mkdir()
    recording.write_bytes((SAMPLE / "binance" / recording.name).read_bytes()[:5000])
    assert_one_line(invoke("replay", str(tmp_path)), 1, f"{recording} Parquet")


def test_a_folder_without_recordings_is_named(invoke: Invoke, tmp_path: Path) -> None:
    assert_one_line(invoke("replay", str(tmp_path)), 1, f"{tmp_path} <venue>/<SYMBOL>_<timeframe>.parquet")


def test_a_backtest_without_bars_says_how_to_get_them(invoke: Invoke, url: str) -> None:
    ended = invoke("backtest", "ETH-USDT", CRYPTAI_DATABASE_URL=url)
    assert_one_line(ended, 1, "ETH-USDT 1h cryptai sync ETH-USDT --timeframe 1h")


VENUES = {
    "firewall": (Fault(status=403, body=b"<html>forbidden</html>"), "403 region"),
    "region": (Fault(status=451, body=b'{"code":0,"msg":"restricted location"}'), "451 region"),
    "login page": (FAULTS["html"], "HTML"),
    "null": (FAULTS["null"], "null"),
}


@pytest.mark.parametrize("name", VENUES)
def test_a_venue_that_answers_something_else_is_named(invoke: Invoke, url: str, name: str) -> None:
    fault, words = VENUES[name]
    with running(open_recorded(SAMPLE, FixedClock(_NOW_MS)), faults=lambda path, query, number: fault) as venue:
        settings = {"CRYPTAI_DATABASE_URL": url, "CRYPTAI_BINANCE_URL": venue, "CRYPTAI_REQUEST_TIMEOUT_SECONDS": "0.3"}
        ended = invoke("sync", "BTC-USDT", "--json", **settings)
    assert ended.code == 1
    assert venue in ended.object["error"]
    assert all(word.lower() in ended.err.lower() for word in words.split())
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("venue", ["http://127.0.0.1:9", "http://venue.invalid"])
def test_a_venue_out_of_reach_is_named(invoke: Invoke, url: str, venue: str) -> None:
    settings = {"CRYPTAI_DATABASE_URL": url, "CRYPTAI_BINANCE_URL": venue, "CRYPTAI_REQUEST_TIMEOUT_SECONDS": "0.3"}
    assert_one_line(invoke("sync", "BTC-USDT", **settings), 1, venue)


def test_doctor_names_what_is_not_fit(invoke: Invoke) -> None:
    ended = invoke("doctor", "--offline", "--json", CRYPTAI_DATABASE_URL="postgresql://u:secretword@127.0.0.1:1/x")
    assert ended.code == 1 and len(ended.err.splitlines()) == 1
    told = ended.object
    assert told["healthy"] is False and told["error"] == "not fit: database"
    assert [check["check"] for check in told["checks"] if not check["ok"]] == ["database"]
    assert "secretword" not in ended.out + ended.err


def test_a_report_that_cannot_be_written_leaves_nothing(invoke: Invoke, home: Path, url: str) -> None:
    with running(open_recorded(SAMPLE, FixedClock(_NOW_MS))) as venue:
        assert invoke("sync", "BTC-USDT", CRYPTAI_DATABASE_URL=url, CRYPTAI_BINANCE_URL=venue).code == 0
    home.mkdir()
    (home / "reports").write_text("mine")
    assert_one_line(invoke("backtest", "BTC-USDT", CRYPTAI_DATABASE_URL=url), 1, "reports", lines_before=True)
    assert [path.name for path in home.iterdir()] == ["reports"]


def assert_one_line(ended: Ended, code: int, words: str, lines_before: bool = False) -> None:
    """The exit code and one line on stderr with all the words; `lines_before`: progress may stand above it."""
    lines = ended.err.splitlines()
    assert ended.code == code, ended
    assert lines_before or len(lines) == 1, ended.err
    assert lines[-1].startswith("cryptai: ")
    missing = [word for word in words.split() if word.lower() not in lines[-1].lower()]
    assert not missing, (missing, lines[-1])
    assert "secretword" not in ended.out + ended.err
