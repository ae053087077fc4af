"""Whatever is done to a series in whatever order (parts of the chain alone, windows, trials, restatements, kills in the middle
of a write), one run of the whole chain afterwards gives the tables of having done it once."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain import receive, validated_bars
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.jobs import CHAIN_ASSETS
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import (
    BARS,
    HOUR,
    SERIES,
    START,
    assert_same,
    bring_up_to_date,
    venue_with,
    walk_bars,
)

HOURS = st.integers(1, BARS - 1)
ACTIONS = st.one_of(
    st.tuples(st.just("advance"), HOURS),
    st.tuples(st.just("run"), st.sets(st.sampled_from(CHAIN_ASSETS), min_size=1).map(tuple)),
    st.tuples(st.just("window"), st.tuples(HOURS, st.integers(1, 400), st.integers(0, 59))),
    st.tuples(st.just("restate"), st.tuples(HOURS, st.booleans())),
    st.tuples(st.just("trial"), st.booleans()),
    st.tuples(st.just("killed"), st.integers(0, 14)),
)


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it and go on."""


class Mortal(Database):
    """A database whose user is killed as it opens its n-th transaction for writing."""

    def __init__(self, database: Database, after: int):
        self.__dict__.update(database.__dict__)
        self._left = after

    @contextmanager
    def transaction(self):
        if self._left == 0:
            raise Killed
        self._left -= 1
        with super().transaction() as cursor:
            yield cursor


class World:
    """One series at a venue whose clock and bars change, and a store that is treated badly."""

    def __init__(self, database, folder):
        self.database, self.folder, self.version = database, folder, 0
        self.frame, self.clock = walk_bars(23, {200, 201, 640}), FixedClock(START + 50 * HOUR)

    @contextmanager
    def venue(self):
        with venue_with(self.frame, self.folder / str(self.version), self.clock) as url:
            yield url

    def steps(self, url, assets=CHAIN_ASSETS, window=None, database=None):
        chosen = settings_for(url, self.folder)
        store = database or self.database
        steps = chain_steps(store, open_venue(chosen), chosen, "any", window)
        hold = holding(self.database, "binance", chosen, "any")
        return list(walk([SERIES], [step for step in steps if step.asset in assets], hold, 1))

    def advance(self, hour):
        self.clock.at_ms = max(self.clock.at_ms, START + hour * HOUR + 60_000)

    def run(self, assets):
        with self.venue() as url:
            self.steps(url, assets)

    def window(self, chosen):
        start, hours, minutes = chosen
        with self.venue() as url:
            begin = START + start * HOUR + minutes * 60_000
            self.steps(url, CHAIN_ASSETS[:2], Interval(begin, begin + hours * HOUR))

    def restate(self, chosen):
        hour, bad = chosen
        row = self.frame.index[self.frame.index.get_indexer([hour], method="nearest")[0]]
        self.frame.loc[row, "close"] = self.frame.loc[row, "high"] * (3 if bad else 1)
        self.version += 1
        with self.venue() as url:
            begin = START + int(row) * HOUR
            self.steps(url, ("raw_ohlcv",), Interval(begin, begin + HOUR))

    def trial(self, scheduled_parameters):
        chosen = settings_for("http://127.0.0.1:1", self.folder)
        asked = {} if scheduled_parameters else {"take_profit": 0.05}
        try:
            trial = chosen_trial(chosen, chosen.strategy, asked)
            run_trial(self.database, chosen, SERIES, trial, "any", ignore_progress)
        except CryptaiError as error:
            assert "no validated bars" in str(error)

    def killed(self, transactions):
        with self.venue() as url:
            try:
                self.steps(url, database=Mortal(self.database, transactions))
            except Killed:
                pass

    def assert_one_run_rebuilds_the_same(self, whole):
        """Once all is brought up to date, the tables are those of `whole`, a fresh database in which that was done once."""
        with self.venue() as url:
            # A window starts a series where it was asked to; the whole history is what both are compared on.
            bring_up_to_date(self.database, url, self.folder, Interval(0, self.clock.at_ms))
            bring_up_to_date(self.database, url, self.folder)
            bring_up_to_date(whole, url, self.folder)
        self.database.rows("DELETE FROM backtest_results WHERE config ->> 'kind' = 'trial' RETURNING id")
        assert_same(self.database, whole)


