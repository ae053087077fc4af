"""Gates of structure and candles: worked examples, and random rows against a reading bar by bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.strategy.candle_gates import BEARISH, BULLISH, PATTERNS, candle_gate
from cryptai_pipelines.strategy.structure_gates import WARNED, agreement_gate, higher_agreement, structure_gate

from .test_gates import verdicts

NAN = np.nan
EVENTS = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, -1.0, NAN]), min_size=1, max_size=40)


def test_trend_and_bias_must_agree():
    agreement = higher_agreement(np.array([1.0, 1.0, -1.0, 0.0, NAN]), np.array([1.0, -1.0, -1.0, 1.0, 1.0]))
    gate = agreement_gate(np.ones(5), agreement)
    assert verdicts(gate.verdict) == [True, False, False, False, None]
    np.testing.assert_array_equal(gate.score, [1.0, 0.0, -1.0, 0.5, NAN])
    assert verdicts(agreement_gate(-np.ones(5), agreement).verdict) == [False, False, True, False, None]


def test_a_break_counts_for_its_window_and_fades():
    bos = np.array([0, 1, 0, 0, 0, 0.0])
    gate = structure_gate(np.ones(6), bos, np.zeros(6), 3, True)
    assert verdicts(gate.verdict) == [False, True, True, True, False, False]
    np.testing.assert_allclose(gate.score, [0, 1, 2 / 3, 1 / 3, 0, 0])
    assert verdicts(structure_gate(-np.ones(6), bos, np.zeros(6), 3, True).verdict) == [False] * 6


def test_a_change_of_character_against_it_blocks_or_warns():
    bos, choch = np.array([0, 1, 0, 0, 1, 0.0]), np.array([0, 0, -1, 0, 0, 1.0])
    blocked = structure_gate(np.ones(6), bos, choch, 6, True)
    assert verdicts(blocked.verdict) == [False, True, False, False, True, True]
    warned = structure_gate(np.ones(6), bos, choch, 6, False)
    assert verdicts(warned.verdict) == [False, True, True, True, True, True]
    fresh = np.array([0, 1, 5 / 6, 4 / 6, 1, 5 / 6])
    np.testing.assert_allclose(warned.score, fresh * [1, 1, WARNED, WARNED, 1, 1])
    np.testing.assert_array_equal(blocked.score, warned.score)


def test_of_a_break_beyond_the_window_not_even_the_sign_of_a_zero_is_left():
    bos = np.zeros(9)
    bos[1] = -1.0
    score = structure_gate(np.ones(9), bos, np.zeros(9), 3, True).score
    assert score[4:].tobytes() == np.zeros(5).tobytes()


@given(EVENTS, st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_structure_equals_a_reading_bar_by_bar(events, seed, window, blocks):
    bos = np.array(events)
    rng = np.random.default_rng(seed)
    choch = np.where(np.isnan(bos), NAN, rng.choice([0.0, 0.0, 1.0, -1.0], len(bos)))
    direction = rng.choice([1, -1], len(bos))
    gate = structure_gate(direction, bos, choch, window, blocks)
    for at, side in enumerate(direction):
        seen = range(max(0, at - window + 1), at + 1)
        if any(np.isnan(bos[row]) for row in seen):
            assert verdicts(gate.verdict)[at] is None and np.isnan(gate.score[at])
            continue
        broke = [row for row in seen if bos[row] == side]
        turned = broke and any(choch[row] == -side for row in range(broke[-1] + 1, at + 1))
        assert verdicts(gate.verdict)[at] is bool(broke and not (blocks and turned))


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 30))
def test_candles_equal_a_reading_bar_by_bar(seed, window, count):
    rng = np.random.default_rng(seed)
    values = rng.choice([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 100.0, -100.0, 200.0], (count, len(PATTERNS)))
    patterns = pd.DataFrame(values, columns=list(PATTERNS)).mask(np.repeat(rng.random((count, 1)) < 0.1, len(PATTERNS), axis=1))
    direction = rng.choice([1, -1], count)
    gate = candle_gate(direction, patterns, window)
    for at, side in enumerate(direction):
        rows = patterns.iloc[max(0, at - window + 1) : at + 1]
        if rows.isna().any(axis=None):
            assert verdicts(gate.verdict)[at] is None and np.isnan(gate.score[at])
            continue
        up, down = bool((rows[list(BULLISH)] > 0).any(axis=None)), bool((rows[list(BEARISH)] < 0).any(axis=None))
        assert verdicts(gate.verdict)[at] is (up if side > 0 else down)
        assert gate.score[at] == up - down
