"""What a search may try: parameters with their values, given as plain data or as text, and the points made of them. Which
points are tried in which order is the affair of `search`; what a parameter means, of the strategy and of `parameters`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TypeAlias

import numpy as np

from cryptai_pipelines.market.errors import BadArgument

Value: TypeAlias = float | int | str | bool
Point: TypeAlias = dict[str, Value]

MOST_POINTS = 1_000_000
_TEXT_FORMS = "accepted: a,b,c or low:high:step or low:high or low:high:log or low:high:logN"
_KEYS = ("low", "high", "step", "log", "count", "choices")


@dataclass(frozen=True)
class Dimension:
    """One parameter and what it may be.

    values: all of them, in order; None for any number from `low` to `high`. log: numbers are drawn evenly by their logarithm.
    ordered: whether neighbours in `values` are alike, as numbers of a range are and names of a choice are not.
    """

    name: str
    values: tuple[Value, ...] | None
    low: float = math.nan
    high: float = math.nan
    log: bool = False
    ordered: bool = True


def space_of(given: Mapping[str, object]) -> tuple[Dimension, ...]:
    """The dimensions of plain data: by parameter name a list of choices, or a mapping of either `choices`, or `low` and `high`
    with one of `step`, `log: true`, and `log: true` with `count` (so many values, evenly by their logarithm). Without any of
    these the range is continuous, or every whole number when both ends are whole numbers.

    `BadArgument` names the parameter and what is wrong with it.
    """
    if not isinstance(given, Mapping) or not given:
        raise BadArgument("a search space without parameters is not accepted; accepted: at least one, such as stop_loss")
    return tuple(_dimension(name, spec) for name, spec in given.items())


def parse_dimension(text: str) -> tuple[str, dict[str, object]]:
    """Name and plain data, as `space_of` takes them, of text such as `take_profit=0.05:0.30:0.01`, `rsi_window=1,2,3` or
    `fee_rate=0.0001:0.01:log`. `BadArgument` for other text."""
    name, equals, spec = text.partition("=")
    if not equals or not name.strip() or not spec.strip():
        raise BadArgument(f"{text!r} is not a parameter with its values; accepted: NAME=VALUES; {_TEXT_FORMS[10:]}")
    parts = [part.strip() for part in spec.split(":")]
    if len(parts) == 1:
        return name.strip(), {"choices": [_literal(item.strip()) for item in spec.split(",")]}
    ends: dict[str, object] = {}
    for key, part in zip(("low", "high"), parts, strict=False):
        ends[key] = _literal(part)
    if len(parts) == 3 and parts[2].startswith("log"):
        count = parts[2][3:]
        if count and not count.isdigit():
            raise BadArgument(f"{text!r} is not understood; {_TEXT_FORMS}")
        ends |= {"log": True, **({"count": int(count)} if count else {})}
    elif len(parts) == 3:
        ends["step"] = _literal(parts[2])
    elif len(parts) > 3:
        raise BadArgument(f"{text!r} is not understood; {_TEXT_FORMS}")
    return name.strip(), ends


def grid_size(space: Sequence[Dimension]) -> int:
    """How many points the full grid has; `BadArgument` when a parameter is continuous, or for more than `MOST_POINTS`."""
    size = 1
    for dimension in space:
        if dimension.values is None:
            raise BadArgument(f"{dimension.name} has no step, so a grid would have no end; accepted: a step, choices or logN")
        size *= len(dimension.values)
    if size > MOST_POINTS:
        raise BadArgument(f"a grid of {size:,} points is not accepted; accepted: at most {MOST_POINTS:,}")
    return size


def grid_points(space: Sequence[Dimension]) -> Iterator[Point]:
    """Every point, the last parameter changing fastest; `BadArgument` as `grid_size`."""
    grid_size(space)
    names = [dimension.name for dimension in space]
    for values in itertools.product(*(dimension.values or () for dimension in space)):
        yield dict(zip(names, values, strict=True))


def random_points(space: Sequence[Dimension], count: int, seed: int) -> list[Point]:
    """`count` different points, each parameter drawn evenly and by itself; all points of the space where it has no more. The
    same seed gives the same points, and a larger `count` the same ones and then more."""
    rng = np.random.default_rng(seed)
    size = math.prod(math.inf if one.values is None else len(one.values) for one in space)
    if size <= MOST_POINTS:
        return [_grid_point(space, row) for row in rng.permutation(int(size))[:count].tolist()]
    found: dict[tuple[Value, ...], Point] = {}
    while len(found) < count:
        point = {dimension.name: _drawn(dimension, rng) for dimension in space}
        found.setdefault(tuple(point.values()), point)
    return list(found.values())


def _grid_point(space: Sequence[Dimension], row: int) -> Point:
    """The point number `row` of `grid_points`."""
    values: list[Value] = []
    for dimension in reversed(space):
        assert dimension.values is not None
        row, position = divmod(row, len(dimension.values))
        values.append(dimension.values[position])
    return {dimension.name: value for dimension, value in zip(space, reversed(values), strict=True)}


def _drawn(dimension: Dimension, rng: np.random.Generator) -> Value:
    if dimension.values is not None:
        return dimension.values[int(rng.integers(len(dimension.values)))]
    if dimension.log:
        drawn = math.exp(rng.uniform(math.log(dimension.low), math.log(dimension.high)))
        return min(max(drawn, dimension.low), dimension.high)
    return float(rng.uniform(dimension.low, dimension.high))


def _dimension(name: str, given: object) -> Dimension:
    if isinstance(given, list | tuple):
        given = {"choices": given}
    if not isinstance(given, Mapping):
        raise BadArgument(f"{name} {given!r} is not accepted: a list of choices, or low and high")
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        raise BadArgument(f"{name} has a key {unknown[0]!r}; accepted: {', '.join(_KEYS)}")
    if "choices" in given:
        return _of_choices(name, given)
    low, high = _number(name, "low", given.get("low")), _number(name, "high", given.get("high"))
    if not low < high:
        raise BadArgument(f"{name} from {low} to {high} is empty; accepted: low below high")
    if given.get("log"):
        return _of_logarithm(name, float(low), float(high), given)
    if "count" in given:
        raise BadArgument(f"{name} has a count without log; accepted: a step, or log with a count")
    if given.get("step") is None and not (isinstance(low, int) and isinstance(high, int)):
        return Dimension(name, None, float(low), float(high))
    step = _number(name, "step", given.get("step", 1))
    if step <= 0:
        raise BadArgument(f"{name} has step {step}; accepted: above 0")
    return Dimension(name, _steps(name, low, high, step), float(low), float(high))


def _of_choices(name: str, given: Mapping[str, object]) -> Dimension:
    choices = given["choices"]
    if len(given) > 1 or not isinstance(choices, list | tuple) or not choices:
        raise BadArgument(f"{name} choices {choices!r} are not accepted: a list of at least one value, and nothing else")
    for value in choices:
        if not isinstance(value, bool | int | float | str) or value != value:
            raise BadArgument(f"{name} choice {value!r} is not accepted: a number, a text, true or false")
    if len(set(choices)) < len(choices):
        raise BadArgument(f"{name} choices name a value twice: {', '.join(map(str, choices))}")
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in choices)
    return Dimension(name, tuple(choices), ordered=numeric and list(choices) == sorted(choices))


def _of_logarithm(name: str, low: float, high: float, given: Mapping[str, object]) -> Dimension:
    if low <= 0 or given.get("step") is not None:
        raise BadArgument(f"{name} by logarithm needs low above 0 and no step; given: low {low}, step {given.get('step')}")
    if given.get("count") is None:
        return Dimension(name, None, low, high, log=True)
    count = given["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MOST_POINTS:
        raise BadArgument(f"{name} has count {count!r}; accepted: a whole number from 2 to {MOST_POINTS:,}")
    values = [low, *np.geomspace(low, high, count)[1:-1].tolist(), high]
    return Dimension(name, tuple(values), low, high, log=True)


def _steps(name: str, low: float | int, high: float | int, step: float | int) -> tuple[Value, ...]:
    """From low to high in decimal arithmetic: 0.05, 0.06, 0.07 instead of 0.07000000000000001."""
    first, width = Decimal(str(low)), Decimal(str(step))
    count = int((Decimal(str(high)) - first) / width) + 1
    if count > MOST_POINTS:
        raise BadArgument(f"{name} in steps of {step} has {count:,} values; accepted: at most {MOST_POINTS:,}")
    whole = isinstance(low, int) and isinstance(step, int)
    return tuple(int(value) if whole else float(value) for value in (first + number * width for number in range(count)))


def _number(name: str, key: str, value: object) -> float | int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadArgument(f"{name} has {key} {value!r}; accepted: a finite number")
    return value


def _literal(text: str) -> Value:
    """A whole number, a number, true or false; anything else is text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(Decimal(text))
    except InvalidOperation:
        return text
