"""The share of filled input: a count by hand, and no knowledge of what comes after."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.indicators.filled_share import filled_share

FLAGS = st.lists(st.booleans(), max_size=40).map(lambda flags: np.array(flags, dtype=bool))


@given(FLAGS, st.integers(1, 12))
def test_it_is_the_share_among_the_last_bars(flags: np.ndarray, window: int) -> None:
    expected = [np.mean(flags[max(0, row + 1 - window) : row + 1]) for row in range(len(flags))]
    np.testing.assert_allclose(filled_share(flags, window), expected, rtol=1e-15)


@given(FLAGS, st.integers(0, 40), st.integers(1, 12))
def test_a_prefix_gives_the_same_values(flags: np.ndarray, cut: int, window: int) -> None:
    np.testing.assert_array_equal(filled_share(flags[:cut], window), filled_share(flags, window)[:cut])
