"""Stored structure is what the rules give for the stored bars, whatever was done to them and wherever a run was killed; of what
a change does not reach nothing is touched."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators import chunks, higher_structure
from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.indicators.structure_readings import READINGS, begin_readings, carry_readings, structure_readings
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import market_structure, staleness
from cryptai_pipelines.orchestration.chain.market_structure import read_structure
from cryptai_pipelines.orchestration.chain.outcome import Outcome
from cryptai_pipelines.storage import market_data, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines.storage.tables import STRUCTURE_COLUMNS
from cryptai_pipelines_tests.orchestration.test_any_order import Killed, Mortal
from cryptai_pipelines_tests.storage.bars_examples import bar_rows, fresh_series

HOUR = Timeframe.H1.ms
CHUNK = 16
# The first bar lies in the middle of a chunk.
START = chunk_start(1_600_000_000_000, Timeframe.H1) + 5 * HOUR
BARS = "validated_bars"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks and averages so short that most of a series is soon out of reach of a change."""
    for module in (chunks, staleness):
        monkeypatch.setattr(module, "CHUNK_BARS", CHUNK)
    monkeypatch.setattr(staleness.blocks, "__defaults__", (3,))
    for name, bars in (("FAST", 2), ("SLOW", 3), ("TREND_BARS", 6)):
        monkeypatch.setattr(higher_structure, name, bars)


class Store:
    """One series whose validated bars are written by hand."""

    def __init__(self, database: Database, timeframe: Timeframe = Timeframe.H1) -> None:
        self.database, self.series, self.length = database, fresh_series(timeframe), 2

    def put(self, slots: list[int], seed: int) -> None:
        """Bars at these hours after the start, which depend on the seed and the hour."""
        rows = bar_rows(START + self.series.timeframe.ms * np.array(sorted(slots), dtype="int64"), seed)
        with self.database.transaction() as cursor:
            self._record(cursor, market_data.upsert(cursor, self.series, rows, "binance", "rest"))

    def take(self, slots: list[int]) -> None:
        """As when bars were restated into bad ones."""
        keys, times = (
            (self.series.symbol, self.series.timeframe.code),
            [pd.Timestamp(START + s * HOUR, unit="ms", tz="UTC") for s in slots],
        )
        with self.database.transaction() as cursor:
            cursor.execute("DELETE FROM market_data WHERE symbol = %s AND timeframe = %s AND ts = ANY(%s)", (*keys, times))
            gone = cursor.rowcount
            self._record(cursor, Change(0, gone, START + min(slots) * HOUR, START + max(slots) * HOUR) if gone else Change())

    def _record(self, cursor, change: Change) -> None:
        span = market_data.span(cursor, self.series)
        state.record_change(cursor, BARS, self.series, change)
        if span is not None:
            # `end_ms` of the span of stored bars is the open time of the last.
            state.write_state(cursor, BARS, self.series, code_version="1", first_ts=span.start_ms, last_ts=span.end_ms)

    def run(self, after: int | None = None) -> Outcome | None:
        """Bring the structure up to date; killed as the transaction after the next `after` begins."""
        store = self.database if after is None else Mortal(self.database, after)
        try:
            with take_series(self.database, "binance", self.series, "test", 60.0) as lease:
                return market_structure.bring_up_to_date(store, lease, self.length)
        except Killed:
            return None

    def bars(self) -> pd.DataFrame:
        return market_data.read(self.database, self.series)

    def assert_right(self) -> None:
        """Rows, states and checkpoints are those of the bars that are stored."""
        bars, timeframe = self.bars(), self.series.timeframe
        told = read_structure(self.database, self.series, Interval(0, 2**42))
        pd.testing.assert_frame_equal(told, structure_readings(bars, timeframe, self.length), check_exact=True)
        if bars.empty:
            return
        own = state.read_state(self.database, market_structure.ASSET, self.series)
        carried, opens = begin_readings(timeframe, self.length), index_ms(bars.index)
        kept = dict(
            self.database.rows(
                "SELECT (1000 * extract(epoch FROM at))::bigint, state FROM structure_checkpoints WHERE symbol = %s",
                (self.series.symbol,),
            )
        )
        first, known = chunk_start(int(opens[0]), timeframe) + CHUNK * timeframe.ms, 0
        assert min(kept, default=first) >= int(opens[0]) and max(kept, default=0) <= int(opens[-1])
        for edge in range(first, int(opens[-1]) + 1, CHUNK * timeframe.ms):
            end = int(np.searchsorted(opens, edge))
            _, carried = carry_readings(carried, bars.iloc[known:end])
            assert bytes(kept[edge]) == carried.to_bytes(), edge
            known = end
        assert own.state == carry_readings(carried, bars.iloc[known:])[1].to_bytes()


