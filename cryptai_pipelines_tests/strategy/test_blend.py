"""The blend: by hand, and that what is absent is left out and never assumed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.blend import WEIGHTS, blend

NAN = np.nan
PART = st.one_of(st.just(NAN), st.floats(-1, 1))


def test_by_hand():
    parts = {
        "strategy": np.array([0.5, 0.5, NAN, NAN, 1.0]),
        "sentiment": np.array([-1.0, NAN, NAN, 0.4, 1.0]),
        "ml": np.array([0.5, NAN, NAN, -0.2, 1.0]),
    }
    score, coverage = blend(parts, WEIGHTS)
    np.testing.assert_allclose(score, [0.3 - 0.2 + 0.1, 0.5, NAN, 0.1, 1.0])
    np.testing.assert_allclose(coverage, [1.0, 0.6, 0.0, 0.4, 1.0])
    assert score[1] == 0.5  # a part that is there alone, to the last bit


@example([(0.5, NAN, NAN)], 5e-324, 0.0)
@given(st.lists(st.tuples(PART, PART, PART), min_size=1, max_size=5), st.floats(0, 1), st.floats(0, 1))
def test_the_score_lies_between_its_parts_and_absence_is_covered_by_nothing(rows, first, share):
    weights = {"strategy": first, "sentiment": (1 - first) * share, "ml": 1 - first - (1 - first) * share}
    parts = {name: np.array([row[at] for row in rows]) for at, name in enumerate(weights)}
    score, coverage = blend(parts, weights)
    for at, row in enumerate(rows):
        present = {name: value for name, value in zip(weights, row, strict=True) if not np.isnan(value) and weights[name]}
        assert coverage[at] == pytest.approx(sum(weights[name] for name in present))
        if not present:
            assert np.isnan(score[at])
        else:
            assert min(present.values()) - 1e-9 <= score[at] <= max(present.values()) + 1e-9


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 0.7, "b": 0.2}, "weights a 0.7 . b 0.2 are 0.9 together; accepted: 1"),
        ({"a": 1.2, "b": -0.2}, "weight of b -0.2 is not accepted"),
        ({"a": NAN, "b": 1.0}, "weight of a nan is not accepted"),
        ({"a": 0.5, "c": 0.5}, "weights a, c are not those of the parts a, b"),
    ],
)
def test_weights_off_the_simplex_are_named(weights, message):
    with pytest.raises(BadArgument, match=message):
        blend({"a": np.zeros(1), "b": np.zeros(1)}, weights)
