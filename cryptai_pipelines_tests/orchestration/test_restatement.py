"""The ledger of restatements: an entry for what a source changed, with what depended on it, done when all of that was
computed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.indicators.registry import indicator_set
from cryptai_pipelines.market.clock import FixedClock, format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.orchestration.chain import receive, restatement, staleness, steps, trial_parameters
from cryptai_pipelines.orchestration.chain.receive import receive_pages
from cryptai_pipelines.orchestration.chain.restatement import read_ledger
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.storage import raw
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines.strategy.trend_structure import TREND_STRUCTURE
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import (
    BARS,
    HOUR,
    SERIES,
    START,
    bring_up_to_date,
    venue_with,
    walk_bars,
)
from cryptai_pipelines_tests.storage.bars_examples import wire_rows

READ = indicator_set(TREND_STRUCTURE.indicators(TREND_STRUCTURE.parameters()))
SHORT_SIGHTED = tuple(replace(spec, warmup=50, lull=0) for spec in READ)
SHORT_STRUCTURE = replace(TREND_STRUCTURE, warmup_bars=lambda parameters, timeframe: 60)
CLOCK = FixedClock(START + BARS * HOUR + 60_000)


def at(hour: int) -> int:
    return START + hour * HOUR


def restated(frame: pd.DataFrame, hours: list[int]) -> pd.DataFrame:
    after = frame.copy()
    after.loc[hours, "close"] = ((after.loc[hours, "low"] + after.loc[hours, "high"]) / 2).round(2)
    return after


def fetch(database: Database, url: str, home: Path, start: int, end: int) -> None:
    """The raw bars of these hours, without what is made of them."""
    chosen = settings_for(url, home)
    steps = chain_steps(database, open_venue(chosen), chosen, "test", Interval(at(start), at(end)))[:1]
    [result] = walk([SERIES], steps, holding(database, "binance", chosen, "test"), 1)
    assert result.error is None, result.error


@pytest.fixture
def filled(database: Database, tmp_path: Path) -> tuple[Database, pd.DataFrame]:
    """A series through the whole chain."""
    frame = walk_bars(3, {300})
    with venue_with(frame, tmp_path / "first", CLOCK) as url:
        bring_up_to_date(database, url, tmp_path)
    return database, frame


def test_an_entry_tells_the_values_and_what_depends_on_them(filled, tmp_path: Path) -> None:
    database, frame = filled
    assert read_ledger(database) == []
    after = restated(frame, [700, 701, 702, 900])
    with venue_with(after, tmp_path / "second", CLOCK) as url:
        fetch(database, url, tmp_path, 600, 1_000)
        second, first = read_ledger(database)
        assert [(one["first_bar"], one["last_bar"], one["bars"]) for one in (first, second)] == [
            (format_time(at(700)), format_time(at(702)), 3),
            (format_time(at(900)), format_time(at(900)), 1),
        ]
        assert first["source"] == "binance" and first["recomputed_at"] is None and second["recomputed_at"] is None
        for one, hours in ((first, [700, 701, 702]), (second, [900])):
            values = one["values"]
            assert [bar["at"] for bar in values] == [format_time(at(hour)) for hour in hours]
            assert [bar["before"]["close"] for bar in values] == frame.loc[hours, "close"].tolist()
            assert [bar["after"]["close"] for bar in values] == after.loc[hours, "close"].tolist()
            assert all(bar["revision"] == 1 and "close" in bar["changed"] for bar in values)
            assert_touched(database, one, hours[0])
        bring_up_to_date(database, url, tmp_path)
        assert all(one["recomputed_at"] is not None for one in read_ledger(database))
        fetch(database, url, tmp_path, 600, 1_000)
    assert len(read_ledger(database)) == 2


def assert_touched(database: Database, entry: dict, hour: int) -> None:
    """The warm-up is longer than what follows: everything from the bar on depends on it."""
    touched, since = entry["touched"], format_time(at(hour))

    def count(table: str, column: str = "ts") -> int:
        return database.rows(f"SELECT count(*) FROM {table} WHERE {column} >= %s", (since,))[0][0]  # noqa: S608

    assert touched["validated_bars"] == {"rows": entry["bars"]}
    assert touched["ml_predictions"] == {"rows": 0}
    assert touched["technical_indicators"]["rows"] == count("technical_indicators") > 0
    assert touched["technical_indicators"]["from"] == since
    assert touched["market_structure"]["rows"] == count("market_structure") and touched["market_structure"]["from"] == since
    assert [(one["strategy"], one["rows"]) for one in touched["signals"]] == [("trend_rsi_macd", count("signals"))]
    [backtest] = touched["backtest_results"]
    assert backtest["kind"] == "scheduled" and backtest["trades"] == count("backtest_trades", "entry_ts") > 0


def test_it_is_done_only_when_the_last_of_the_chain_is(filled, tmp_path: Path) -> None:
    database, frame = filled
    with venue_with(restated(frame, [700]), tmp_path / "second", CLOCK) as url:
        chosen = settings_for(url, tmp_path)
        steps = chain_steps(database, open_venue(chosen), chosen, "test", Interval(at(700), at(701)))
        for step in steps[:5]:
            list(walk([SERIES], [step], holding(database, "binance", chosen, "test"), 1))
            assert read_ledger(database)[0]["recomputed_at"] is None, step.asset
        list(walk([SERIES], steps[5:6], holding(database, "binance", chosen, "test"), 1))
        assert steps[5].asset == "backtest_results"
        done = read_ledger(database)[0]["recomputed_at"]
    with venue_with(restated(frame, [700, 800]), tmp_path / "third", CLOCK) as url:
        fetch(database, url, tmp_path, 800, 801)
        later, earlier = read_ledger(database)
    # Another one that waits does not take back what was done.
    assert done is not None and earlier["recomputed_at"] == done and later["recomputed_at"] is None


def test_what_was_never_computed_need_not_be_computed_again(database: Database, tmp_path: Path) -> None:
    frame = walk_bars(3, set())
    with venue_with(frame, tmp_path / "first", CLOCK) as url:
        chosen = settings_for(url, tmp_path)
        steps = chain_steps(database, open_venue(chosen), chosen, "test")[:2]
        list(walk([SERIES], steps, holding(database, "binance", chosen, "test"), 1))
    with venue_with(restated(frame, [700]), tmp_path / "second", CLOCK) as url:
        fetch(database, url, tmp_path, 700, 701)
        assert read_ledger(database)[0]["recomputed_at"] is None
        list(
            walk(
                [SERIES],
                chain_steps(database, open_venue(chosen), chosen, "x")[1:2],
                holding(database, "binance", chosen, "x"),
                1,
            )
        )
    [entry] = read_ledger(database)
    assert entry["touched"]["technical_indicators"]["rows"] == entry["touched"]["market_structure"]["rows"] == 0
    assert entry["touched"]["backtest_results"] == []
    assert entry["recomputed_at"] is not None


def quiet_climb() -> pd.DataFrame:
    """Some unrest, then a climb without a single swing: what structure knew at its beginning it knows to its end."""
    frame = walk_bars(3, set())
    rows = frame.index[250:]
    close = float(frame["close"].iloc[249]) * (1 + 0.0005 * np.arange(1, len(rows) + 1))
    frame.loc[rows, "open"] = np.concatenate((frame["close"].iloc[[249]], close[:-1]))
    frame.loc[rows, "close"], frame.loc[rows, "high"] = close, close * 1.0001
    frame.loc[rows, "low"] = frame.loc[rows, "open"] * 0.9999
    prices = ["open", "high", "low", "close"]
    frame[prices] = frame[prices].round(2)
    return frame


def signal_rows(database: Database) -> dict[str, str]:
    rows = database.rows("SELECT ts, md5((to_jsonb(t) - ARRAY['coverage_revision', 'code_version'])::text) FROM signals AS t")
    return {format_time(round(ts.timestamp() * 1000)): told for ts, told in rows}


def test_signals_that_read_the_structure_may_change_to_the_end(database: Database, tmp_path: Path, monkeypatch) -> None:
    """On short chunks and with a short warm-up, so that what indicators alone reach ends long before."""
    for module in (chunks, staleness):
        monkeypatch.setattr(module, "CHUNK_BARS", 64)
    monkeypatch.setattr(steps, "stored_indicators", lambda settings: SHORT_SIGHTED)
    monkeypatch.setitem(restatement.STRATEGIES, "trend_structure", SHORT_STRUCTURE)
    monkeypatch.setattr(trial_parameters, "find_strategy", lambda name: SHORT_STRUCTURE)
    frame = quiet_climb()
    after = frame.copy()
    after.loc[244, "high"] *= 1.4
    with venue_with(frame, tmp_path / "first", CLOCK) as url:
        bring_up_to_date(database, url, tmp_path)
    before = signal_rows(database)
    with venue_with(after, tmp_path / "second", CLOCK) as url:
        fetch(database, url, tmp_path, 240, 250)
        [entry] = read_ledger(database)
        bring_up_to_date(database, url, tmp_path)
    changed = sorted(ts for ts, told in signal_rows(database).items() if told != before[ts])
    [told] = entry["touched"]["signals"]
    assert told["strategy"] == "trend_structure" and told["from"] <= changed[0] and changed[-1] < told["until"]
    assert changed[-1] > entry["touched"]["technical_indicators"]["until"] and len(changed) <= told["rows"]
    assert changed[-1] > format_time(at(1_000))


def page(ts: np.ndarray, seed: int) -> Page:
    return Page(wire_rows(ts, seed), Interval(int(ts[0]), int(ts[-1]) + HOUR), "file", "0" * 64, CLOCK.at_ms)


def receive_from(database: Database, source: str, origin: str, pages: list[Page]) -> None:
    with take_series(database, "binance", SERIES, holder="test", lease_s=60) as lease:
        receive_pages(database, lease, source, origin, pages, run_id="test")


def test_a_source_that_another_one_is_believed_before_touches_nothing(filled) -> None:
    database, _ = filled
    hours = at(0) + HOUR * np.arange(100, 400)
    receive_from(database, "file:mine", "csv", [page(hours, 1)])
    receive_from(database, "file:mine", "csv", [page(hours, 2)])
    [entry] = read_ledger(database)
    # Hour 300 is a hole that only the file can fill.
    assert (entry["source"], entry["bars"]) == ("file:mine", 300)
    assert entry["touched"]["validated_bars"] == {"rows": 0} and entry["touched"]["technical_indicators"]["rows"] > 0
    assert entry["touched"]["market_structure"]["rows"] > 0
    receive_from(database, "file:mine", "csv", [page(hours[:100], 3)])
    touched = read_ledger(database)[0]["touched"]
    assert touched["validated_bars"] == {"rows": 0} and touched["technical_indicators"] == {"rows": 0}
    assert touched["signals"] == [] and touched["backtest_results"] == []


def test_a_file_that_restates_every_second_bar_is_one_entry(database: Database) -> None:
    hours = at(0) + HOUR * np.arange(300)
    receive_from(database, "file:mine", "csv", [page(hours, 1)])
    receive_from(database, "file:mine", "csv", [page(hours[::2], 2)])
    [entry] = read_ledger(database)
    assert (entry["bars"], entry["first_bar"], entry["last_bar"]) == (150, format_time(at(0)), format_time(at(298)))
    assert len(entry["values"]) == 150


def test_entry_and_revision_are_one_transaction(filled, tmp_path: Path, monkeypatch) -> None:
    database, frame = filled

    def fail(*_: object) -> None:
        raise RuntimeError("after the ledger")

    monkeypatch.setattr(receive, "_extend_coverage", fail)
    with pytest.raises(RuntimeError, match="after the ledger"):
        receive_from(database, "binance", "rest", [page(at(0) + HOUR * np.arange(10), 5)])
    assert read_ledger(database) == []
    assert not raw.read_current(database, "binance", SERIES, at(0), at(10))["revision"].any()


def test_series_and_number_can_be_chosen(filled, tmp_path: Path) -> None:
    database, frame = filled
    with venue_with(restated(frame, [700, 800]), tmp_path / "second", CLOCK) as url:
        fetch(database, url, tmp_path, 600, 1_000)
    assert len(read_ledger(database, "BTC-USDT", "1h")) == 2
    assert [one["first_bar"] for one in read_ledger(database, limit=1)] == [format_time(at(800))]
    assert read_ledger(database, "ETH-USDT") == [] and read_ledger(database, timeframe="4h") == []