SLOTS = st.integers(0, 159)
ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.sets(SLOTS, min_size=1, max_size=4).map(sorted), st.integers(1, 3)),
    st.tuples(st.just("take"), st.sets(SLOTS, min_size=1, max_size=3).map(sorted)),
    st.tuples(st.just("grow"), st.integers(1, 40)),
    st.tuples(st.just("run"), st.none()),
    st.tuples(st.just("run"), st.integers(0, 4)),
    st.tuples(st.just("turn"), st.integers(1, 3)),
)


@given(actions=st.lists(ACTIONS, max_size=14))
# Killed after a part, and what it was for is taken back.
@example([("grow", 150), ("run", None), ("put", [3], 2), ("run", 1), ("put", [3], 1), ("run", None)])
@example([("grow", 150), ("run", None), ("turn", 3), ("run", 1), ("turn", 2), ("run", None)])
@example([("grow", 150), ("run", None), ("put", [3, 120], 2), ("run", 2), ("put", [120], 1), ("run", 1), ("take", [60])])
@example([("grow", 60), ("run", None), ("grow", 100), ("run", 1), ("take", [70]), ("run", None)])
@example([("grow", 150), ("run", None), ("take", [147, 148, 149]), ("run", 0), ("grow", 5)])
# The first bars, or the last ones, are gone when another length makes all anew.
@example([("put", [0, 1], 1), ("run", None), ("take", [0]), ("turn", 1)])
@example([("grow", 60), ("run", None), ("take", [58, 59]), ("turn", 1), ("run", 0), ("turn", 3)])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_whatever_happened_one_run_tells_what_the_bars_say(database_per_module, actions) -> None:
    store, grown = Store(database_per_module), 0
    for name, *arguments in actions:
        if name == "grow":
            store.put(list(range(grown, min(160, grown + arguments[0]))) or [159], 1)
            grown = min(160, grown + arguments[0])
        elif name == "turn":
            store.length = arguments[0]
        else:
            getattr(store, name)(*arguments)
    store.run()
    if actions:
        store.assert_right()
    again = store.run()
    assert again.written == 0


def test_a_change_reaches_as_far_as_it_shows_and_no_further(database) -> None:
    """Two bars far apart are restated: between them and after them most rows are not looked at again."""
    store = Store(database)
    store.put(list(range(3_000)), 1)
    store.run()
    before = state.read_state(database, market_structure.ASSET, store.series).revision
    for slot in (500, 2_000):
        store.put([slot], 2)
    store.run()
    store.assert_right()
    spans = state.changes_since(database, market_structure.ASSET, store.series, before)
    assert [start for start, _ in spans] == [START + 500 * HOUR, START + 2_000 * HOUR]
    assert all(end == chunk_start(end, Timeframe.H1) for _, end in spans)
    assert sum(end - start for start, end in spans) < 1_000 * HOUR


def test_a_bar_more_is_a_row_more(database) -> None:
    store = Store(database)
    for count in range(1, 70):
        store.put([count - 1], 1)
        outcome = store.run()
        assert outcome.written == 1
    store.assert_right()


def test_weeks_and_their_missing_readings_are_stored(database) -> None:
    assert list(STRUCTURE_COLUMNS) == list(READINGS)
    store = Store(database, Timeframe.W1)
    opens = Timeframe.W1.ceil(START) + Timeframe.W1.ms * np.arange(40)
    with database.transaction() as cursor:
        store._record(cursor, market_data.upsert(cursor, store.series, bar_rows(opens), "binance", "rest"))
    store.run()
    store.assert_right()
    assert database.rows("SELECT count(*) FROM market_structure WHERE higher_bias IS NULL AND bias IS NOT NULL") == [(40,)]
