"""Indicators that go on from their own last value: TA-Lib's where it has them, and worked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from cryptai_pipelines.indicators.chunks import CHUNK_BARS, compute
from cryptai_pipelines.indicators.registry import find_indicator
from cryptai_pipelines.indicators.warmup import wilder_bars
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import RECORDED, bits, random_bars, recorded_bars

SUPERTREND = find_indicator("supertrend_10_3")
SUMS = (find_indicator("obv"), find_indicator("ad"))


def prices(bars: pd.DataFrame) -> tuple[np.ndarray, ...]:
    return tuple(bars[name].to_numpy() for name in ("high", "low", "close", "volume"))


@pytest.mark.parametrize("name", RECORDED)
def test_sums_are_talibs_over_the_whole_history(real_data: Path, name: str) -> None:
    bars = recorded_bars(real_data, name)
    high, low, close, volume = prices(bars)
    ours = compute(bars, SUMS, RECORDED[name], 0)
    assert np.array_equal(ours["obv"].to_numpy(), talib.OBV(close, volume))
    peer = talib.AD(high, low, close, volume)
    assert np.max(np.abs(ours["accumulation_distribution"] - peer)) < 1e-9 * np.max(np.abs(peer))


@pytest.mark.parametrize("name", RECORDED)
def test_supertrend_is_talibs_once_both_have_turned(real_data: Path, name: str) -> None:
    """TA-Lib's begins on an ATR that has not settled; from the first turn on it makes no difference any more."""
    bars = recorded_bars(real_data, name)
    line, side = talib.SUPERTREND(*prices(bars)[:3], timeperiod=10, multiplier=3.0)
    ours = compute(bars, (SUPERTREND,), RECORDED[name], 0)
    turned = int(np.flatnonzero(np.diff(side[wilder_bars(10) :]))[1]) + wilder_bars(10) + 1
    assert turned < 2_000
    assert np.array_equal(ours["supertrend_direction"].to_numpy()[turned:], np.where(side > 0, 1.0, -1.0)[turned:])
    assert np.max(np.abs(ours["supertrend"].to_numpy() / line - 1)[turned:]) < 1e-9


def test_obv_of_a_worked_example() -> None:
    """Volumes 5 7 1 3 2 at closes 10 11 11 9 12: 5, then +7, 0, -3, +2."""
    columns = {"close": np.array([10.0, 11, 11, 9, 12]), "volume": np.array([5.0, 7, 1, 3, 2])}
    assert SUMS[0].compute(columns)[0].tolist() == [5, 12, 12, 9, 11]


def test_the_accumulation_line_of_a_worked_example() -> None:
    """Closes at the high, at the low, in the middle, three quarters up, and a bar without a range, of 8 traded each."""
    columns = {
        "high": np.array([4.0, 4, 4, 4, 4]),
        "low": np.array([0.0, 0, 0, 0, 4]),
        "close": np.array([4.0, 0, 2, 3, 4]),
        "volume": np.full(5, 8.0),
    }
    assert SUMS[1].compute(columns)[0].tolist() == [8, 0, 0, 4, 4]


@pytest.mark.parametrize("seed", range(3))
def test_no_value_before_the_range_has_settled_and_none_is_missing_after(seed: int) -> None:
    bars = random_bars(seed, CHUNK_BARS, Timeframe.H1, missing=0.05)
    ours = compute(bars, (SUPERTREND,), Timeframe.H1, 0)
    assert ours.isna().all(axis=1).sum() == ours.isna().any(axis=1).sum() == wilder_bars(10)
    assert ours["supertrend_direction"].iloc[wilder_bars(10)] == 1.0


def test_a_stored_row_is_all_that_is_needed_of_the_past() -> None:
    """Of two histories that differ, one is cut off at a chunk and goes on from the row of the other."""
    bars = random_bars(5, 3 * CHUNK_BARS, Timeframe.H1)
    specs = (*SUMS, SUPERTREND)
    whole = compute(bars, specs, Timeframe.H1, 0)
    edge = int(np.flatnonzero(np.diff(index_ms(bars.index) // (CHUNK_BARS * Timeframe.H1.ms)))[1]) + 1
    part = bars.iloc[edge - SUPERTREND.warmup :]
    start_ms = int(index_ms(bars.index)[edge])
    assert bits(compute(part, specs, Timeframe.H1, start_ms, whole.iloc[edge - 1])) == bits(whole.iloc[edge:])
    last = dict(whole.iloc[edge - 1])
    moved = compute(part, specs, Timeframe.H1, start_ms, {**last, "obv": last["obv"] + 1_000})
    assert np.allclose(moved["obv"] - whole["obv"].iloc[edge:], 1_000.0)
