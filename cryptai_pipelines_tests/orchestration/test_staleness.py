"""What a changed bar makes stale is what can see it, no more: against a brute-force look at every chunk's window, and through
the whole chain on a long series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.indicators.chunks import CHUNK_BARS, chunk_start, warmup_bars
from cryptai_pipelines.indicators.registry import DEFAULT_SET
from cryptai_pipelines.market.clock import FixedClock, format_time
from cryptai_pipelines.market.intervals import Interval, merged
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import staleness, steps
from cryptai_pipelines.orchestration.chain.restatement import read_ledger
from cryptai_pipelines.orchestration.chain.staleness import Stale, find_stale, reached, remember
from cryptai_pipelines.storage import market_data, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration import test_chain_properties as small
from cryptai_pipelines_tests.orchestration.test_chain_properties import HOUR, SERIES, assert_same, bring_up_to_date, venue_with
from cryptai_pipelines_tests.storage.bars_examples import bar_rows, fresh_series

_CHUNK = 8
_SLOTS = 60
_BASE = chunk_start(1_600_000_000_000, Timeframe.H1) // (_CHUNK * HOUR) * (_CHUNK * HOUR)


def window_of(bars: dict[int, int], chunk: int, warmup: int) -> tuple:
    """The bars (slot and value) that the values of a chunk are made of."""
    begin = chunk * _CHUNK
    before = sorted(slot for slot in bars if slot < begin)[-warmup:] if warmup else []
    return tuple((slot, bars[slot]) for slot in [*before, *(s for s in sorted(bars) if begin <= s < begin + _CHUNK)])


@given(
    holes=st.sets(st.integers(0, _SLOTS - 1), max_size=12),
    changes=st.dictionaries(st.integers(0, _SLOTS - 1), st.sampled_from([None, 1]), min_size=1, max_size=3),
    warmup=st.integers(0, 20),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_chunk_whose_window_changed_is_reached(database_per_module, holes, changes, warmup) -> None:
    before = {slot: 0 for slot in range(_SLOTS) if slot not in holes}
    after = {slot: value for slot, value in (before | changes).items() if value is not None}
    changed = sorted(slot for slot in {*before, *after} if before.get(slot) != after.get(slot))
    if not changed or not after:
        return
    series = fresh_series()
    opens = np.array([_BASE + slot * HOUR for slot in sorted(after)])
    with database_per_module.transaction() as cursor:
        market_data.upsert(cursor, series, bar_rows(opens), "binance", "rest")
    spans = merged(Interval(_BASE + slot * HOUR, _BASE + (slot + 1) * HOUR) for slot in changed)
    end = max(int(opens[-1]) + HOUR, spans[-1].end_ms)
    stale = Stale("a", series, spans[0].start_ms, end, tuple(spans), state.SeriesState("b", series), None, "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BARS", _CHUNK)
        patch.setattr(staleness, "CHUNK_BARS", _CHUNK)
        found = reached(database_per_module, stale, warmup)
    assert found == merged(found) and found[-1].end_ms <= end
    inside = [any(one.start_ms <= _BASE + slot * HOUR < one.end_ms for one in found) for slot in range(_SLOTS)]
    for slot in {*before, *after}:
        # In the chunk of a change only what comes after it can see it.
        if seen(before, slot, warmup) != seen(after, slot, warmup):
            assert inside[slot], (slot, found)
    if len(changed) == 1 and changed[0] in before and changed[0] in after:
        # One restated value: the reach is exact.
        for slot in after:
            differs = window_of(before, slot // _CHUNK, warmup) != window_of(after, slot // _CHUNK, warmup)
            assert inside[slot] == (differs and slot >= changed[0])


def seen(bars: dict[int, int], slot: int, warmup: int) -> list[tuple[int, int]]:
    """The bars up to `slot` that the values of its chunk are made of."""
    return [bar for bar in window_of(bars, slot // _CHUNK, warmup) if bar[0] <= slot]


SLOTS_OF_INPUTS = st.integers(0, 19)
TWO_INPUTS = ("first", "second")
INPUT_ACTIONS = st.one_of(
    st.tuples(st.sampled_from(TWO_INPUTS), SLOTS_OF_INPUTS, st.integers(1, 5)),
    st.tuples(st.just("asset"), st.just(0), st.booleans()),
)


@given(actions=st.lists(INPUT_ACTIONS, max_size=25))
@example([("first", 0, 5), ("second", 0, 5), ("asset", 0, True), ("first", 2, 5), ("asset", 0, True), ("second", 6, 2)])
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_changes_of_every_input_are_seen_in_any_order(database_per_module, actions) -> None:
    """Two inputs are brought up to date on their own, from where they stopped and by restated rows; the asset is made of both,
    now and then, and sometimes killed before it remembers. Once both have reached the end, so has the asset, and every row of
    it is made of the rows that both have now."""
    world = TwoInputs(database_per_module)
    for name, slot, argument in actions:
        world.bring_up_to_date(argument) if name == "asset" else world.write(name, slot, argument)
    end = max(len(rows) for rows in world.rows.values())
    for name in TWO_INPUTS:
        world.write(name, 0, end - len(world.rows[name]))
    world.bring_up_to_date(True)
    assert world.made == list(zip(*world.rows.values(), strict=True))
    assert world.find() is None


class TwoInputs:
    """Rows of two inputs as version numbers, one per slot from the first on, and those that the asset was made of."""

    def __init__(self, database: Database) -> None:
        self.database, self.series, self.made, self.count = database, fresh_series(), [], 0
        self.rows: dict[str, list[int]] = {name: [] for name in TWO_INPUTS}

    def write(self, name: str, slot: int, more: int) -> None:
        """A row at `slot` is another one, where there is any, and up to `more` further ones come, 20 at the most."""
        rows, self.count = self.rows[name], self.count + 1
        first = min(slot, len(rows))
        if slot < len(rows):
            rows[slot] = self.count
        rows += [self.count] * (min(20, len(rows) + more) - len(rows))
        if not rows or first >= len(rows):
            return
        span = (_BASE + first * HOUR, _BASE + (len(rows) - 1 if more else first) * HOUR)
        with self.database.transaction() as cursor:
            state.record_change(cursor, name, self.series, Change(1, 0, *span))
            last = _BASE + (len(rows) - 1) * HOUR
            state.write_state(cursor, name, self.series, code_version="1", first_ts=_BASE, last_ts=last)

    def find(self) -> Stale | None:
        return find_stale(self.database, "made", TWO_INPUTS[0], self.series, "1", TWO_INPUTS[1:])

    def bring_up_to_date(self, remembered: bool) -> None:
        stale = self.find()
        if stale is None:
            return
        for change in stale.changes:
            for slot in range((change.start_ms - _BASE) // HOUR, (change.end_ms - _BASE) // HOUR):
                self.made += [None] * (slot + 1 - len(self.made))
                self.made[slot] = tuple(self.rows[name][slot] for name in TWO_INPUTS)
        if remembered:
            with self.database.transaction() as cursor:
                remember(cursor, stale, spans=stale.changes)


def test_merged_intervals() -> None:
    given_ = [Interval(5, 7), Interval(0, 2), Interval(2, 3), Interval(6, 6), Interval(6, 9), Interval(20, 10)]
    assert merged(given_) == [Interval(0, 3), Interval(5, 9)]
    assert merged([]) == []


# The whole chain. Four chunks of hours; the slowest indicator needs less than half a chunk before each.
_HOURS = 4 * CHUNK_BARS
_FIRST = chunk_start(small.START, Timeframe.H1)


def long_bars(monkeypatch: pytest.MonkeyPatch, holes: set[int]) -> pd.DataFrame:
    monkeypatch.setattr(small, "BARS", _HOURS)
    monkeypatch.setattr(small, "START", _FIRST)
    # A sum since the first bar sees every bar before it.
    monkeypatch.setattr(steps, "stored_indicators", lambda settings: FORGETTING)
    return small.walk_bars(7, holes)


FORGETTING = tuple(spec for spec in DEFAULT_SET if spec.carry is None)


def changed_since(database: Database, revisions: dict[str, int]) -> dict[str, list[tuple[int, int]]]:
    """Per asset the spans that count as changed, as hours from the first bar, half open."""
    return {
        asset: [
            ((start - _FIRST) // HOUR, (end - _FIRST) // HOUR)
            for start, end in state.changes_since(database, asset, SERIES, revision)
        ]
        for asset, revision in revisions.items()
    }


def revisions(database: Database) -> dict[str, int]:
    assets = ("validated_bars", "technical_indicators", "market_structure", "signals")
    return {asset: state.read_state(database, asset, SERIES).revision for asset in assets}


def end_of(hour: int) -> int:
    """The first hour after the chunk that `hour` lies in."""
    return (hour // CHUNK_BARS + 1) * CHUNK_BARS


def test_a_restated_bar_renews_the_chunks_that_see_it_and_no_others(postgres_server, tmp_path: Path, monkeypatch) -> None:
    warmup = warmup_bars(FORGETTING)
    assert warmup < CHUNK_BARS // 2
    early, late, bad, hole = (
        2 * CHUNK_BARS + 100,
        2 * CHUNK_BARS - 200,
        CHUNK_BARS + 50,
        {CHUNK_BARS + 3_000, CHUNK_BARS + 3_001},
    )
    frame = long_bars(monkeypatch, hole)
    whole_frame = long_bars(monkeypatch, set())
    clock = FixedClock(_FIRST + _HOURS * HOUR + 60_000)
    versions = [frame.copy()]

    def restated(change) -> None:
        following = versions[-1].copy()
        change(following)
        versions.append(following)

    restated(lambda f: f.__setitem__("close", f["close"].where(f.index != early, f["low"])))
    restated(lambda f: f.__setitem__("close", f["close"].where(f.index != late, f["high"])))
    restated(lambda f: f.__setitem__("close", f["close"].where(f.index != bad, f["high"] * 10)))
    versions.append(pd.concat((versions[-1], whole_frame.loc[sorted(hole)])).sort_index())
    changes = [(early, early + 1), (late, late + 1), (bad, bad + 1), (min(hole), max(hole) + 1)]
    with fresh_database(postgres_server) as stepped, fresh_database(postgres_server) as whole:
        with venue_with(versions[0], tmp_path / "0", clock) as url:
            bring_up_to_date(stepped, url, tmp_path)
        for number, (start, end) in enumerate(changes, start=1):
            before = revisions(stepped)
            indicators_end = end_of(end - 1) if end_of(end - 1) - end >= warmup else end_of(end_of(end - 1))
            # A bar that is restated into a bad one takes its signal with it.
            signals = count_rows(stepped, start, end_of(indicators_end))
            with venue_with(versions[number], tmp_path / str(number), clock) as url:
                bring_up_to_date(stepped, url, tmp_path, Interval(_FIRST + start * HOUR, _FIRST + end * HOUR))
            changed = changed_since(stepped, before)
            # The averages of the higher timeframe forget a bar before the end of the series or after it.
            [(structure_start, structure_end)] = changed.pop("market_structure")
            assert structure_start == start and structure_end % CHUNK_BARS == 0
            seen_until = max(indicators_end, structure_end)
            assert changed == {
                "validated_bars": [(start, end)],
                "technical_indicators": [(start, indicators_end)],
                "signals": [(start, min(_HOURS, end_of(seen_until)))],
            }
            if start != min(hole):
                # The ledger has told beforehand what would be computed again.
                touched = read_ledger(stepped)[0]["touched"]
                assert touched["technical_indicators"]["until"] == format_time(_FIRST + indicators_end * HOUR)
                assert touched["signals"][0]["until"] == format_time(_FIRST + end_of(indicators_end) * HOUR)
                assert touched["signals"][0]["rows"] == signals
        with venue_with(versions[-1], tmp_path / str(len(changes)), clock) as url:
            bring_up_to_date(whole, url, tmp_path)
        assert_same(stepped, whole)


def count_rows(database: Database, start: int, end: int) -> int:
    times = (format_time(_FIRST + hour * HOUR) for hour in (start, end))
    return database.rows("SELECT count(*) FROM signals WHERE ts >= %s AND ts < %s", tuple(times))[0][0]


def test_two_restated_bars_renew_two_spans(postgres_server, tmp_path: Path, monkeypatch) -> None:
    frame = long_bars(monkeypatch, set())
    after = frame.copy()
    hours = (300, 2 * CHUNK_BARS + 300)
    after.loc[list(hours), "close"] = after.loc[list(hours), "low"]
    clock = FixedClock(_FIRST + _HOURS * HOUR + 60_000)
    with fresh_database(postgres_server) as stepped, fresh_database(postgres_server) as whole:
        with venue_with(frame, tmp_path / "before", clock) as url:
            bring_up_to_date(stepped, url, tmp_path)
        before = revisions(stepped)
        with venue_with(after, tmp_path / "after", clock) as url:
            for hour in hours:
                small_window = Interval(_FIRST + hour * HOUR, _FIRST + (hour + 1) * HOUR)
                fetch_only(stepped, url, tmp_path, small_window)
            bring_up_to_date(stepped, url, tmp_path)
            bring_up_to_date(whole, url, tmp_path)
        spans = changed_since(stepped, before)
        assert spans["validated_bars"] == [(hour, hour + 1) for hour in hours]
        assert spans["technical_indicators"] == [(hour, end_of(hour)) for hour in hours]
        assert_same(stepped, whole)


def fetch_only(database: Database, url: str, home: Path, window: Interval) -> None:
    from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
    from cryptai_pipelines.orchestration.chain.walk import walk
    from cryptai_pipelines.orchestration.store import open_venue
    from cryptai_pipelines_tests.orchestration.conftest import settings_for

    chosen = settings_for(url, home)
    steps = chain_steps(database, open_venue(chosen), chosen, "test", window)[:1]
    [result] = walk([SERIES], steps, holding(database, "binance", chosen, "test"), 1)
    assert result.error is None, result.error
