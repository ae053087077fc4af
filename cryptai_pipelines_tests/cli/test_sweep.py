"""`cryptai sweep` and `cryptai walkforward` on a stored series: what they find, store and say, killed and gone on with."""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from html import escape
from pathlib import Path

import psutil
import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.storage import sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.backtest.walks import hourly_walk
from cryptai_pipelines_tests.cli.command import start, until
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.test_chain_properties import bring_up_to_date

BARS = 24 * 150
GRID = ("--grid", "stop_loss=0.02:0.05:0.01", "--grid", "rsi_recovery=45,50,55")


@pytest.fixture(scope="module")
def stored(postgres_server, tmp_path_factory) -> Iterator[Database]:
    """A store of one series, up to date, that the tests only add searches to."""
    folder = tmp_path_factory.mktemp("venue")
    (folder / "binance").mkdir()
    bars = hourly_walk(21, BARS).drop(columns="is_filled").reset_index()
    bars.to_parquet(folder / "binance" / "BTCUSDT_1h.parquet", index=False)
    clock = FixedClock(int(bars["ts"].iloc[-1].timestamp() * 1000) + 3_660_000)
    with fresh_database(postgres_server) as database, running(open_recorded(folder, clock)) as url:
        bring_up_to_date(database, url, folder)
        yield database


def table(database: Database, sweep_id: int) -> list[tuple]:
    return database.rows(
        "SELECT fold, number, key, point, metrics, refusal FROM sweep_points WHERE sweep_id = %s ORDER BY fold, number",
        (sweep_id,),
    )


def test_a_sweep_is_stored_judged_and_mapped(stored: Database, invoke: Invoke) -> None:
    told = invoke("sweep", "BTC-USDT", *GRID, "--jobs", "1", "--json", CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 0, told.err
    result = told.object
    assert (result["points"], result["points_resumed"], result["points_refused"], result["bars"]) == (12, 0, 0, BARS)
    kept = sweeps.read_points(stored, result["sweep_id"])
    assert len(kept) == 12 and kept[0].point == {"stop_loss": 0.02, "rsi_recovery": 45}
    ranked = sorted((row.result["sharpe"] for row in kept), reverse=True)
    assert [one["metrics"]["sharpe"] for one in result["best"]] == ranked[:10]
    assert 0 <= result["pbo"] <= 1 and 0 <= result["dsr"] <= result["better_than_market"] <= 1
    assert result["trials"] >= 12
    assert result["verdict"]["reasons"] and {one["severity"] for one in result["findings"]} <= {"warn", "error"}
    page = Path(result["heat_map"]["path"]).read_text()
    assert "stop_loss" in page and "rsi_recovery" in page and result["heat_map"]["best"] == pytest.approx(ranked[0])
    for told_there in (
        result["verdict"]["answer"],
        f"of {result['trials']:,} trials",
        f"{result['pbo']:.3f}",
        result["first_bar"],
    ):
        assert told_there in page
    assert escape(result["fees"]) in page and "Each cell" not in page
    header = sweeps.read_sweep(stored, result["sweep_id"])
    assert header.finished and header.summary["best"][0]["point"] == result["best"][0]["point"]
    again = invoke(
        "sweep", "BTC-USDT", *GRID, "-j", "2", "--objective", "cagr", "--json", CRYPTAI_DATABASE_URL=stored.url
    ).object
    assert (again["sweep_id"], again["points"], again["points_resumed"]) == (result["sweep_id"], 12, 12)
    anew = invoke("sweep", "BTC-USDT", *GRID, "--anew", "--json", CRYPTAI_DATABASE_URL=stored.url).object
    assert (anew["sweep_id"], anew["points_resumed"], anew["trials"]) == (result["sweep_id"], 0, result["trials"])
    assert anew["best"] == result["best"] and anew["pbo"] == result["pbo"]


def test_a_window_trades_within_it_and_knows_what_came_before(stored: Database, invoke: Invoke) -> None:
    """The best point of a window, as one backtest of the same entries."""
    window = ("--start", "2021-02-01", "--end", "2021-05-01")
    told = invoke("sweep", "BTC-USDT", *GRID, *window, "--json", CRYPTAI_DATABASE_URL=stored.url).object
    assert (told["first_bar"], told["last_bar"]) == ("2021-02-01T00:00:00Z", "2021-04-30T23:00:00Z")
    backtest = invoke(*("backtest", "BTC-USDT", *window, "--stop-loss", "0.03", "--json"), CRYPTAI_DATABASE_URL=stored.url)
    assert backtest.code == 0, backtest.err
    [row] = [
        row for row in sweeps.read_points(stored, told["sweep_id"]) if row.point == {"stop_loss": 0.03, "rsi_recovery": 50}
    ]
    for name in ("total_return", "sharpe", "max_drawdown", "trade_count", "profit_factor", "final_equity"):
        assert row.result[name] == pytest.approx(backtest.object["metrics"][name], rel=1e-9), name


def test_a_best_value_on_the_edge_of_what_was_searched_is_told(stored: Database, invoke: Invoke) -> None:
    """Fees only cost, so the least of them is the best."""
    told = invoke(
        *("sweep", "BTC-USDT", "--grid", "fee_rate=0.0005:0.002:0.0005", "--objective", "total_return", "--json"),
        CRYPTAI_DATABASE_URL=stored.url,
    ).object
    assert told["best"][0]["point"] == {"fee_rate": 0.0005} and told["heat_map"] is None
    [finding] = [one for one in told["findings"] if one["code"] == "parameter_on_edge"]
    assert "fee_rate = 0.0005" in finding["sentence"]


def test_killed_in_the_middle_and_gone_on_with_the_table_is_the_same(stored: Database, invoke: Invoke, home: Path) -> None:
    arguments = ["sweep", "BTC-USDT", "--grid", "rsi_recovery=30:69:0.25", "--jobs", "1", "--json"]
    count = 157
    killed = start(arguments, home, CRYPTAI_DATABASE_URL=stored.url)
    until(lambda: written(stored, count) > 0, "the first points")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = written(stored, count)
    assert 0 < before < count, "it was not killed in the middle"
    resumed = invoke(*arguments, CRYPTAI_DATABASE_URL=stored.url)
    assert resumed.code == 0, resumed.err
    assert (resumed.object["points"], resumed.object["points_resumed"]) == (count, before)
    gone_on = table(stored, resumed.object["sweep_id"])
    whole = invoke(*arguments, "--anew", CRYPTAI_DATABASE_URL=stored.url)
    assert table(stored, whole.object["sweep_id"]) == gone_on and len(gone_on) == count
    assert whole.object["best"] == resumed.object["best"] and whole.object["pbo"] == resumed.object["pbo"]


def test_no_worker_outlives_a_sweep_that_is_killed(stored: Database, home: Path) -> None:
    arguments = ["sweep", "BTC-USDT", "--grid", "rsi_recovery=30:69:0.2", "--jobs", "2"]
    killed = start(arguments, home, CRYPTAI_DATABASE_URL=stored.url)
    until(lambda: written(stored, 196) > 0, "the first points")
    workers = psutil.Process(killed.pid).children(recursive=True)
    assert len(workers) >= 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until(
        lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers), "the end of all workers"
    )


