"""The surface of a search, and the page that shows it."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from cryptai_pipelines.backtest.heat_map import heat_map_page
from cryptai_pipelines.backtest.search import Found
from cryptai_pipelines.backtest.search_space import grid_points, random_points, space_of
from cryptai_pipelines.backtest.surface import default_pair, surface
from cryptai_pipelines.market.errors import BadArgument

SPACE = space_of({"a": [1, 2, 3, 4], "b": ["x", "y", "z"], "c": [True, False]})


def found_on(space, worth) -> list[Found]:
    return [Found(number, str(number), point, {"sharpe": worth(point)}) for number, point in enumerate(grid_points(space))]


def test_a_cell_is_the_best_of_the_points_in_it():
    found = found_on(SPACE, lambda point: point["a"] + 10 * "xyz".index(point["b"]) + (0.5 if point["c"] else 0.0))
    map_ = surface(found, SPACE, "sharpe", "a", "b")
    expected = [[a + 10 * row + 0.5 for a in (1, 2, 3, 4)] for row in range(3)]
    assert map_.values.tolist() == expected and map_.x_labels == ("1", "2", "3", "4") and map_.y_labels == ("x", "y", "z")
    assert map_.best == (2, 3) and map_.best_value == 24.5
    assert map_.neighbours == ((1, 2), (1, 3), (2, 2)) and map_.neighbours_mean == pytest.approx((13.5 + 14.5 + 23.5) / 3)


def test_a_peak_stands_alone_and_a_plateau_does_not():
    peak = surface(found_on(SPACE, lambda p: 5.0 if (p["a"], p["b"]) == (2, "y") else 0.0), SPACE, "sharpe", "a", "b")
    assert peak.best == (1, 1) and len(peak.neighbours) == 8 and peak.neighbours_mean == 0.0


def test_cells_without_the_objective_are_empty():
    nothing = surface(found_on(SPACE, lambda point: math.nan), SPACE, "sharpe", "a", "b")
    assert nothing.best is None and np.isnan(nothing.values).all() and math.isnan(nothing.best_value)
    found = found_on(SPACE, lambda point: math.inf if point["a"] == 1 else math.nan if point["a"] == 2 else 1.0)
    endless = surface(found, SPACE, "sharpe", "a", "b")
    assert endless.best == (0, 2), "an infinite value is no height to compare with"


def test_numbers_of_a_range_are_laid_out_in_buckets():
    space = space_of({"a": {"low": 0.001, "high": 1.0, "log": True}, "b": {"low": 1, "high": 500}})
    points = random_points(space, 4_000, 1)
    found = [Found(number, str(number), point, {"sharpe": point["a"]}) for number, point in enumerate(points)]
    map_ = surface(found, space, "sharpe", "a", "b")
    assert map_.values.shape == (20, 20) and np.isfinite(map_.values).all()
    edges = np.geomspace(0.001, 1.0, 21)
    for column in range(20):
        assert (map_.values[:, column] >= edges[column]).all() and (map_.values[:, column] <= edges[column + 1]).all()


def test_the_pair_to_show_is_the_widest_one():
    assert default_pair(SPACE) == ("a", "b")
    assert default_pair(space_of({"a": [1], "b": [1, 2], "c": {"low": 0.0, "high": 1.0}})) == ("b", "c")
    assert default_pair(space_of({"a": [1, 2], "b": [3]})) is None


def test_a_parameter_that_was_not_searched_has_no_axis():
    with pytest.raises(BadArgument, match="a and d is not accepted; accepted: two of a, b, c"):
        surface([], SPACE, "sharpe", "a", "d")


def test_the_page_holds_the_map_and_fetches_nothing():
    found = found_on(SPACE, lambda point: float(point["a"]))
    page = heat_map_page(surface(found, SPACE, "sharpe", "a", "b"), "<b>BTC</b>", "sharpe", {"points": 24, "of": "</script>"})
    assert "<b>BTC</b>" not in page and "&lt;b&gt;BTC" in page
    assert "Best sharpe 4.0000 at a 4, b x" in page
    drawn = json.loads(re.search(r"const f=(\{.*?\});Plotly", page).group(1))
    assert drawn["data"][0]["z"] == [[1.0, 2.0, 3.0, 4.0]] * 3
    assert drawn["data"][2]["x"] == ["4"] and len(drawn["data"][1]["x"]) == 3
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
