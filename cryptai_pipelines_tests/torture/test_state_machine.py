"""Any order of pages, repetitions, restatements, crashes and retries, with two writers: what is stored is what was received."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.torture.crashes import CrashingDatabase, Fuse
from cryptai_pipelines_tests.torture.scripted_venue import (
    HOUR,
    Mood,
    Script,
    ScriptedVenue,
    Version,
    history_of,
    is_bad,
    spoiled,
    wire_values,
)
from cryptai_pipelines_tests.torture.tally import record, size

_START = 1_709_164_800_000
_BARS = 60
_SETTINGS = Settings(_env_file=None, home=Path("unused"), grace_seconds=0.0, overlap_bars=6)
_numbers = itertools.count(1)


def machine_on(url: str, injected: Counter[str]) -> type[RuleBasedStateMachine]:  # noqa: C901 - a class of small rules
    """The machine on a database; each of its runs has a series of its own."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.series = Series(f"M{next(_numbers)}-USDT", Timeframe.H1)
            bars = range(_START, _START + _BARS * HOUR, HOUR)
            script = Script(_START, {ts: [Version(ts + HOUR, wire_values(ts, 100.0, 101.0, 5.0))] for ts in bars})
            self.script = script
            self.venue = ScriptedVenue({self.series.symbol: script}, random.Random(1), _START + 3 * HOUR)
            self.fuse = Fuse()
            self.database = CrashingDatabase(url, self.fuse)
            self.settled = True

        def sync(self, window: Interval | None) -> SeriesResult:
            first = not self.database.rows("SELECT 1 FROM raw_ohlcv WHERE symbol = %s LIMIT 1", (self.series.symbol,))
            asked = window or (Interval(_START, self.venue.now_ms) if first else None)
            steps = data_steps(self.database, self.venue, _SETTINGS, "machine", asked)
            hold = holding(self.database, "binance", _SETTINGS, "machine")
            [result] = walk([self.series], steps, hold, 1)
            self.settled = result.error is None
            return result

        @rule(hours=st.integers(1, 12))
        def advance(self, hours: int) -> None:
            self.venue.now_ms = min(self.venue.now_ms + hours * HOUR, _START + _BARS * HOUR)

        @rule(back=st.integers(1, 10), close=st.integers(90, 110), bad=st.booleans())
        def revise(self, back: int, close: int, bad: bool) -> None:
            ts = max(_START, self.venue.now_ms // HOUR * HOUR - back * HOUR)
            values = wire_values(ts, 100.0, float(close), 5.0)
            self.script.versions[ts].append(Version(self.venue.now_ms, spoiled(values) if bad else values))
            injected["revision"] += 1

        @rule(rows=st.integers(1, 9), twice=st.sampled_from([0.0, 1.0]))
        def page(self, rows: int, twice: float) -> None:
            self.venue.mood = Mood(page_rows=rows, twice=twice)
            assert self.sync(None).error is None
            injected["pages twice" if twice else "pages"] += 1

        @rule()
        def retry_of_everything(self) -> None:
            self.venue.mood = Mood()
            assert self.sync(Interval(_START, self.venue.now_ms)).error is None
            injected["retry of everything"] += 1

        @rule(statements=st.integers(0, 90))
        def crash(self, statements: int) -> None:
            self.venue.mood = Mood(page_rows=5)
            self.database.rows("SELECT 1")
            self.fuse.light(statements + 1)
            try:
                self.sync(None)
            except Exception:
                if not self.fuse.dead:
                    raise
                self.settled = False
            injected["crash"] += self.fuse.dead
            self.fuse.light(None)
            self.database.close()

        @rule()
        def another_writer_holds_it(self) -> None:
            other = Database(url)
            try:
                with take_series(other, "binance", self.series, "the other", 60):
                    assert "is being written by the other" in (self.sync(None).error or "")
            finally:
                other.close()
            injected["two writers"] += 1

        @invariant()
        def tables_are_what_was_received(self) -> None:
            urls = self.database.rows("SELECT url FROM fetch_log WHERE symbol = %s ORDER BY id", (self.series.symbol,))
            history = history_of(self.venue.served[url][1] for (url,) in urls)
            stored = self.database.rows(
                "SELECT extract(epoch FROM ts)::bigint * 1000, revision, open, high, low, close FROM raw_ohlcv"
                " WHERE symbol = %s ORDER BY ts, revision",
                (self.series.symbol,),
            )
            told = sorted(history.items())
            assert stored == [(ts, number, *values[:4]) for ts, all_of in told for number, values in enumerate(all_of)]

            if self.settled:
                good = [(ts, *all_of[-1][:4]) for ts, all_of in told if not is_bad(all_of[-1])]
                assert self.bars() == good

        def bars(self) -> list[tuple]:
            return self.database.rows(
                "SELECT extract(epoch FROM ts)::bigint * 1000, open, high, low, close FROM market_data WHERE symbol = %s"
                " ORDER BY ts",
                (self.series.symbol,),
            )

        def teardown(self) -> None:
            injected["sequences"] += 1
            self.database.close()

    return Machine


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_any_order_of_events_leaves_the_tables_equal_to_the_model(database: Database) -> None:
    injected: Counter[str] = Counter()
    run_state_machine_as_test(
        machine_on(database.url, injected),
        settings=settings(
            max_examples=size(15, 400),
            stateful_step_count=15,
            deadline=None,
            database=None,
            derandomize=size(1, 0) == 1,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for what, count in injected.items():
        record("state machine", what, count)
    assert min(injected[what] for what in ("crash", "revision", "two writers")) > 0
