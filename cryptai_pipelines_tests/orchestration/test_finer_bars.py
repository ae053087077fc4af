"""Bars that do not tell what came first are told apart by the finer bars of the store, in whatever order coarse and finer bars
come and become others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import (
    backtest_results,
    market_structure,
    performance_metrics,
    signals,
    technical_indicators,
)
from cryptai_pipelines.orchestration.chain.backtest_results import CHECKPOINT_BARS, Trial
from cryptai_pipelines.orchestration.chain.bar_history import read_bars
from cryptai_pipelines.orchestration.chain.finer_bars import finer_readers, finer_revisions, finer_than
from cryptai_pipelines.orchestration.chain.outcome import Outcome, ignore_progress
from cryptai_pipelines.orchestration.chain.restatement import read_ledger
from cryptai_pipelines.orchestration.metadata import outcome_metadata
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import ambiguous_bars, backtests, checkpoints, market_data, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines.storage.times import to_datetime, to_ms
from cryptai_pipelines.strategy.protocol import Inputs, Strategy
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import slots, store
from cryptai_pipelines_tests.orchestration.test_backtest_as_known import now_ms
from cryptai_pipelines_tests.quality.samples import good_rows

HOUR, BARS = Timeframe.H1.ms, 120
H1, M15, M5 = (Series("BTC-USDT", timeframe) for timeframe in (Timeframe.H1, Timeframe.M15, Timeframe.M5))
ALL = (H1, M15, M5)


def decide(inputs: Inputs, parameters: object) -> pd.DataFrame:
    """A long nearly always, some of them at a limit."""
    close = inputs.bars["close"]
    hour = inputs.bars.index.hour
    limit = close.where(hour % 3 == 0) * 0.995
    return pd.DataFrame({"side": np.where(hour % 5 < 4, 1, 0).astype("int8"), "limit_price": limit}, index=close.index)


NEAR = EngineParameters(take_profit=0.012, stop_loss=0.01, partial_take_profit=0.5, partial_at=0.006, limit_expiry_bars=3)
STRATEGY = Strategy(name="nearly_always", decide=decide, code_version="1")
TRIAL = Trial("scheduled", STRATEGY, STRATEGY.parameters(), NEAR)


def parts_of(hours: Columns, timeframe: Timeframe, seed: int) -> Columns:
    """Bars that make up those of `hours`: each half has another extreme of it, and they open and close as it does."""
    rng = np.random.default_rng(seed)
    per_hour = HOUR // timeframe.ms
    rows = good_rows(len(hours["ts"]) * per_hour, timeframe)
    low, high = (np.repeat(hours[name], per_hour) for name in ("low", "high"))
    rows["ts"] = (hours["ts"][:, None] + np.arange(per_hour) * timeframe.ms).ravel()
    rows["close_ts"] = rows["ts"] + timeframe.ms - 1
    inner = np.sort(rng.uniform(low, high, (4, len(low))), axis=0)
    for name, values in zip(("low", "open", "close", "high"), inner, strict=True):
        rows[name] = values
    for hour in range(len(hours["ts"])):
        first, last = rng.permutation(per_hour)[:2] + hour * per_hour
        rows["low"][first], rows["high"][last] = low[first], high[last]
    rows["quote_volume"] = rows["volume"] * rows["close"]
    rows["taker_buy_quote"] = rows["quote_volume"] / 2
    return rows


class World:
    """The bars of one symbol at a venue, and a store into which they come in any order."""

    def __init__(self, database: Database, seed: int = 1) -> None:
        self.database = database
        hours = good_rows(BARS, seed=seed)
        self.rows = {H1: hours, M15: parts_of(hours, Timeframe.M15, seed), M5: parts_of(hours, Timeframe.M5, seed + 1)}
        gone = np.random.default_rng(seed).random(len(self.rows[M5]["ts"])) < 0.02
        self.rows[M5] = slots(self.rows[M5], np.flatnonzero(~gone))
        self.start = int(hours["ts"][0])

    def store(self, chosen: tuple[Series, int, int]) -> None:
        series, first, hours = chosen
        within = Interval(self.start + first * HOUR, self.start + min(BARS, first + hours) * HOUR)
        opens = self.rows[series]["ts"]
        inside = np.flatnonzero((opens >= within.start_ms) & (opens < within.end_ms))
        store(self.database, series, slots(self.rows[series], inside), within, known_at_ms=now_ms())

    def restate(self, chosen: tuple[Series, int]) -> None:
        """Another part of the hour now has its extremes; an hour is a little wider."""
        series, hour = chosen
        rows, within = self.rows[series], self.start + hour * HOUR
        inside = np.flatnonzero((rows["ts"] >= within) & (rows["ts"] < within + HOUR))
        if series is H1:
            rows["high"][inside] *= 1.004
        else:
            for name in ("open", "high", "low", "close"):
                rows[name][inside] = rows[name][inside][::-1]
            rows["quote_volume"][inside] = rows["volume"][inside] * rows["close"][inside]
            rows["taker_buy_quote"][inside] = rows["quote_volume"][inside] / 2
        self.store((series, hour, 1))

    def run(self, _: object = None) -> Outcome:
        with take_series(self.database, "binance", H1, "test", 60.0) as lease:
            technical_indicators.bring_up_to_date(self.database, lease, ())
            market_structure.bring_up_to_date(self.database, lease, 5)
            signals.bring_up_to_date(self.database, lease, STRATEGY, TRIAL.rules)
            return backtest_results.bring_up_to_date(self.database, lease, TRIAL, run_id="test")

    def run_to_the_end(self, reports: Path) -> None:
        self.run()
        with take_series(self.database, "binance", H1, "test", 60.0) as lease:
            performance_metrics.bring_up_to_date(self.database, lease, TRIAL, reports)

    def result(self) -> backtests.BacktestHeader:
        return backtests.read_backtest(self.database, STRATEGY.name, H1, TRIAL.config)[1]

    def asked(self) -> pd.DataFrame:
        identity = backtests.read_backtest(self.database, STRATEGY.name, H1, TRIAL.config)[0]
        return ambiguous_bars.read_ambiguous_bars(self.database, identity)


def contents(world: World) -> tuple[object, ...]:
    """All that was computed: the fingerprint of the trades, the engine's bytes, what was asked and what was told."""
    identity, header = backtests.read_backtest(world.database, STRATEGY.name, H1, TRIAL.config)
    states = checkpoints.read_checkpoints(world.database, identity)
    trades = world.database.rows("SELECT to_jsonb(t) - 'backtest_id' FROM backtest_trades AS t ORDER BY number")
    own = state.read_state(world.database, "backtest_results", H1)
    return header.trades_sha256, header.metrics, header.bars, trades, world.asked().to_csv(), states, bytes(own.state)