LEAKING = """
import pandas as pd

from cryptai_pipelines.strategy import as_strategy


@as_strategy()
def knows_tomorrow(inputs, parameters):
    close = inputs.bars["close"]
    return pd.DataFrame({"side": (close.shift(-1) > close).astype("int8")})
"""


def test_a_strategy_that_knows_the_future_has_no_edge(stored: Database, invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "knows.py"
    file.write_text(LEAKING)
    engine = ("time_stop_bars=1", "fee_rate=0.0001", "slippage_bps=0")
    chosen = ("BTC-USDT", "--strategy", str(file), *(word for one in engine for word in ("--set", one)))
    told = invoke("backtest", *chosen, "--json", CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 0, told.err
    result = told.object
    assert result["verdict"]["answer"] == "no edge shown" and result["verdict"]["better_than_market"] > 0.99
    assert "sharpe_too_good" in {one["code"] for one in result["findings"] if one["severity"] == "error"}
    assert any(reason.startswith("sharpe_too_good: ") for reason in result["verdict"]["reasons"])
    page = Path(result["report"]).read_text()
    assert "Verdict: no edge shown" in page and "Verdict: has an edge" not in page


def written(database: Database, points: int) -> int:
    statement = "SELECT count(*) FROM sweep_points AS p JOIN sweeps AS s ON s.id = p.sweep_id WHERE s.points = %s"
    return database.rows(statement, (points,))[0][0]


def test_a_walk_forward_tells_what_is_left(stored: Database, invoke: Invoke) -> None:
    arguments = ("walkforward", "BTC-USDT", *GRID, "--train", "60d", "--test", "20d", "--objective", "total_return", "--json")
    told = invoke(*arguments, "--jobs", "1", CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 0, told.err
    result = told.object
    assert len(result["windows"]) == 5 and result["summary"]["windows"] == 5
    growth = math.prod(1 + one["metrics"]["total_return"] for one in result["windows"] if one["metrics"])
    assert result["metrics"]["total_return"] == pytest.approx(growth - 1, rel=1e-9)
    for one in result["windows"]:
        assert one["train"][1] < one["test"][0]
    assert Path(result["picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(sweeps.read_points(stored, result["sweep_id"], fold=4)) == 12
    assert result["trials"] >= 12 and f"{result['metrics']['trade_count']:.0f} trades" in " ".join(result["verdict"]["reasons"])
    assert result["verdict"]["answer"] != "has an edge" and all(one["sentence"] for one in result["findings"])
    again = invoke(*arguments, "--jobs", "2", CRYPTAI_DATABASE_URL=stored.url).object
    assert (again["points"], again["points_resumed"]) == (60, 60)
    assert {**again, "points_resumed": 0} == result


def test_a_walk_forward_that_never_trades_says_so(stored: Database, invoke: Invoke) -> None:
    """On the first five days no indicator is known, so there is no signal."""
    line = ("walkforward", "BTC-USDT", *GRID, "--train", "40b", "--test", "40b", "--end", "2021-01-06")
    told = invoke(*line, CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 0, told.err
    assert "nothing was traded in 2 tests: no point had a sharpe" in told.err and told.out.count(" none ") == 2
    result = invoke(*line, "--json", CRYPTAI_DATABASE_URL=stored.url).object
    assert result["metrics"]["total_return"] == 0.0 and result["metrics"]["trade_count"] == 0
    assert [one["point"] for one in result["windows"]] == [None, None]


def test_the_words_for_a_person(stored: Database, invoke: Invoke) -> None:
    told = invoke("sweep", "BTC-USDT", *GRID, CRYPTAI_DATABASE_URL=stored.url)
    assert told.code == 0 and "stop_loss" in told.out and "deflated Sharpe ratio" in told.err and "map: " in told.err
    walked = invoke("walkforward", "BTC-USDT", *GRID, "--train", "60d", "--test", "20d", CRYPTAI_DATABASE_URL=stored.url)
    assert walked.code == 0 and "2021-03-02T00:00:00Z" in walked.out and "walk-forward efficiency" in walked.err
    assert "verdict out of sample: " in walked.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sweep BTC-USDT", "--grid at least one"),
        ("sweep BTC-USDT --grid nothing", "'nothing' NAME=VALUES"),
        ("sweep BTC-USDT --grid a=1 --grid a=2", "--grid a 2 times once"),
        ("sweep BTC-USDT --grid size=0.1:1.0", "size step"),
        ("sweep BTC-USDT --grid size=0.5,1.0 --random 3 --optuna 3", "--random --optuna one of them"),
        ("sweep BTC-USDT --grid size=0.5,1.0 --random 0", "--random 1"),
        ("sweep BTC-USDT --grid size=0.5,1.0 --objective luck", "'luck' accepted: sharpe"),
        ("sweep BTC-USDT --grid size=0.5,1.0 --strategy nope", "'nope' accepted: trend_rsi_macd"),
        ("sweep BTC-USDT --grid size=0.5,1.0 --jobs 0", "--jobs 1"),
        ("walkforward BTC-USDT --grid size=0.5,1.0 --train 60 --test 20d", "'60' 180d"),
        ("walkforward BTC-USDT --grid size=0.5,1.0 --test 20d", "--train"),
    ],
)
def test_what_cannot_be_asked_is_named_before_anything_is_started(invoke: Invoke, home: Path, line: str, words: str) -> None:
    ended = invoke(*line.split())
    assert ended.code == 2 and ended.out == "" and not home.exists()
    assert all(word in ended.err for word in words.split()), ended.err
    assert ended.err.count("\n") == 1


def test_what_does_not_fit_what_is_stored_is_named(stored: Database, invoke: Invoke) -> None:
    for line, code, words in (
        ("sweep ETH-USDT --grid size=0.5,1.0", 1, "ETH-USDT 1h cryptai sync"),
        ("sweep BTC-USDT --grid sizes=0.5,1.0", 2, "'sizes' accepted: rsi_recovery"),
        ("sweep BTC-USDT --grid stop_loss=1.5,2.5", 2, "stop_loss 1.5"),
        ("sweep BTC-USDT --grid size=0.5,1.0 --start 2030-01-01", 2, "no bars of BTC-USDT 1h --start"),
        ("walkforward BTC-USDT --grid size=0.5,1.0 --train 900d --test 20d", 2, "training of 900d"),
        (
            "sweep BTC-USDT --grid size=0.5,1.0 --scheduler tcp://127.0.0.1:9",
            1,
            "no Dask scheduler answers at tcp://127.0.0.1:9",
        ),
    ):
        ended = invoke(*line.split(), "--json", CRYPTAI_DATABASE_URL=stored.url)
        assert ended.code == code, ended.err
        assert all(word in ended.object["error"] for word in words.split()), ended.err
