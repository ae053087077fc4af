"""Searches as they are stored: what was written comes back to the bit, nothing twice, and every trial is counted."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import backtests, sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.sweeps import PointRow, Sweep

SERIES = Series("BTC-USDT", Timeframe.H1)
SWEEP = Sweep("sweep", "trend", SERIES, {"space": {"a": [1, 2]}, "seed": 0}, 2)
_VALUES = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 0.1 + 0.2, 5e-324])
_POINTS = st.dictionaries(st.sampled_from("abc"), st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.just("ünï 'x\\"))


def begin(database: Database, sweep: Sweep = SWEEP) -> int:
    with database.transaction() as cursor:
        return sweeps.begin_sweep(cursor, sweep)


def save(database: Database, sweep_id: int, rows: list[PointRow], fold: int = 0) -> int:
    with database.transaction() as cursor:
        return sweeps.save_points(cursor, sweep_id, fold, rows)


def point(number: int, sharpe: float = 1.0, **values) -> PointRow:
    return PointRow(number, f"key {number}", values or {"a": number}, {"sharpe": sharpe})


def comparable(row: PointRow) -> tuple:
    return row.number, row.key, sorted_text(row.point), sorted_text(row.result)


def sorted_text(values) -> str:
    """Exact, and without an order of names and the sign of zero, which jsonb does not keep."""
    if isinstance(values, str):
        return values
    return repr(sorted((name, value + 0.0 if isinstance(value, float) else value) for name, value in values.items()))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(_POINTS, st.dictionaries(st.sampled_from(["sharpe", "cagr"]), _VALUES) | st.just("it's refused: \\N")),
        min_size=1,
        max_size=6,
    )
)
def test_points_come_back_bit_for_bit(database_per_module: Database, rows: list) -> None:
    sweep_id = begin(database_per_module)
    with database_per_module.transaction() as cursor:
        sweeps.forget_points(cursor, sweep_id)
    written = [PointRow(number, f"k{number}", *row) for number, row in enumerate(rows)]
    assert save(database_per_module, sweep_id, written) == len(rows)
    read = sweeps.read_points(database_per_module, sweep_id)
    assert [comparable(row) for row in read] == [comparable(row) for row in written]
    known = sweeps.read_results(database_per_module, sweep_id)
    assert {row.key: comparable(row)[3] for row in read} == {key: sorted_text(result) for key, result in known.items()}


def test_the_same_configuration_is_the_same_search(database: Database) -> None:
    first = begin(database)
    assert begin(database, dataclasses.replace(SWEEP, config={"seed": 0, "space": {"a": [1, 2]}})) == first
    other = begin(database, dataclasses.replace(SWEEP, config={"seed": 1, "space": {"a": [1, 2]}}))
    assert other != first
    assert sweeps.read_sweep(database, first) == SWEEP
    assert sweeps.read_sweep(database, other + 1) is None


def test_a_point_is_written_once_and_never_changed(database: Database) -> None:
    sweep_id = begin(database)
    assert save(database, sweep_id, [point(0, 1.0), point(1, 2.0)]) == 2
    assert save(database, sweep_id, [point(1, 9.0), point(2, 3.0)]) == 1
    assert [row.result["sharpe"] for row in sweeps.read_points(database, sweep_id)] == [1.0, 2.0, 3.0]
    assert save(database, sweep_id, []) == 0


def test_no_target_is_a_value_like_any_other(database: Database) -> None:
    sweep_id = begin(database)
    save(database, sweep_id, [point(0, take_profit=math.inf, size=0.5)])
    assert sweeps.read_points(database, sweep_id)[0].point == {"take_profit": "Infinity", "size": 0.5}


def test_a_search_is_finished_with_its_summary_and_can_be_begun_anew(database: Database) -> None:
    sweep_id = begin(database)
    save(database, sweep_id, [point(0)])
    with database.transaction() as cursor:
        sweeps.finish_sweep(cursor, sweep_id, {"best": {"value": math.inf}, "list": [math.nan, 1.5]})
    stored = sweeps.read_sweep(database, sweep_id)
    assert stored.finished and stored.summary == {"best": {"value": None}, "list": [None, 1.5]}
    with database.transaction() as cursor:
        sweeps.forget_points(cursor, sweep_id)
    again = sweeps.read_sweep(database, sweep_id)
    assert not again.finished and again.summary is None and sweeps.read_results(database, sweep_id) == {}


def test_every_trial_of_a_series_is_counted_once(database: Database) -> None:
    one, other = begin(database), begin(database, dataclasses.replace(SWEEP, config={"seed": 1}))
    walked = begin(database, dataclasses.replace(SWEEP, kind="walk_forward", config={"seed": 2}))
    elsewhere = begin(database, dataclasses.replace(SWEEP, series=Series("ETH-USDT", Timeframe.H1), config={"seed": 3}))
    save(database, one, [point(0, 1.0), point(1, math.nan), PointRow(2, "key 2", {"a": 9}, "refused")])
    save(database, other, [point(1, math.nan), point(5, 3.0)])
    for fold in (0, 1):
        save(database, walked, [PointRow(0, f"walked {fold}", {"a": 1}, {"sharpe": 7.0})], fold)
    save(database, elsewhere, [point(0, 50.0)])
    for number, metrics in enumerate(({"sharpe": 2.0, "periods_per_year": 365.0}, {})):
        header = backtests.BacktestHeader(
            "trend", SERIES, {"number": number}, 0, 0, 1, 0, 0, metrics, "sha", "1", coverage_revision=1
        )
        with database.transaction() as cursor:
            backtests.save_backtest(cursor, header)
    sharpes = sweeps.trial_sharpes(database, "trend", SERIES)
    # Two backtests, the points 0, 1, 2 and 5, one point of the walk-forward.
    assert len(sharpes) == 7
    assert sorted(sharpes[np.isfinite(sharpes)] * math.sqrt(365)) == pytest.approx([1.0, 2.0, 3.0])
    assert len(sweeps.trial_sharpes(database, "other", SERIES)) == 0
    assert sweeps.count_tried(database, "trend", SERIES) == 9, "the point 1 twice, that of the walk-forward in two folds"
    assert sweeps.count_tried(database, "other", SERIES) == 0


def test_a_trial_is_one_whoever_made_it_and_whatever_the_venue_prescribed(database: Database) -> None:
    """A point's key is the hash of what is chosen, which is a backtest's configuration without its kind and the market."""
    chosen = {"strategy": "trend", "rules": {"a": 0.1}, "engine": {"take_profit": None, "size": 1.0}, "window": None}
    asked = [{**chosen, "kind": "scheduled"}, {**chosen, "kind": "trial"}, {**chosen, "kind": "trial", "market": {"tick": 0.1}}]
    for config, sharpe in zip(asked, (1.0, 1.5, 2.0), strict=True):
        metrics = {"sharpe": sharpe, "periods_per_year": 365.0}
        header = backtests.BacktestHeader("trend", SERIES, config, 0, 0, 1, 0, 0, metrics, "sha", "1", coverage_revision=1)
        with database.transaction() as cursor:
            backtests.save_backtest(cursor, header)
    assert sweeps.trial_sharpes(database, "trend", SERIES) * math.sqrt(365) == pytest.approx([2.0]), "the latest counts"
    for market, sharpe in (({}, 3.0), ({"tick": 0.1}, 4.0)):
        rows = [PointRow(0, backtests.config_hash(chosen), {"a": 0.1}, {"sharpe": 9.0}), point(1, sharpe)]
        save(database, begin(database, dataclasses.replace(SWEEP, config={"market": market})), rows)
        walked = dataclasses.replace(SWEEP, kind="walk_forward", config={"market": market, "windows": [[0, 5, 5, 9]]})
        save(database, begin(database, walked), [point(0)])
    sharpes = sweeps.trial_sharpes(database, "trend", SERIES)
    assert len(sharpes) == 3, "the backtests, the other point, the point of the walk-forward"
    assert sorted(sharpes[np.isfinite(sharpes)] * math.sqrt(365)) == pytest.approx([2.0, 4.0])


def test_text_that_a_table_cannot_hold_is_named_before_anything_is_sent(database: Database) -> None:
    sweep_id = begin(database)
    with pytest.raises(BadInput, match="sweep_points.refusal"), database.transaction() as cursor:
        sweeps.save_points(cursor, sweep_id, 0, [PointRow(0, "k", {}, "a\0b")])
    assert sweeps.read_points(database, sweep_id) == []
