"""Longer bars against pandas' own resampling, and what is known when."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import BAR_COLUMNS, index_ms, ts_index
from cryptai_pipelines.market.resampling import as_of, known_at_ms, resample
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe

RULES = {"5m": "5min", "15m": "15min", "30m": "30min", "1h": "1h", "4h": "4h", "1d": "1D", "1w": "W-MON"}
PAIRS = [(a, b) for a in TIMEFRAMES for b in TIMEFRAMES if a.ms < b.ms]


def bars(seed: int, count: int, timeframe: Timeframe, missing: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count)))
    opening = close * (1 + rng.normal(0, 0.01, count))
    columns = {name: rng.integers(0, 1_000, count).astype("float64") for name in BAR_COLUMNS[4:]}
    columns |= {"open": opening, "high": np.maximum(opening, close) * 1.01, "low": np.minimum(opening, close) * 0.99}
    columns |= {"close": close, "trades": np.where(rng.random(count) < 0.01, np.nan, columns["trades"])}
    start = timeframe.ceil(int(rng.integers(1_500_000_000_000, 1_700_000_000_000)))
    frame = pd.DataFrame(columns, index=ts_index(start + np.arange(count) * timeframe.ms))[list(BAR_COLUMNS)]
    return frame[rng.random(count) >= missing]


def by_pandas(frame: pd.DataFrame, target: Timeframe) -> pd.DataFrame:
    """The same bars by pandas, whose weeks are told to open on Monday."""
    named = {"open": "first", "high": "max", "low": "min", "close": "last"}
    groups = frame.resample(RULES[target.code], closed="left", label="left")
    result = groups.agg({name: named.get(name, lambda part: part.sum(skipna=False)) for name in frame.columns})
    return result[groups.size() > 0]


cases = st.builds(
    bars,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 250),
    timeframe=st.just(Timeframe.H1),
    missing=st.sampled_from([0.0, 0.1, 0.9]),
)


@given(frame=cases, target=st.sampled_from([Timeframe.H4, Timeframe.D1, Timeframe.W1]))
@settings(max_examples=40)
def test_longer_bars_equal_those_of_pandas(frame: pd.DataFrame, target: Timeframe) -> None:
    if frame.empty:
        return
    ours, peer = resample(frame, Timeframe.H1, target), by_pandas(frame, target)
    pd.testing.assert_frame_equal(ours, peer, check_freq=False, check_index_type=False, rtol=0, atol=0)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_every_pair_of_timeframes(source: Timeframe, target: Timeframe) -> None:
    frame = bars(3, 600, source, 0.05)
    ours, peer = resample(frame, source, target), by_pandas(frame, target)
    pd.testing.assert_frame_equal(ours, peer, check_freq=False, check_index_type=False, rtol=0, atol=0)
    assert target.on_grid(index_ms(ours.index)).all()


@given(frame=cases, flags=st.lists(st.booleans(), min_size=250, max_size=250))
@settings(max_examples=20)
def test_a_bar_made_of_any_filled_one_is_filled(frame: pd.DataFrame, flags: list[bool]) -> None:
    frame = frame.assign(is_filled=np.array(flags[: len(frame)], dtype=bool))
    longer = resample(frame, Timeframe.H1, Timeframe.D1)
    assert longer["is_filled"].dtype == bool
    filled_days = {ts.floor("D") for ts, filled in frame["is_filled"].items() if filled}
    assert {ts for ts, filled in longer["is_filled"].items() if filled} == filled_days
    pd.testing.assert_frame_equal(
        longer.drop(columns="is_filled"), resample(frame[list(BAR_COLUMNS)], Timeframe.H1, Timeframe.D1)
    )


def test_two_steps_equal_one() -> None:
    frame = bars(5, 5_000, Timeframe.M15, 0.1).drop(columns="trades")
    direct = resample(frame, Timeframe.M15, Timeframe.D1)
    pd.testing.assert_frame_equal(
        resample(resample(frame, Timeframe.M15, Timeframe.H1), Timeframe.H1, Timeframe.D1), direct, rtol=1e-12
    )


def test_no_bars_give_no_bars() -> None:
    empty = resample(bars(1, 5, Timeframe.H1, 0.0).iloc[:0], Timeframe.H1, Timeframe.D1)
    assert len(empty) == 0 and list(empty.columns) == list(resample(bars(1, 5, Timeframe.H1, 0.0), Timeframe.H1, Timeframe.D1))


@given(frame=cases, share=st.floats(0, 1), target=st.sampled_from([Timeframe.H4, Timeframe.D1, Timeframe.W1]))
@settings(max_examples=60)
def test_what_is_read_of_longer_bars_does_not_know_later_ones(frame: pd.DataFrame, share: float, target: Timeframe) -> None:
    """At the close of each bar, the last longer bar that had closed: the same from any prefix that reaches this bar."""

    def seen(part: pd.DataFrame) -> np.ndarray:
        longer = resample(part, Timeframe.H1, target)
        return as_of(longer["close"].to_numpy(), known_at_ms(longer.index, target), known_at_ms(part.index, Timeframe.H1))

    known = round(share * len(frame))
    assert np.array_equal(seen(frame.iloc[:known]), seen(frame)[:known], equal_nan=True)


@given(
    known=st.lists(st.integers(0, 100), max_size=30, unique=True).map(sorted),
    at=st.lists(st.integers(-5, 110), max_size=30),
)
def test_as_of_is_the_last_value_known_by_then(known: list[int], at: list[int]) -> None:
    values = np.arange(len(known)) * 1.5
    expected = [max((v for v, k in zip(values.tolist(), known, strict=True) if k <= t), default=np.nan) for t in at]
    result = as_of(values, np.array(known, dtype=np.int64), np.array(at, dtype=np.int64))
    assert result.dtype == np.float64 and np.array_equal(result, np.array(expected, dtype=float), equal_nan=True)


def test_a_four_hour_bar_is_visible_only_after_it_closed() -> None:
    frame = bars(2, 12, Timeframe.H1, 0.0)
    frame.index = ts_index(Timeframe.H4.ceil(1_600_000_000_000) + np.arange(12) * Timeframe.H1.ms)
    longer = resample(frame, Timeframe.H1, Timeframe.H4)
    seen = as_of(longer["close"].to_numpy(), known_at_ms(longer.index, Timeframe.H4), known_at_ms(frame.index, Timeframe.H1))
    close = frame["close"].to_numpy()
    assert np.isnan(seen[:3]).all()
    assert seen[3:].tolist() == [close[3]] * 4 + [close[7]] * 4 + [close[11]]