def everything(world: World) -> World:
    for series in ALL:
        world.store((series, 0, BARS))
    world.run()
    return world


HOURS = st.integers(0, BARS - 1)
ACTIONS = st.one_of(
    st.tuples(st.just("store"), st.tuples(st.sampled_from(ALL), HOURS, st.integers(1, BARS))),
    st.tuples(st.just("restate"), st.tuples(st.sampled_from(ALL), HOURS)),
    st.tuples(st.just("run"), st.none()),
)
RUN = ("run", None)


@given(seed=st.integers(0, 99), actions=st.lists(ACTIONS, max_size=8))
@example(1, [("store", (H1, 0, BARS)), RUN, ("store", (M5, 0, BARS)), RUN, ("store", (M15, 0, BARS)), RUN])
@example(2, [("store", (M15, 0, BARS)), ("store", (H1, 0, 70)), RUN, ("store", (H1, 70, 30)), RUN, ("restate", (M15, 30)), RUN])
@example(3, [("store", (one, 0, BARS)) for one in ALL] + [RUN] + [("restate", (M5, hour)) for hour in range(0, 90, 9)] + [RUN])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_one_run_at_the_end_gives_what_a_fresh_store_gives(postgres_server, seed, actions) -> None:
    with fresh_database(postgres_server) as database, fresh_database(postgres_server) as whole:
        world, fresh = World(database, seed), World(whole, seed)
        for name, argument in actions:
            getattr(world, name)(argument)
        fresh.rows = world.rows
        assert contents(everything(world)) == contents(everything(fresh))
        assert fresh.result().metrics["told_apart_bars"] > 0


