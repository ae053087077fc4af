"""The index of block extremes against looking at every value."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest.extremes import FANOUT, deepest_fall, extremes, first_touch

SEEDS = st.integers(0, 2**32 - 1)


def values_of(seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Lowest and highest values on a coarse grid, so that ties happen, some of them not to be found."""
    rng = np.random.default_rng(seed)
    count = int(rng.choice([1, 2, FANOUT, FANOUT + 1, 300, FANOUT**2 + 1, 5_000]))
    middle = np.cumsum(rng.integers(-2, 3, count)).astype("float64")
    lowest, highest = middle - rng.integers(0, 3, count), middle + rng.integers(0, 3, count)
    never = rng.random(count) < 0.1
    return np.where(never, math.inf, lowest), np.where(never, -math.inf, highest), rng


@given(SEEDS)
def test_first_touch_is_the_first_value_that_leaves_the_band(seed):
    lowest, highest, rng = values_of(seed)
    index = extremes(lowest, highest)
    for _ in range(20):
        start = int(rng.integers(0, len(lowest)))
        floor, ceiling = float(rng.integers(-80, 20)), float(rng.choice([rng.integers(-20, 80), math.inf]))
        touched = np.flatnonzero((lowest[start:] <= floor) | (highest[start:] >= ceiling))
        expected = start + int(touched[0]) if len(touched) else len(lowest)
        assert first_touch(index, start, floor, ceiling) == expected


@given(SEEDS)
def test_deepest_fall_is_that_of_every_value_in_turn(seed):
    rng = np.random.default_rng(seed)
    values = np.exp(np.cumsum(rng.normal(0, 0.02, int(rng.choice([1, FANOUT, 400, 5_000])))))
    index = extremes(values, values)
    base, factor = float(rng.choice([0.0, 0.3, 7.0])), float(rng.uniform(0.1, 3))
    found, expected = (1.0, 0.0), (1.0, 0.0)
    for _ in range(4):
        begin, end = sorted(rng.integers(0, len(values) + 1, 2).tolist())
        found = deepest_fall(index, begin, end, base, factor, *found)
        for value in values[begin:end].tolist():
            peak = max(expected[0], base + factor * value)
            expected = (peak, min(expected[1], (base + factor * value) / peak - 1.0))
        assert found == expected, "not the same to the last bit"
