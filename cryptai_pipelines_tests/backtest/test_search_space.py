"""Spaces from plain data and from text, and the points in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest.search_space import grid_points, grid_size, parse_dimension, random_points, space_of
from cryptai_pipelines.market.errors import BadArgument


def space_of_text(*texts):
    return space_of(dict(parse_dimension(text) for text in texts))


def test_text_gives_the_values_as_they_are_written():
    targets, window, fee, mixed = space_of_text(
        "take_profit=0.05:0.30:0.01", "rsi_window=1:3", "fee_rate=0.0001:0.01:log3", "sizing=fraction,risk"
    )
    assert targets.values[:3] == (0.05, 0.06, 0.07) and targets.values[-1] == 0.3 and len(targets.values) == 26
    assert window.values == (1, 2, 3) and all(isinstance(value, int) for value in window.values)
    assert fee.values == pytest.approx((0.0001, 0.001, 0.01), rel=1e-12) and fee.values[-1] == 0.01
    assert mixed.values == ("fraction", "risk") and not mixed.ordered
    continuous, logarithmic = space_of_text("size=0.1:1.0", "fee_rate=0.0001:0.01:log")
    assert continuous.values is None and (continuous.low, continuous.high) == (0.1, 1.0)
    assert logarithmic.values is None and logarithmic.log


def test_a_step_that_does_not_reach_the_end_stops_before_it():
    assert space_of({"a": {"low": 0.1, "high": 0.35, "step": 0.1}})[0].values == (0.1, 0.2, 0.3)


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 40))
def test_steps_are_the_decimals_a_person_would_write(low, step, count):
    values = space_of({"a": {"low": low / 100, "high": (low + step * count) / 100, "step": step / 100}})[0].values
    assert values == tuple((low + step * number) / 100 for number in range(count + 1))


def test_the_grid_is_every_combination_once_with_the_last_parameter_fastest():
    space = space_of({"a": [1, 2], "b": ["x", "y", "z"]})
    points = list(grid_points(space))
    assert points[:4] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 1, "b": "z"}, {"a": 2, "b": "x"}]
    assert len(points) == grid_size(space) == 6 == len({tuple(point.values()) for point in points})


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_random_points_are_different_inside_and_go_on_where_fewer_ended(seed, count):
    space = space_of({"a": {"low": 1, "high": 9}, "b": {"low": 0.1, "high": 10.0, "log": True}})
    points = random_points(space, count, seed)
    assert points == random_points(space, count + 7, seed)[:count]
    assert len({tuple(point.values()) for point in points}) == count
    assert all(1 <= point["a"] <= 9 and 0.1 <= point["b"] <= 10 for point in points)


def test_random_points_of_a_small_space_are_all_of_it():
    space = space_of({"a": [1, 2, 3], "b": [True, False]})
    points = random_points(space, 100, 5)
    assert sorted(map(str, points)) == sorted(map(str, grid_points(space)))
    assert points[:4] == random_points(space, 4, 5)


def test_logarithms_are_drawn_evenly():
    space = space_of({"a": {"low": 0.001, "high": 1.0, "log": True}})
    drawn = np.log10([point["a"] for point in random_points(space, 3_000, 1)])
    counts = np.histogram(drawn, bins=3, range=(-3, 0))[0]
    assert counts.sum() == 3_000 and counts.min() > 900


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "without parameters"),
        ({"a": {"low": 2, "high": 1}}, "a from 2 to 1 is empty"),
        ({"a": {"low": 0.0, "high": 1.0, "log": True}}, "low above 0"),
        ({"a": {"low": 0.1, "high": 1.0, "step": 0.1, "log": True}}, "no step"),
        ({"a": {"low": 0.1, "high": 1.0, "step": 0}}, "step 0"),
        ({"a": {"low": 0.1, "high": 1.0, "count": 3}}, "count without log"),
        ({"a": {"low": 0.1, "high": 1.0, "log": True, "count": 1}}, "count 1"),
        ({"a": {"low": 0.1}}, "high None"),
        ({"a": {"low": 0.1, "high": math.inf}}, "high inf"),
        ({"a": {"low": 0.1, "high": 1.0, "steps": 3}}, "key 'steps'"),
        ({"a": []}, "choices"),
        ({"a": [1, 1]}, "twice"),
        ({"a": [None]}, "choice None"),
        ({"a": 3}, "a 3"),
        ({"a": {"low": 0.0, "high": 1.0, "step": 1e-9}}, "1,000,000,001 values"),
    ],
)
def test_what_is_no_space_is_named(given, message):
    with pytest.raises(BadArgument, match=message):
        space_of(given)


@pytest.mark.parametrize("text", ["take_profit", "=1", "a=", "a=1:2:3:4", "a=1:2:logx", "a=x:2:1"])
def test_text_that_is_no_parameter_is_named(text):
    with pytest.raises(BadArgument, match=text.split("=")[0] or "is not a parameter"):
        space_of_text(text)


def test_a_grid_without_end_or_beyond_measure_is_refused():
    with pytest.raises(BadArgument, match="size has no step"):
        grid_size(space_of({"size": {"low": 0.1, "high": 1.0}}))
    with pytest.raises(BadArgument, match="4,000,000 points"):
        grid_size(space_of({"a": {"low": 1, "high": 2000}, "b": {"low": 1, "high": 2000}}))