def test_bars_that_come_one_by_one_are_told_apart_as_all_at_once(postgres_server) -> None:
    with fresh_database(postgres_server) as database, fresh_database(postgres_server) as whole:
        world, fresh = World(database), everything(World(whole))
        for series in (M15, M5):
            world.store((series, 0, BARS))
        for hour in range(BARS):
            world.store((H1, hour, 1))
            if hour >= BARS - 30:
                world.run()
        assert contents(world) == contents(fresh)


def simulated_from(database: Database) -> int:
    """The open time of the first bar that the last simulation made anew."""
    statement = "SELECT first_ts FROM series_changes WHERE asset = 'backtest_results' ORDER BY revision DESC LIMIT 1"
    return to_ms(database.rows(statement)[0][0])


def test_finer_bars_that_come_a_little_late_never_cost_a_simulation_from_the_first_bar(postgres_server, tmp_path) -> None:
    """Every hour is simulated before its quarters are there; the days that follow are those of a fresh store, too."""
    with fresh_database(postgres_server) as database, fresh_database(postgres_server) as whole:
        world, fresh, back, late = World(database), World(whole), list[int](), 20
        for series in (H1, M15):
            world.store((series, 0, BARS - late))
            fresh.store((series, 0, BARS))
        world.run_to_the_end(tmp_path / "stepped")
        for hour in range(BARS - late, BARS):
            for series in (H1, M15):
                world.store((series, hour, 1))
                world.run()
                back.append(hour - (simulated_from(database) - world.start) // HOUR)
        for one, reports in ((world, "stepped"), (fresh, "whole")):
            one.run_to_the_end(tmp_path / reports)
        assert contents(world) == contents(fresh) and days(world).equals(days(fresh))
        assert np.count_nonzero(back) > 3 and max(back) < 2 * CHECKPOINT_BARS and world.start < simulated_from(database)


def days(world: World) -> pd.DataFrame:
    identity = backtests.read_backtest(world.database, STRATEGY.name, H1, TRIAL.config)[0]
    return backtests.read_daily(world.database, identity)


def test_only_finer_bars_that_were_asked_make_a_result_anew(database, monkeypatch) -> None:
    world = World(database)
    world.store((H1, 0, BARS))
    before = world.run()
    asked = world.asked()
    assert before.facts["ambiguous_bars"] == len(asked) > 5 and before.facts["told_apart_bars"] == 0
    hours = (asked["ts"].to_numpy() - world.start) // HOUR
    others = np.setdiff1d(np.arange(BARS), hours)

    def revisions() -> tuple[int, ...]:
        return state.read_state(database, "backtest_results", H1).further_revisions

    with monkeypatch.context() as patch:
        patch.setattr(market_data, "read", lambda *_, **__: pytest.fail("bars were read, and nothing is new"))
        world.run()
        for hour in others[:5]:
            world.store((M15, int(hour), 1))
        told = world.run()
    assert told.revision == before.revision and told.written == 0
    assert revisions() == finer_revisions(database, H1) and any(revisions())

    world.store((M15, int(hours[0]), 1))
    after = world.run()
    assert after.revision == before.revision + 1 and after.facts["told_apart_bars"] == after.facts["told_apart_by_15m"] == 1
    assert after.facts["ambiguous_bars"] == before.facts["ambiguous_bars"] - 1
    world.store((M15, int(hours[0]), 1))
    assert world.run().revision == after.revision, "the same bars once more are no change"
    shown = outcome_metadata(after, pictured=False)
    assert shown["told_apart_bars"].value == shown["told_apart_by_15m"].value == 1


def results_of(entry: dict) -> list[dict]:
    return entry["touched"]["backtest_results"]


def test_the_ledger_names_the_coarser_results_that_asked_restated_bars(database, tmp_path: Path, monkeypatch) -> None:
    world, home = World(database), settings_for("http://127.0.0.1:1", tmp_path)
    for series in (H1, M15):
        world.store((series, 0, BARS - 1))
    world.run()
    trial = Trial("trial", STRATEGY, TRIAL.rules, NEAR)
    trials = (trial, replace(trial, known_at_ms=now_ms()))
    of_trials = [run_trial(database, home, H1, one, "test", ignore_progress) for one in trials]
    asked = world.asked()
    hours = (asked["ts"].to_numpy() - world.start) // HOUR
    told, other = int(hours[asked["finer_timeframe"] == "15m"][0]), int(np.setdiff1d(np.arange(BARS - 1), hours)[3])
    fingerprint = world.result().trades_sha256
    world.restate((M15, other))
    world.restate((M15, told))
    entry, unasked = read_ledger(database)
    assert results_of(unasked) == [] and unasked["recomputed_at"] is not None
    scheduled, by_hand = results_of(entry)
    assert (scheduled["kind"], scheduled["timeframe"], scheduled["strategy"]) == ("scheduled", "1h", STRATEGY.name)
    assert (by_hand["kind"], by_hand["id"]) == ("trial", of_trials[0]["backtest_id"])
    statement = "SELECT count(*) FROM backtest_trades WHERE backtest_id = %s AND exit_ts >= %s"
    since = to_datetime(world.start + told * HOUR)
    assert [one["trades"] for one in results_of(entry)] == [
        database.rows(statement, (one["id"], since))[0][0] for one in results_of(entry)
    ]
    assert entry["timeframe"] == "15m" and entry["recomputed_at"] is None, "its bars are judged, the result is as it was"

    # The result of a new hour by a run that had looked at the finer bars before they changed.
    seen = state.read_state(database, "backtest_results", H1).further_revisions
    world.store((H1, BARS - 1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(backtest_results, "finer_revisions", lambda *_: seen)
        world.run()
    assert world.result().bars == BARS
    assert read_ledger(database)[0]["recomputed_at"] is None
    world.run()
    assert read_ledger(database)[0]["recomputed_at"] is not None and world.result().trades_sha256 != fingerprint


def test_bars_that_shorter_ones_told_apart_do_not_depend_on_longer_ones(database) -> None:
    world = everything(World(database))
    asked = world.asked().set_index("finer_timeframe")["ts"]
    for code, touches in (("5m", False), ("15m", True)):
        world.restate((M15, int(asked.loc[[code]].iloc[0] - world.start) // HOUR))
        assert bool(results_of(read_ledger(database)[0])) is touches
    world.restate((M5, int(asked.loc[["5m"]].iloc[0] - world.start) // HOUR))
    assert [one["timeframe"] for one in results_of(read_ledger(database)[0])] == ["1h"]


def test_filled_and_missing_finer_bars_tell_nothing(database) -> None:
    world = World(database)
    world.store((H1, 0, BARS))
    world.run()
    hours = ((world.asked()["ts"].to_numpy() - world.start) // HOUR)[:4]
    world.store((M15, 0, BARS))
    for number, hour in enumerate(hours):
        missing = pd.Timestamp(world.start + int(hour) * HOUR + 2 * Timeframe.M15.ms, unit="ms", tz="UTC")
        change = "SET is_filled = true" if number % 2 else "SET ts = ts + interval '1 minute'"
        database.rows(
            f"UPDATE market_data {change} WHERE timeframe = '15m' AND ts = %s RETURNING 1",  # noqa: S608 - of the line above
            (missing.to_pydatetime(),),
        )
    world.run()
    asked = world.asked().set_index("ts")
    assert asked.loc[world.start + hours * HOUR, "finer_timeframe"].isna().all()
    assert (asked["finer_timeframe"] == "15m").sum() > 5


def test_the_shortest_complete_timeframe_is_read_and_no_other(database) -> None:
    world = everything(World(database))
    asked = world.asked()
    assert set(asked["finer_timeframe"]) == {"5m", "15m"}
    opens = pd.Series(world.rows[M5]["ts"] // HOUR * HOUR)
    complete = opens.value_counts() == 12
    for ts, code in asked[["ts", "finer_timeframe"]].itertuples(index=False):
        assert code == ("5m" if complete[ts] else "15m")
    readers = finer_readers(database, H1, finer_revisions(database, H1))
    assert list(readers) == [Timeframe.M5, Timeframe.M15]
    hours = world.start + np.array([3, 4, 90]) * HOUR
    frame = readers[Timeframe.M15](hours)
    assert (frame.index.floor("h").unique() == pd.to_datetime(hours, unit="ms", utc=True)).all() and len(frame) == 12


def test_a_trial_asks_the_bars_that_were_known(database, tmp_path: Path) -> None:
    world, home = World(database), settings_for("http://127.0.0.1:1", tmp_path)

    def trial(known_at_ms: int | None = None) -> dict:
        chosen = Trial("trial", STRATEGY, TRIAL.rules, NEAR, None, known_at_ms)
        return run_trial(database, home, H1, chosen, "test", ignore_progress)

    moments = []
    world.store((H1, 0, BARS))
    for step in (lambda: world.store((M15, 0, BARS)), lambda: [world.restate((M15, hour)) for hour in range(0, BARS, 3)]):
        moments.append((now_ms(), trial()))
        step()
    moments.append((now_ms(), trial()))
    told = [result["trades_sha256"] for _, result in moments]
    assert len(set(told)) == 3, "each step told apart other bars"
    for known_at, then in moments:
        again = trial(known_at)
        assert again["trades_sha256"] == then["trades_sha256"] and again["metrics"] == then["metrics"]
        assert again["config"] == {**then["config"], "known_at": known_at}
    last = moments[-1][1]
    assert last["metrics"]["told_apart_by_15m"] == last["metrics"]["told_apart_bars"] > 5
    assert f"told apart by finer ones: {last['metrics']['told_apart_bars']} by 15m bars" in Path(last["report"]).read_text()
    world.run()
    assert world.result().trades_sha256 == last["trades_sha256"], "the scheduled result is told the same"


def test_finer_bars_as_known_are_read_at_once_and_are_those_of_the_whole(database, monkeypatch) -> None:
    world, asked = World(database), []
    for name in ("rows", "read"):
        real = getattr(Database, name)
        monkeypatch.setattr(Database, name, lambda *given, real=real, **named: asked.append(1) or real(*given, **named))
    world.store((M5, 10, 95))
    moments = [now_ms()]
    for hour in range(0, BARS, 4):
        world.restate((M5, hour))
        moments.append(now_ms())
    chosen = world.start + HOUR * np.array([0, 3, 8, 10, 16, 49, 50, 52, 55, 60, 96, BARS - 1, BARS + 5])
    for known_at in (moments[0], moments[len(moments) // 2], moments[-1]):
        whole = pd.concat(read_bars(database, M5, None, known_at))
        expected = whole[~whole["is_filled"] & np.isin(whole.index.floor("h").as_unit("ms").asi8, chosen)]
        reader = finer_readers(database, H1, finer_revisions(database, H1), known_at)[Timeframe.M5]
        asked.clear()
        found = reader(chosen)
        pd.testing.assert_frame_equal(found, expected)
        assert len(expected) > 90 and len(asked) == 3
        assert reader(chosen[:0]).empty
    assert finer_readers(database, H1, finer_revisions(database, H1), 1_000) == {}


def test_metrics_of_the_days_keep_the_counts(database, tmp_path: Path) -> None:
    world = everything(World(database))
    counted = {name: value for name, value in world.result().metrics.items() if name.startswith(("told", "ambiguous_bars"))}
    with take_series(database, "binance", H1, "test", 60.0) as lease:
        shown = performance_metrics.bring_up_to_date(database, lease, TRIAL, tmp_path)
    assert counted.items() <= world.result().metrics.items() and counted["told_apart_bars"] > 5
    assert "told apart by finer ones" in Path(shown.facts["report"]).read_text()


def test_what_is_finer() -> None:
    assert finer_than(Timeframe.M1) == ()
    assert [one.code for one in finer_than(Timeframe.H1)] == ["1m", "5m", "15m", "30m"]
    assert len(finer_than(Timeframe.W1)) == 7
