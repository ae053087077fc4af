"""Batch, any increments and any prefix give the same bits; a chunk is computed from what its definition says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.indicators.chunks import carried_columns, chunk_start, compute, output_columns, warmup_bars
from cryptai_pipelines.indicators.registry import DEFAULT_SET, REGISTRY, find_indicator
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.indicators.warmup import LULL_BARS, ema_bars, wilder_bars
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines_tests.indicators.samples import bits, random_bars, recorded_bars

CARRIED = tuple(map(find_indicator, ("obv", "accumulation_distribution", "supertrend_2_1")))
# The same indicators with a warm-up a tenth as long, and short chunks: a thousand bars then have many of both.
HASTY = (
    *(dataclasses.replace(spec, warmup=max(spec.warmup // 10, 1), lull=0) for spec in DEFAULT_SET if spec.carry is None),
    *CARRIED,
)
WHOLE = tuple({spec.name: spec for spec in (*DEFAULT_SET, *CARRIED)}.values())

bar_cases = st.builds(
    random_bars,
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 900),
    timeframe=st.just(Timeframe.H1),
    missing=st.sampled_from([0.0, 0.02, 0.3, 0.95]),
)


@pytest.fixture(scope="module", autouse=True)
def short_chunks() -> object:
    """Most tests here run on chunks of 64 bars; those on recorded series set the true length again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK_BARS", 64)
        yield


@pytest.fixture
def true_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_BARS", 8_192)


def as_shell(
    bars: pd.DataFrame, specs: tuple[IndicatorSpec, ...], timeframe: Timeframe, start_ms: int, stored: pd.DataFrame
) -> pd.DataFrame:
    """`compute` given no more than it asks for: the chunk of `start_ms`, the warm-up bars before it, and of the rows `stored`
    what the carried ones were at the bar before the chunk."""
    begin = int(np.searchsorted(index_ms(bars.index), chunk_start(start_ms, timeframe)))
    before = stored[carried_columns(specs)].loc[bars.index[begin - 1]] if begin else None
    return compute(bars.iloc[max(0, begin - warmup_bars(specs)) :], specs, timeframe, start_ms, before)


@given(bars=bar_cases, specs=st.sampled_from([HASTY, WHOLE]), data=st.data())
@settings(max_examples=80)
def test_any_increments_give_the_bits_of_the_batch(
    bars: pd.DataFrame, specs: tuple[IndicatorSpec, ...], data: st.DataObject
) -> None:
    whole = compute(bars, specs, Timeframe.H1, 0)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(len(bars) - 1, 1)), max_size=6)) | {0, len(bars)})
    stored = whole.iloc[:0]
    for have, known in zip(cuts[:-1], cuts[1:], strict=True):
        if have < len(bars):
            start_ms = int(index_ms(bars.index)[have])
            stored = pd.concat((stored, as_shell(bars.iloc[:known], specs, Timeframe.H1, start_ms, stored)))
    assert whole.index.equals(bars.index)
    assert bits(stored) == bits(whole)


@given(bars=bar_cases, specs=st.sampled_from([HASTY, WHOLE]), share=st.floats(0, 1))
@settings(max_examples=80)
def test_a_value_does_not_know_later_bars(bars: pd.DataFrame, specs: tuple[IndicatorSpec, ...], share: float) -> None:
    known = round(share * len(bars))
    whole = compute(bars, specs, Timeframe.H1, 0)
    assert bits(compute(bars.iloc[:known], specs, Timeframe.H1, 0)) == bits(whole.iloc[:known])


@given(bars=bar_cases, data=st.data())
@settings(max_examples=40)
def test_a_restated_bar_changes_nothing_before_it_and_one_recomputation_renews_the_rest(
    bars: pd.DataFrame, data: st.DataObject
) -> None:
    if bars.empty:
        return
    at = data.draw(st.integers(0, len(bars) - 1))
    restated = bars * np.where(np.arange(len(bars)) == at, 1.5, 1.0)[:, None]
    before, after = compute(bars, HASTY, Timeframe.H1, 0), compute(restated, HASTY, Timeframe.H1, 0)
    assert bits(before.iloc[:at]) == bits(after.iloc[:at])
    renewed = as_shell(restated, HASTY, Timeframe.H1, int(index_ms(bars.index)[at]), before.iloc[:at])
    assert bits(renewed) == bits(after.iloc[at:])


