"""Daily portfolio rows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest.daily import daily_rows


def equity_of(seed: int, n: int = 300) -> pd.Series:
    rng = np.random.default_rng(seed)
    hours = np.cumsum(np.where(rng.random(n) < 0.03, rng.integers(2, 60, n), 1))
    index = (pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h")).as_unit("ms")
    return pd.Series(1000 * np.cumprod(1 + rng.normal(0, 0.01, n)), index=index)


@given(st.integers(0, 2**32 - 1))
def test_equals_pandas(seed):
    equity = equity_of(seed)
    rows = daily_rows(equity, 1000.0)
    last = equity.groupby(equity.index.floor("D")).last()
    assert rows.index.tolist() == last.index.tolist()
    assert rows["total_value"].tolist() == last.tolist()
    with_start = np.concatenate(([1000.0], last))
    np.testing.assert_allclose(rows["daily_return"], np.diff(with_start) / with_start[:-1], atol=1e-15)
    np.testing.assert_allclose(rows["cumulative_return"], last / 1000 - 1, atol=1e-15)
    np.testing.assert_allclose(rows["drawdown"], (with_start / np.maximum.accumulate(with_start) - 1)[1:], atol=1e-15)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 299), max_size=6))
def test_day_by_day_equals_at_once(seed, cuts):
    """Each step sees only its own bars and the rows stored before it; a day that goes on replaces its row."""
    equity = equity_of(seed)
    stored = daily_rows(equity.iloc[:0], 1000.0)
    for begin, end in itertools.pairwise([0, *sorted(cuts), 300]):
        part = equity.iloc[begin:end]
        before = stored[stored.index < part.index[0].floor("D")] if len(part) else stored
        value, peak = (before["total_value"].iloc[-1], before["total_value"].max()) if len(before) else (None, None)
        stored = pd.concat([before, daily_rows(part, 1000.0, value, peak)])
    pd.testing.assert_frame_equal(stored, daily_rows(equity, 1000.0), check_exact=True)
