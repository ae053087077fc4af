"""Each gate against hand-made rows, and data quality against counting slot by slot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.gates import (
    crossed_above,
    data_quality_gate,
    macd_gate,
    risk_reward_gate,
    rsi_gate,
    trend_gate,
)

from .conftest import random_bars

NAN = np.nan
RECOVERY = (50.0, 70.0, 3)


def verdicts(told: pd.array) -> list:
    return [None if value is pd.NA else bool(value) for value in told]


def test_trend():
    gate = trend_gate(np.array([NAN, -1.0, 0.0, 1.0]))
    assert verdicts(gate.verdict) == [None, False, False, True]
    np.testing.assert_array_equal(gate.score, [NAN, -1.0, 0.0, 1.0])


def test_rsi_confirms_for_three_bars_after_it_rose_through_50():
    rsi = np.array([40, 45, 48, 51, 55, 58, 60, 49, 52, 48.0])
    assert verdicts(rsi_gate(rsi, *RECOVERY).verdict) == [None, None, None, True, True, True, False, False, True, False]


def test_rsi_above_overbought_does_not_confirm():
    gate = rsi_gate(np.array([45, 45, 45, 71.0, 70.0, 85.0]), *RECOVERY)
    assert verdicts(gate.verdict)[3:] == [False, True, False]
    np.testing.assert_allclose(gate.score, [-0.25, -0.25, -0.25, -1 / 30, 1.0, -0.5])


def test_rsi_is_unknown_while_any_value_it_looks_at_is():
    rsi = np.array([40, 40, 40, 40, NAN, 55, 55, 55, 55, 55.0])
    assert verdicts(rsi_gate(rsi, *RECOVERY).verdict) == [None] * 3 + [False] + [None] * 4 + [False, False]


def test_macd_confirms_above_zero_or_rising():
    histogram = np.array([NAN, -2.0, -1.0, -1.0, 1.0, 0.5, -0.5])
    gate = macd_gate(histogram + 1, np.ones(7), histogram)
    assert verdicts(gate.verdict) == [None, None, True, False, True, True, False]
    assert np.nanmax(np.abs(gate.score)) <= 1


def test_macd_score_has_no_scale():
    macd, signal = np.array([3.0, -1.0, 0.0]), np.array([1.0, 1.0, 0.0])
    small = macd_gate(macd, signal, macd - signal).score
    np.testing.assert_allclose(small, [0.5, -1.0, 0.0])
    np.testing.assert_allclose(macd_gate(macd * 1e6, signal * 1e6, (macd - signal) * 1e6).score, small)


def test_risk_reward():
    gate = risk_reward_gate(np.array([1.49, 1.5, NAN, 3.0]), 1.5)
    assert verdicts(gate.verdict) == [False, True, None, True]
    np.testing.assert_allclose(gate.score, [-0.01 / 2.99, 0, NAN, 1 / 3])


def test_a_crossing_is_at_one_bar():
    values = np.array([1, 2, 3, 3, 2, 3, NAN, 1, 3.0])
    assert verdicts(crossed_above(values, np.full(9, 2.0))) == [None, False, True, False, False, True, None, None, True]


@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
def test_data_quality_counts_slots(seed, clean_bars):
    timeframe = Timeframe.M15
    bars = random_bars(seed, timeframe, 120)
    opens = index_ms(bars.index)
    gate = data_quality_gate(opens, bars["is_filled"].to_numpy(), timeframe, clean_bars)
    sound = dict(zip(opens.tolist(), (~bars["is_filled"]).tolist(), strict=True))
    for row, ts in enumerate(opens.tolist()):
        slots = [ts - back * timeframe.ms for back in range(clean_bars)]
        known = [slot for slot in slots if slot >= opens[0]]
        faults = sum(not sound.get(slot, False) for slot in known)
        expected = False if faults else (True if len(known) == clean_bars else None)
        assert verdicts(gate.verdict)[row] is expected
        if expected is not None:
            assert gate.score[row] == pytest.approx(1 - 2 * faults / clean_bars)