@given(bars=bar_cases, data=st.data())
@settings(max_examples=40)
def test_a_bar_that_goes_or_comes_is_renewed_by_one_recomputation_from_there(bars: pd.DataFrame, data: st.DataObject) -> None:
    if len(bars) < 3:
        return
    at = data.draw(st.integers(1, len(bars) - 2))
    fewer = bars.drop(index=bars.index[at])
    for old, new in ((bars, fewer), (fewer, bars)):
        whole = compute(new, HASTY, Timeframe.H1, 0)
        kept = compute(old, HASTY, Timeframe.H1, 0).iloc[:at]
        renewed = as_shell(new, HASTY, Timeframe.H1, int(index_ms(bars.index)[at]), kept)
        assert bits(pd.concat((kept, renewed))) == bits(whole)


@given(bars=bar_cases)
@settings(max_examples=30)
def test_values_are_absent_before_the_warm_up_and_nowhere_else(bars: pd.DataFrame) -> None:
    ours = compute(bars, WHOLE, Timeframe.H1, 0)
    for spec in WHOLE:
        first = spec.settled if spec.carry is None or spec.name.startswith("supertrend") else 0
        for name in spec.outputs:
            assert np.array_equal(np.isnan(ours[name].to_numpy()), np.arange(len(bars)) < first), name


def test_what_is_carried_has_to_be_given() -> None:
    bars = random_bars(1, 300, Timeframe.H1)
    for before in (None, {"close": 1.0}):
        with pytest.raises(ValueError, match="'obv' goes on from 'obv' of the bar before the chunk"):
            compute(bars, CARRIED, Timeframe.H1, int(index_ms(bars.index)[200]), before)
    assert carried_columns(WHOLE)[:2] == ["obv", "accumulation_distribution"]


def test_writing_in_place_and_copying_give_the_same_bits() -> None:
    bars = random_bars(3, 5_000, Timeframe.M5, missing=0.1)
    copying = [dataclasses.replace(spec, fill=None) for spec in DEFAULT_SET]
    for start_ms, before in ((0, None), (int(index_ms(bars.index)[3_333]), {"obv": 0.0})):
        in_place = compute(bars, DEFAULT_SET, Timeframe.M5, start_ms, before)
        assert bits(compute(bars, copying, Timeframe.M5, start_ms, before)) == bits(in_place)


