"""The bars of which finer ones were asked: kept as given, and found again when one of their finer bars has changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import ambiguous_bars, backtests, state
from cryptai_pipelines.storage.backtests import BacktestHeader
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.storage.bars_examples import HOUR, START, fresh_series

SLOTS = 12
FINER = (Timeframe.M5, Timeframe.M15)


def saved(database: Database, series: Series) -> int:
    header = BacktestHeader("any", series, {}, None, None, 0, 0, 0, {}, "", "1", 1)
    with database.transaction() as cursor:
        return backtests.save_backtest(cursor, header)


def frame(slots: list[int], code: str | None = "5m") -> pd.DataFrame:
    codes = np.array([code] * len(slots), dtype=object)
    ambiguous = np.array([slot % 2 == 0 for slot in slots], dtype=bool)
    ts = START + HOUR * np.array(slots, dtype="int64")
    return pd.DataFrame({"ts": ts, "finer_timeframe": pd.Series(codes, dtype=object), "ambiguous": ambiguous})


def test_replaced_from_a_time_on(database_per_module: Database) -> None:
    identity = saved(database_per_module, fresh_series())
    for slots, code, begin in (([1, 4, 6], None, 0), ([5, 9], "5m", 5), ([], None, 9)):
        with database_per_module.transaction() as cursor:
            ambiguous_bars.replace_ambiguous_bars(cursor, identity, START + begin * HOUR, frame(slots, code))
    expected = pd.concat((frame([1, 4], None), frame([5])), ignore_index=True)
    pd.testing.assert_frame_equal(ambiguous_bars.read_ambiguous_bars(database_per_module, identity), expected)


@given(
    asked=st.sets(st.integers(0, SLOTS - 1)),
    changes=st.lists(st.tuples(st.sampled_from(FINER), st.integers(0, 12 * SLOTS - 1), st.integers(0, 20)), max_size=8),
    seen=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_bar_has_changed_when_a_finer_one_of_it_has(database_per_module: Database, asked, changes, seen) -> None:
    series = fresh_series()
    identity = saved(database_per_module, series)
    revisions, touched = dict.fromkeys(FINER, 0), set()
    before = dict(zip(FINER, seen, strict=True))
    with database_per_module.transaction() as cursor:
        ambiguous_bars.replace_ambiguous_bars(cursor, identity, 0, frame(sorted(asked)))
        for timeframe, first, more in changes:
            opens = timeframe.floor(START + first * Timeframe.M5.ms) + timeframe.ms * np.arange(more + 1)
            change = Change(1, 0, int(opens[0]), int(opens[-1]))
            revisions[timeframe] = state.record_change(cursor, "bars", Series(series.symbol, timeframe), change)
            if revisions[timeframe] > before[timeframe]:
                touched |= set((opens // HOUR * HOUR).tolist())
    codes = {timeframe.code: revision for timeframe, revision in before.items()}
    found = ambiguous_bars.changed_within(database_per_module, identity, series, "bars", codes)
    expected = sorted(touched & {START + slot * HOUR for slot in asked})
    assert found == [Interval(ts, ts + HOUR) for ts in expected]
