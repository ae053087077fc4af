"""The surface of a search over two of its parameters, and how the best cell stands among its neighbours. How it is drawn is in
`heat_map`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.backtest.search import Found
from cryptai_pipelines.backtest.search_space import Dimension
from cryptai_pipelines.market.errors import BadArgument

_MOST_CELLS = 60
_BUCKETS = 20


@dataclass(frozen=True)
class Surface:
    """values: float64, a row per label of `y` and a column per label of `x`, each the best objective of the points there, NaN
    where there is none or none with the objective. best: row and column of the highest one, None without any. neighbours: those
    of the up to 8 cells around it that have a value."""

    x: str
    y: str
    x_labels: tuple[str, ...]
    y_labels: tuple[str, ...]
    values: np.ndarray
    best: tuple[int, int] | None
    neighbours: tuple[tuple[int, int], ...]

    @property
    def best_value(self) -> float:
        """The highest value, NaN without any."""
        return math.nan if self.best is None else float(self.values[self.best])

    @property
    def neighbours_mean(self) -> float:
        """Mean of the neighbours: near the best value on a plateau, far below it on a peak that may be luck. NaN without."""
        return float(np.mean([self.values[cell] for cell in self.neighbours])) if self.neighbours else math.nan


def default_pair(space: Sequence[Dimension]) -> tuple[str, str] | None:
    """The two parameters with the most values that can be laid along an axis, in the order of the space; None for fewer."""
    wide = sorted((one for one in space if _width(one) > 1), key=lambda one: -_width(one))[:2]
    names = [one.name for one in space if one in wide]
    return (names[0], names[1]) if len(names) == 2 else None


def surface(found: Sequence[Found], space: Sequence[Dimension], objective: str, x: str, y: str) -> Surface:
    """The surface over the parameters `x` and `y`. A parameter with more than 60 values, or with any number of a range, is laid
    out in 20 buckets of equal width, by logarithm where it was drawn so. `BadArgument` for one that was not searched."""
    axes = {dimension.name: dimension for dimension in space}
    for name in (x, y):
        if name not in axes or x == y:
            raise BadArgument(f"a map over {x} and {y} is not accepted; accepted: two of {', '.join(axes)}")
    (x_labels, x_cells), (y_labels, y_cells) = (_axis(axes[name], [one.point[name] for one in found]) for name in (x, y))
    values = np.full((len(y_labels), len(x_labels)), -math.inf)
    worth = np.array([one.value(objective) for one in found], dtype="float64")
    np.maximum.at(values, (y_cells, x_cells), worth)
    values[np.isneginf(values)] = math.nan
    best = None
    if np.isfinite(values).any():
        row, column = np.unravel_index(np.nanargmax(np.where(np.isfinite(values), values, np.nan)), values.shape)
        best = (int(row), int(column))
    return Surface(x, y, x_labels, y_labels, values, best, _around(values, best))


def _around(values: np.ndarray, best: tuple[int, int] | None) -> tuple[tuple[int, int], ...]:
    if best is None:
        return ()
    rows, columns = values.shape
    cells = [(best[0] + down, best[1] + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    inside = [cell for cell in cells if cell != best and 0 <= cell[0] < rows and 0 <= cell[1] < columns]
    return tuple(cell for cell in inside if math.isfinite(values[cell]))


def _width(dimension: Dimension) -> int:
    return _BUCKETS if dimension.values is None else len(dimension.values)


def _axis(dimension: Dimension, given: Sequence[object]) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels of the cells along an axis, and in which of them each given value lies."""
    if dimension.values is not None and len(dimension.values) <= _MOST_CELLS:
        places = {value: place for place, value in enumerate(dimension.values)}
        return tuple(_label(value) for value in dimension.values), np.array([places[value] for value in given], dtype=np.int64)
    ends = dimension.values or (dimension.low, dimension.high)
    space_between = np.geomspace if dimension.log else np.linspace
    edges = space_between(float(ends[0]), float(ends[-1]), _BUCKETS + 1)
    cells = np.searchsorted(edges[1:-1], np.array(given, dtype="float64"), side="right")
    return tuple(f"{low:.4g} to {high:.4g}" for low, high in zip(edges[:-1], edges[1:], strict=True)), cells


def _label(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