def test_the_value_of_a_chunk_comes_from_its_bars_and_the_declared_warm_up() -> None:
    bars = random_bars(5, 6_000, Timeframe.M15, missing=0.2)
    whole = compute(bars, DEFAULT_SET, Timeframe.M15, 0)
    ts, high, low, close = index_ms(bars.index), *(bars[name].to_numpy() for name in ("high", "low", "close"))
    span = 64 * Timeframe.M15.ms
    for start in range(int(ts[0]) // span * span, int(ts[-1]) + 1, span):
        begin, end = np.searchsorted(ts, [start, start + span])
        warm = slice(max(0, begin - REGISTRY["ema_200"].warmup), end)
        expected = talib.EMA(close[warm], 200)[begin - end :]
        expected[: max(0, ema_bars(200) - begin)] = np.nan
        assert np.array_equal(expected, whole["ema_200"].to_numpy()[begin:end], equal_nan=True)
        warm = slice(max(0, begin - 19), end)
        expected = talib.CCI(high[warm], low[warm], close[warm], 20)[begin - end :]
        assert np.array_equal(expected, whole["cci_20"].to_numpy()[begin:end], equal_nan=True)


@pytest.mark.parametrize(("name", "timeframe"), [("binance/BTCUSDT_1h", Timeframe.H1), ("kraken/BTCUSD_1h", Timeframe.H1)])
def test_prefixes_and_increments_of_a_recorded_series(
    real_data: Path, true_chunks: None, name: str, timeframe: Timeframe
) -> None:
    bars = recorded_bars(real_data, name)
    whole = compute(bars, DEFAULT_SET, timeframe, 0)
    rng = np.random.default_rng(11)
    edges = np.searchsorted(index_ms(bars.index), chunk_start(int(index_ms(bars.index)[40_000]), timeframe))
    ends = np.concatenate((rng.integers(1, len(bars), 200), [1, 2, edges - 1, edges, edges + 1, len(bars)]))
    for end in ends.tolist():
        assert bits(compute(bars.iloc[:end], DEFAULT_SET, timeframe, 0)) == bits(whole.iloc[:end])
        have = max(0, end - int(rng.integers(1, 30)))
        tail = as_shell(bars.iloc[:end], DEFAULT_SET, timeframe, int(index_ms(bars.index)[have]), whole.iloc[:have])
        assert bits(tail) == bits(whole.iloc[have:end])


@given(ts_ms=st.integers(0, 4_000_000_000_000), timeframe=st.sampled_from(TIMEFRAMES))
def test_chunks_tile_time_from_the_anchor(ts_ms: int, timeframe: Timeframe) -> None:
    start = chunk_start(ts_ms, timeframe)
    assert start <= ts_ms < start + 64 * timeframe.ms
    assert (start - timeframe.anchor_ms) % (64 * timeframe.ms) == 0
    assert timeframe.floor(start) == start


def test_a_start_after_the_last_bar_gives_no_rows() -> None:
    bars = random_bars(1, 100, Timeframe.H1)
    for frame, start_ms in ((bars, 2**45), (bars.iloc[:0], 0)):
        result = compute(frame, DEFAULT_SET, Timeframe.H1, start_ms)
        assert len(result) == 0 and list(result.columns) == output_columns(DEFAULT_SET)


def test_output_is_float64_on_the_index_of_the_bars() -> None:
    bars = random_bars(1, 500, Timeframe.H1)
    result = compute(bars, DEFAULT_SET, Timeframe.H1, int(index_ms(bars.index)[123]), {"obv": 0.0})
    assert result.index.equals(bars.index[123:]) and result.index.name == "ts"
    assert set(result.dtypes) == {np.dtype("float64")}


def test_the_bars_given_are_not_changed() -> None:
    bars = random_bars(1, 500, Timeframe.H1)
    before = bits(bars)
    compute(bars, DEFAULT_SET, Timeframe.H1, 0)
    assert bits(bars) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["high", "low", "close"])
def test_a_value_that_is_not_finite_is_refused(column: str, value: float) -> None:
    bars = random_bars(1, 300, Timeframe.H1)
    bars.iloc[137, bars.columns.get_loc(column)] = value
    with pytest.raises(ValueError, match=rf"{column}={value} at {bars.index[137]}".replace("+", r"\+")):
        compute(bars, DEFAULT_SET, Timeframe.H1, 0)


def test_opposite_infinities_do_not_hide_each_other_and_large_finite_sums_pass() -> None:
    bars = random_bars(1, 300, Timeframe.H1)
    bars.iloc[[5, 6], bars.columns.get_loc("close")] = [np.inf, -np.inf]
    with pytest.raises(ValueError, match="close=inf"):
        compute(bars, DEFAULT_SET, Timeframe.H1, 0)
    large = random_bars(1, 300, Timeframe.H1).assign(close=1e307)
    assert len(compute(large, (REGISTRY["ema_12"],), Timeframe.H1, 0)) == 300


@pytest.mark.parametrize("order", [[0, 2, 1], [0, 1, 1]])
def test_unsorted_or_repeated_times_are_refused(order: list[int]) -> None:
    with pytest.raises(ValueError, match="not ascending and unique"):
        compute(random_bars(1, 3, Timeframe.H1).iloc[order], DEFAULT_SET, Timeframe.H1, 0)


def test_a_missing_column_and_a_foreign_index_are_refused() -> None:
    bars = random_bars(1, 30, Timeframe.H1)
    with pytest.raises(ValueError, match="no column 'high'"):
        compute(bars.drop(columns="high"), DEFAULT_SET, Timeframe.H1, 0)
    with pytest.raises(ValueError, match="RangeIndex"):
        compute(bars.reset_index(drop=True), DEFAULT_SET, Timeframe.H1, 0)


def test_the_longest_warm_up_is_what_a_shell_reads() -> None:
    assert warmup_bars(DEFAULT_SET) == ema_bars(200)
    assert warmup_bars((REGISTRY["rsi_14"], REGISTRY["sma_20"])) == wilder_bars(14) + LULL_BARS
    assert warmup_bars(()) == 0
