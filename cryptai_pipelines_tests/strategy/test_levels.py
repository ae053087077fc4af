"""Stops and targets: worked examples, the nearer one of two always, and a short being a long turned round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.strategy.levels import by_share, risk_reward, stop, target

NAN = np.nan
LONG, SHORT = np.array([1]), np.array([-1])
PRICE = st.floats(1, 200)


def one(*values: float) -> list[np.ndarray]:
    return [np.array([value], dtype="float64") for value in values]


@pytest.mark.parametrize(
    ("swing", "buffer", "price", "own"),
    [
        (95.0, 1.0, 94.0, 94.0),  # nearer than 8 %
        (91.0, 1.0, 92.0, NAN),  # farther
        (NAN, 1.0, 92.0, NAN),  # no swing yet
        (101.0, 0.5, 92.0, NAN),  # the swing is on the other side
        (100.2, 0.5, 99.7, 99.7),  # but its buffer is not
        (95.0, NAN, NAN, 95.0),  # the buffer is unknown
    ],
)
def test_stop_of_a_long(swing, buffer, price, own):
    found = stop(LONG, *one(100.0), 0.08, *one(swing, buffer))
    np.testing.assert_allclose(found.price, [price])
    if not np.isnan(buffer):
        np.testing.assert_allclose(found.own, [own])


@pytest.mark.parametrize(
    ("opposing", "price", "own"),
    [
        ((110.0, 112.0, NAN), 110.0, 110.0),
        ((99.0, 112.0, 103.0), 103.0, 103.0),
        ((99.0, 120.0, NAN), 115.0, NAN),
        ((NAN, NAN, NAN), 115.0, NAN),
        ((100.0, 90.0, 80.0), 115.0, NAN),
    ],
)
def test_target_of_a_long(opposing, price, own):
    found = target(LONG, *one(100.0), 0.15, one(*opposing))
    np.testing.assert_allclose(found.price, [price])
    np.testing.assert_allclose(found.own, [own])


def test_levels_of_a_short_are_on_the_other_sides():
    found = stop(SHORT, *one(100.0), 0.08, *one(104.0, 1.0))
    assert (found.price[0], found.own[0]) == (105.0, 105.0)
    assert stop(SHORT, *one(100.0), 0.08, *one(110.0, 1.0)).price[0] == 108.0
    found = target(SHORT, *one(100.0), 0.15, one(103.0, 90.0, 80.0))
    assert (found.price[0], found.own[0]) == (90.0, 90.0)


@given(PRICE, PRICE, st.floats(0, 5), st.lists(PRICE, min_size=1, max_size=3), st.sampled_from([0.01, 0.08, 0.5]))
def test_the_nearer_one_is_taken_and_lies_on_its_side(close, swing, buffer, opposing, share):
    for side in (1, -1):
        direction = np.array([side])
        stopped = stop(direction, *one(close), share, *one(swing, buffer)).price[0]
        aimed = target(direction, *one(close), share, one(*opposing)).price[0]
        own = swing - side * buffer
        candidates = [close * (1 - side * share), *([own] if side * (close - own) > 0 else [])]
        assert stopped == min(candidates, key=lambda price: abs(close - price)) and side * (close - stopped) > 0
        candidates = [close * (1 + side * share), *(level for level in opposing if side * (level - close) > 0)]
        assert aimed == min(candidates, key=lambda price: abs(close - price)) and side * (aimed - close) > 0


def test_risk_reward_by_hand():
    free = risk_reward(np.array([1, -1]), np.full(2, 100.0), np.array([95.0, 105.0]), np.array([110.0, 90.0]), 0.0, 0.0)
    np.testing.assert_allclose(free, [2.0, 2.0])
    paid, kept = 1.01 * 1.02, 0.99 * 0.98
    dear = risk_reward(np.array([1, -1]), np.full(2, 100.0), np.array([95.0, 105.0]), np.array([110.0, 90.0]), 0.02, 100.0)
    long = (110 * kept - 100 * paid) / (100 * paid - 95 * kept)
    short = (100 * kept - 90 * paid) / (105 * paid - 100 * kept)
    np.testing.assert_allclose(dear, [long, short])
    assert np.isnan(risk_reward(LONG, *one(100.0, NAN, 110.0), 0.0, 0.0)[0])


@given(st.floats(0, 0.05), st.floats(0, 0.05), st.floats(0, 100), st.floats(0, 100), st.sampled_from([1, -1]))
def test_costs_lower_it(fee, more_fee, slippage, more_slippage, side):
    levels = (np.array([side]), *one(100.0, 100 - 8 * side, 100 + 15 * side))
    cheap = risk_reward(*levels, fee, slippage)[0]
    assert risk_reward(*levels, fee + more_fee, slippage + more_slippage)[0] <= cheap + 1e-12


def test_at_fixed_shares_it_is_the_same_at_every_price():
    close, direction = np.array([0.5, 100.0, 60_000.0]), np.ones(3)
    stops, targets = by_share(direction, close, -0.08), by_share(direction, close, 0.15)
    np.testing.assert_allclose(risk_reward(direction, close, stops.price, targets.price, 0.0, 0.0), 0.15 / 0.08)
    assert np.isnan(stops.own).all() and np.isnan(targets.own).all()