@given(actions=st.lists(ACTIONS, max_size=7))
@example([("run", CHAIN_ASSETS), ("advance", 900), ("run", CHAIN_ASSETS[:2]), ("trial", True)])
@example([("advance", 800), ("run", CHAIN_ASSETS[:2]), ("run", ("signals",)), ("run", ("performance_metrics",))])
@example([("advance", 500), ("run", CHAIN_ASSETS), ("advance", 700), ("run", CHAIN_ASSETS[:3]), ("run", CHAIN_ASSETS[4:])])
@example([("advance", 700), ("run", CHAIN_ASSETS[:2]), ("run", ("market_structure", "signals")), ("restate", (300, False))])
@example([("advance", 700), ("killed", 4), ("trial", True), ("killed", 7)])
@example([("advance", 900), ("window", (600, 200, 30)), ("window", (100, 50, 0)), ("killed", 2)])
@example([("advance", 900), ("run", CHAIN_ASSETS), ("restate", (899, True))])
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_chain_recovers_from_anything(postgres_server, tmp_path_factory, actions):
    with (
        pytest.MonkeyPatch.context() as patch,
        fresh_database(postgres_server) as database,
        fresh_database(postgres_server) as whole,
    ):
        patch.setattr(receive, "PAGES_PER_COMMIT", 1)
        patch.setattr(validated_bars, "BARS_PER_COMMIT", 150)
        world = World(database, tmp_path_factory.mktemp("world"))
        for name, argument in actions:
            getattr(world, name)(argument)
        world.assert_one_run_rebuilds_the_same(whole)


def test_a_second_writer_is_kept_out_for_the_whole_walk(database, tmp_path):
    world = World(database, tmp_path)
    with world.venue() as url:
        chosen = settings_for(url, tmp_path)
        with holding(database, "binance", chosen, "first")(SERIES):
            [refused] = world.steps(url)
            assert refused.failed_at == "raw_ohlcv" and "is being written by first" in refused.error
            assert database.rows("SELECT count(*) FROM raw_ohlcv") == [(0,)]
        [done] = world.steps(url)
        assert done.error is None


def test_a_simulated_market_is_never_mixed_with_a_real_one(database, tmp_path):
    from cryptai_pipelines.orchestration.listings import know_listing, store_listing
    from cryptai_pipelines.replay.server import running
    from cryptai_pipelines.replay.simulated import open_simulated

    world = World(database, tmp_path)
    with world.venue() as url:
        know_listing(database, open_venue(settings_for(url, tmp_path)), [SERIES.symbol])
        assert world.steps(url)[0].error is None
    before = database.rows("SELECT count(*) FROM raw_ohlcv")
    world.advance(300)
    with running(open_simulated(1, 1, world.clock)) as url:
        [refused] = world.steps(url)
        assert "serves a simulated market now and this store holds a real one" in refused.error
        with pytest.raises(CryptaiError, match="another CRYPTAI_HOME"):
            store_listing(database, open_venue(settings_for(url, tmp_path)))
    assert database.rows("SELECT count(*) FROM raw_ohlcv") == before


def test_a_window_after_the_last_closed_bar_is_refused(database, tmp_path):
    world = World(database, tmp_path)
    with world.venue() as url:
        [refused] = world.steps(url, CHAIN_ASSETS, Interval(START + 500 * HOUR, START + 600 * HOUR))
    assert "2021-01-21T20:00:00Z" in refused.error and "before 2021-01-03T" in refused.error


def test_a_series_that_nothing_is_due_of_is_passed_over(database, tmp_path):
    world = World(database, tmp_path)
    with world.venue() as url:
        assert world.steps(url)[0].error is None
        chosen = settings_for(url, tmp_path)
        asked = database.rows("SELECT count(*) FROM fetch_log")
        steps = chain_steps(database, open_venue(chosen), chosen, "tick", only_due=True)
        [result] = walk([SERIES], steps, holding(database, "binance", chosen, "tick"), 1)
    assert result.error is None and result.outcomes[0].facts["due"] is False
    assert database.rows("SELECT count(*) FROM fetch_log") == asked
