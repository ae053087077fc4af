"""A backtest on bars as they were known at a moment: what it gives does not depend on what became known afterwards."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.indicators.registry import DEFAULT_SET
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain import decided, staleness, steps, technical_indicators
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.bar_history import read_bars
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.restatement import read_ledger
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial, scheduled_trial
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import backtests, derived
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy import higher_timeframe, trend_rsi_macd
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

_OWN = ("backtest_id", "report", "config", "as_of", "verdict", "findings")
WINDOW = Interval(START + 333 * HOUR, START + 1_111 * HOUR)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second: chunks so short that what a block is made of lies in the blocks before it."""
    if request.param == "many blocks":
        for module in (chunks, staleness, higher_timeframe):
            monkeypatch.setattr(module, "CHUNK_BARS", 32)


def backtest(database: Database, home: Path, known_at_ms: int | None = None, window: Interval | None = None) -> dict[str, Any]:
    chosen = settings_for("http://127.0.0.1:1", home)
    trial = chosen_trial(chosen, "trend_rsi_macd", {}, window, known_at_ms)
    return run_trial(database, chosen, SERIES, trial, "test", ignore_progress)


def outcome(database: Database, result: dict[str, Any]) -> tuple[object, ...]:
    """All that was computed, days and trades included. What is concluded depends on how many trials there were by then."""
    identity = result["backtest_id"]
    days, trades = backtests.read_daily(database, identity), backtests.read_trades(database, identity)
    told = {name: value for name, value in result.items() if name not in _OWN}
    told["all_metrics"] = {name: repr(value) for name, value in result["all_metrics"].items() if name != "dsr"}
    return told, days.to_csv(), trades.to_csv()


def now_ms() -> int:
    """A moment that lies between what was stored and what will be."""
    time.sleep(0.002)
    moment = time.time_ns() // 1_000_000
    time.sleep(0.002)
    return moment


def decided_then(database: Database, trial: Trial, until_ms: int) -> pd.DataFrame:
    """What the trial's strategy decides on the bars as they are known now, in memory."""
    bars = read_bars(database, SERIES, Interval(0, until_ms), now_ms())
    return pd.concat([rows for _, rows in decided.decided(SERIES, trial.strategy, trial.rules, bars)])


def test_it_is_what_it_was_then_whatever_came_later(blocks: None, database: Database, tmp_path: Path) -> None:
    frame = walk_bars(5, {300, 301, 900})
    early = FixedClock(START + 1_200 * HOUR + 60_000)
    with venue_with(frame, tmp_path / "first", early) as url:
        bring_up_to_date(database, url, tmp_path)
    then = {window: outcome(database, backtest(database, tmp_path, None, window)) for window in (None, WINDOW)}
    assert all(told["trade_count"] > 5 for told, _, _ in then.values())
    moment = now_ms()
    for window, expected in then.items():
        assert outcome(database, backtest(database, tmp_path, moment, window)) == expected

    # A restated bar that keeps to the rules, one that does not and so is gone, and bars that are new.
    restated = frame.copy()
    restated.loc[400, "close"] = ((restated.loc[400, "low"] + restated.loc[400, "high"]) / 2).round(2)
    restated.loc[600, "high"] = restated.loc[600, "low"] / 2
    late = FixedClock(START + BARS * HOUR + 60_000)
    with venue_with(restated, tmp_path / "second", late) as url:
        bring_up_to_date(database, url, tmp_path, Interval(START, late.at_ms))
    settled = {row[0] for row in database.rows("SELECT id FROM backtest_results WHERE config ->> 'known_at' IS NOT NULL")}
    assert len(read_ledger(database)) == 2 and len(settled) == 2
    for entry in read_ledger(database):
        touched = {one["id"] for one in entry["touched"]["backtest_results"]}
        assert touched and not touched & settled
    for window, expected in then.items():
        assert outcome(database, backtest(database, tmp_path, None, window)) != expected
        assert outcome(database, backtest(database, tmp_path, moment, window)) == expected


