"""Derived rows and the state that says what they were made from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage import derived, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tables import INDICATOR_COLUMNS, SIGNAL_GATES, SIGNAL_SCORES
from cryptai_pipelines_tests.storage.bars_examples import HOUR, START, fresh_series, opens

_EXAMPLES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
_CELL = st.sampled_from([np.nan, 0.0, 1.5, -2.25, np.inf])
_BATCHES = st.lists(st.dictionaries(st.integers(0, 10), st.tuples(_CELL, _CELL), max_size=8), min_size=1, max_size=5)


def _keys(series: Series) -> dict[str, str]:
    return {"symbol": series.symbol, "timeframe": series.timeframe.code}


def _write(db: Database, series: Series, frame: pd.DataFrame, version: str = "1", revision: int = 1) -> Change:
    with db.transaction() as cursor:
        return derived.upsert(
            cursor, "technical_indicators", _keys(series), frame, code_version=version, coverage_revision=revision
        )


@_EXAMPLES
@given(batches=_BATCHES)
def test_indicators_are_the_last_written_values(database_per_module: Database, batches: list) -> None:
    series, model = fresh_series(), {}
    for revision, batch in enumerate(batches):
        ts = [START + HOUR * place for place in batch]
        frame = pd.DataFrame(list(batch.values()), columns=["sma_20", "rsi_14"], index=ts_index(np.array(ts, dtype="int64")))
        change = _write(database_per_module, series, frame.astype("float64"), revision=revision)
        latest = {t: repr(values) for t, values in zip(ts, batch.values(), strict=True)}
        changed = {t for t in latest if t in model and model[t] != latest[t]}
        assert (change.new, change.restated) == (len(set(latest) - set(model)), len(changed))
        model |= latest
    stored = derived.read(database_per_module, "technical_indicators", _keys(series))
    rows = zip(stored.index.asi8, stored["sma_20"], stored["rsi_14"], strict=True)
    assert {int(t): repr((float(a), float(b))) for t, a, b in rows} == model
    assert stored["bb_upper"].isna().all() and stored["bb_upper"].dtype == "float64"
    assert set(INDICATOR_COLUMNS) <= set(stored.columns)


def test_nan_is_null_and_only_values_and_code_make_a_row_another(database_per_module: Database) -> None:
    series = fresh_series()
    frame = pd.DataFrame({"sma_20": [np.nan, 1.0]}, index=ts_index(opens(2)))
    assert _write(database_per_module, series, frame).new == 2
    nulls = "SELECT count(sma_20), count(*), min(coverage_revision) FROM technical_indicators WHERE symbol = %s"
    assert database_per_module.rows(nulls, (series.symbol,)) == [(1, 2, 1)]
    assert not _write(database_per_module, series, frame, revision=9)
    assert _write(database_per_module, series, frame, version="2", revision=9).restated == 2
    assert database_per_module.rows(nulls, (series.symbol,)) == [(1, 2, 9)]


def test_signals_keep_gates_with_three_values(database_per_module: Database) -> None:
    series = fresh_series()
    keys = {"strategy": "plain", **_keys(series)}
    gates = {
        "trend_gate": pd.array([True, None, False], dtype="boolean"),
        "rsi_gate": np.array([True, False, True]),
        "macd_gate": np.array([None, True, False], dtype=object),
    }
    others = {"trend_score": [0.5, np.nan, -1.0], "entry": [True, False, False]}
    frame = pd.DataFrame({**gates, **others}, index=ts_index(opens(3)))
    with database_per_module.transaction() as cursor:
        assert derived.upsert(cursor, "signals", keys, frame, code_version="1", coverage_revision=3).new == 3
    stored = derived.read(database_per_module, "signals", keys, START, START + 3 * HOUR)
    assert stored["trend_gate"].tolist() == [True, pd.NA, False]
    assert stored["rsi_gate"].tolist() == [True, False, True] and stored["rsi_gate"].dtype == bool
    assert stored["macd_gate"].tolist() == [pd.NA, True, False]
    assert stored["data_quality_gate"].isna().all()
    assert stored["entry"].tolist() == [True, False, False]
    assert set(SIGNAL_GATES + SIGNAL_SCORES) <= set(stored.columns)
    within = derived.read(database_per_module, "signals", keys, START + HOUR, START + 2 * HOUR)
    assert within.index.asi8.tolist() == [START + HOUR]
    with database_per_module.transaction() as cursor:
        assert derived.remove(cursor, "signals", keys, opens(2)) == 2
        assert derived.remove(cursor, "signals", {**keys, "strategy": "other"}, opens(3)) == 0
    assert len(derived.read(database_per_module, "signals", keys)) == 1


def test_columns_of_the_users_own(database: Database) -> None:
    assert derived.ensure_columns(database, "technical_indicators", ["adx_7", "sma_20", "mfi_14"]) == ["adx_7", "mfi_14"]
    assert derived.ensure_columns(database, "technical_indicators", ["mfi_14"]) == []
    series = fresh_series()
    _write(database, series, pd.DataFrame({"adx_7": [1.0, 2.0]}, index=ts_index(opens(2))))
    change = _write(database, series, pd.DataFrame({"adx_7": [1.0, 5.0]}, index=ts_index(opens(2))))
    assert (change.restated, change.first_ts) == (1, START + HOUR)
    assert derived.read(database, "technical_indicators", _keys(series))["adx_7"].tolist() == [1.0, 5.0]


def test_gates_of_the_users_own_strategy(database: Database) -> None:
    assert derived.ensure_columns(database, "signals", ["own_score"], ["own_gate", "trend_gate"]) == ["own_score", "own_gate"]
    assert derived.ensure_columns(database, "signals", ["own_score"], ["own_gate"]) == []
    with pytest.raises(BadInput, match="'own_gate' of signals does not hold numbers"):
        derived.ensure_columns(database, "signals", ["own_gate"])
    with pytest.raises(BadInput, match="'own_score' of signals does not hold flags"):
        derived.ensure_columns(database, "signals", [], ["own_score"])
    keys = {"strategy": "own", **_keys(fresh_series())}
    frame = pd.DataFrame(
        {
            "own_gate": pd.array([True, None], dtype="boolean"),
            "own_score": [0.5, np.nan],
            "side": np.array([-1, 0], dtype="int8"),
            "entry": [True, False],
        },
        index=ts_index(opens(2)),
    )
    with database.transaction() as cursor:
        derived.upsert(cursor, "signals", keys, frame, code_version="1", coverage_revision=1)
    stored = derived.read(database, "signals", keys)
    assert stored["own_gate"].tolist() == [True, pd.NA] and stored["side"].tolist() == [-1, 0]
    assert stored["exit_long"].tolist() == [False, False] and stored["stop_level"].isna().all()


@pytest.mark.parametrize("name", ['x"; DROP TABLE symbols; --', "Upper", "1st", "", "a" * 60, "é", "ts", "symbol"])
def test_no_other_column_can_be_added(database_per_module: Database, name: str) -> None:
    with pytest.raises(BadInput):
        derived.ensure_columns(database_per_module, "technical_indicators", [name])


def test_unknown_tables_columns_and_keys_are_named(database_per_module: Database) -> None:
    series, frame = fresh_series(), pd.DataFrame({"sma_20": [1.0]}, index=ts_index(opens(1)))
    with pytest.raises(BadInput, match="table 'symbols' holds no derived rows"):
        derived.read(database_per_module, "symbols", _keys(series))
    with pytest.raises(BadInput, match="no column 'sma_21'"):
        _write(database_per_module, series, frame.rename(columns={"sma_20": "sma_21"}))
    with pytest.raises(BadInput, match="keyed by strategy symbol timeframe, not by symbol timeframe"):
        derived.read(database_per_module, "signals", _keys(series))
    with pytest.raises(BadInput, match="float64, not int64"):
        _write(database_per_module, series, frame.astype("int64"))


@_EXAMPLES
@given(changes=st.lists(st.none() | st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=6), seen=st.integers(0, 6))
def test_changes_since_a_revision_lie_within_their_hull(database_per_module: Database, changes: list, seen: int) -> None:
    series, kept = fresh_series(), []
    for entry in changes:
        first, last = (None, None) if entry is None else (START + min(entry) * HOUR, START + max(entry) * HOUR)
        kept += [] if entry is None else [(first, last)]
        with database_per_module.transaction() as cursor:
            change = Change(0 if entry is None else 1, 0, first, last)
            assert state.record_change(cursor, "market_data", series, change) == len(kept)
    later = kept[seen:]
    expected = (min(first for first, _ in later), max(last for _, last in later)) if later else None
    assert state.changed_since(database_per_module, "market_data", series, seen) == expected
    stored = state.read_state(database_per_module, "market_data", series)
    assert (stored.revision if stored else 0) == len(kept)


def test_state_comes_back_and_does_not_move_the_revision(database_per_module: Database) -> None:
    series = fresh_series()
    assert state.read_state(database_per_module, "engine", series) is None
    with database_per_module.transaction() as cursor:
        state.record_change(cursor, "engine", series, Change(3, 0, START, START + HOUR))
        fields = dict(input_revision=7, code_version="v2", first_ts=START, last_ts=START + HOUR, state=b"\0\xff bytes")
        state.write_state(cursor, "engine", series, **fields)
        stored = state.read_state(cursor, "engine", series)
    assert stored == state.SeriesState("engine", series, revision=1, **fields)
    assert state.read_state(database_per_module, "engine", series) == stored


def test_stale_names_what_lags_what_is_missing_and_what_another_code_made(database: Database) -> None:
    current, lagging, missing, old, empty = (fresh_series() for _ in range(5))
    with database.transaction() as cursor:
        for series in (current, lagging, missing, old):
            state.record_change(cursor, "market_data", series, Change(1, 0, START, START))
            state.record_change(cursor, "market_data", series, Change(1, 0, START, START))
        state.write_state(cursor, "market_data", empty)
        for series, revision, version in ((current, 2, "b"), (lagging, 1, "b"), (old, 2, "a")):
            state.write_state(cursor, "indicators", series, input_revision=revision, code_version=version)
    found = state.stale(database, [state.Derived("indicators", "market_data", "b")])
    assert {item.series: (item.behind, item.reason) for item in found} == {
        lagging: (1, "input changed"),
        missing: (2, "never computed"),
        old: (0, "made by code version a"),
    }
    assert state.stale(database, []) == []