def test_its_signals_are_those_that_are_stored(blocks: None, database: Database, tmp_path: Path) -> None:
    clock = FixedClock(START + BARS * HOUR + 60_000)
    with venue_with(walk_bars(6, set(range(500, 510))), tmp_path / "first", clock) as url:
        bring_up_to_date(database, url, tmp_path)
    chosen = settings_for("http://127.0.0.1:1", tmp_path)
    trial = scheduled_trial(chosen)
    computed = decided_then(database, trial, clock.at_ms)
    keys = {"strategy": trial.strategy.name, "symbol": SERIES.symbol, "timeframe": SERIES.timeframe.code}
    stored = derived.read(database, "signals", keys, START, clock.at_ms, columns=tuple(computed.columns))
    assert len(stored) == BARS - 10 and stored["entry"].sum() > 5
    pd.testing.assert_frame_equal(computed, stored, check_dtype=False, check_exact=True, check_names=False)


def test_a_block_is_made_of_no_more_than_it_looks_back_upon(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With warm-ups far shorter than a series, what is kept of the blocks before is exactly enough."""
    for module in (chunks, staleness, higher_timeframe):
        monkeypatch.setattr(module, "CHUNK_BARS", 16)
    short = {spec.name: replace(spec, warmup=50, lull=0) if spec.carry is None else spec for spec in DEFAULT_SET}
    monkeypatch.setattr(steps, "stored_indicators", lambda settings: tuple(short.values()))
    monkeypatch.setattr(decided, "find_indicator", lambda name: short[name])
    monkeypatch.setattr(technical_indicators, "FILLED_WINDOW", 50)
    monkeypatch.setattr(higher_timeframe, "_HIGHER_WARMUP", 15)
    monkeypatch.setattr(trend_rsi_macd, "LONGEST_LOOK_BACK", 60)
    clock = FixedClock(START + BARS * HOUR + 60_000)
    with venue_with(walk_bars(6, set(range(500, 510))), tmp_path / "first", clock) as url:
        bring_up_to_date(database, url, tmp_path)
    trial = scheduled_trial(settings_for("http://127.0.0.1:1", tmp_path))
    kept: list[int] = []
    computing = decided.compute

    def compute(bars: pd.DataFrame, *others: object) -> pd.DataFrame:
        kept.append(len(bars))
        return computing(bars, *others)

    monkeypatch.setattr(decided, "compute", compute)
    computed = decided_then(database, trial, clock.at_ms)
    keys = {"strategy": trial.strategy.name, "symbol": SERIES.symbol, "timeframe": SERIES.timeframe.code}
    stored = derived.read(database, "signals", keys, START, clock.at_ms, columns=tuple(computed.columns))
    assert max(kept) <= 128 + 60 and stored["target_price"].notna().any()
    pd.testing.assert_frame_equal(computed, stored, check_dtype=False, check_exact=True, check_names=False)


def test_each_moment_is_a_trial_of_its_own_and_its_report_says_so(database: Database, tmp_path: Path) -> None:
    with venue_with(walk_bars(5, set()), tmp_path / "first", FixedClock(START + BARS * HOUR + 60_000)) as url:
        before = now_ms()
        bring_up_to_date(database, url, tmp_path)
    moment = now_ms()
    results = [backtest(database, tmp_path, known) for known in (None, moment, moment + 1, moment)]
    assert len({one["backtest_id"] for one in results}) == 3
    [later] = [backtest(database, tmp_path, now_ms() + 600_000)["backtest_id"]]
    assert results[1]["config"]["known_at"] == moment and "known_at" not in results[0]["config"]
    assert "bars as known at" in Path(results[1]["report"]).read_text()
    assert "bars as known at" not in Path(results[0]["report"]).read_text()

    restated = walk_bars(5, set())
    restated.loc[400, "close"] = ((restated.loc[400, "low"] + restated.loc[400, "high"]) / 2).round(2)
    with venue_with(restated, tmp_path / "second", FixedClock(START + BARS * HOUR + 60_000)) as url:
        bring_up_to_date(database, url, tmp_path, Interval(START, START + BARS * HOUR))
    [entry] = read_ledger(database)
    touched = {one["id"] for one in entry["touched"]["backtest_results"] if one["kind"] == "trial"}
    assert touched == {results[0]["backtest_id"], later}, "whatever could still be told something"

    with pytest.raises(CryptaiError, match="no bar of BTC-USDT 1h was known at"):
        backtest(database, tmp_path, before)
    with pytest.raises(BadInput, match="no bars of BTC-USDT 1h are stored between --start and --end"):
        backtest(database, tmp_path, moment, Interval(0, HOUR))
