"""Typed parameters: what a strategy may be told, what is accepted, and how that is shown to a form or an API. Which parameters
a strategy has stands in its own module; those of fills and capital are in `backtest.parameters`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np

from cryptai_pipelines.market.errors import BadArgument

Number = int | float

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Parameter(NamedTuple):
    """One parameter. Its type is that of its default: bool, int, float or str. A number lies from `low` to `high`, both
    included, `above` and `below`, both left out; None is no bound, and a number is finite in any case. `choices`: the only
    values accepted, when there are any."""

    name: str
    default: Any
    low: Number | None = None
    high: Number | None = None
    above: Number | None = None
    below: Number | None = None
    choices: tuple[Any, ...] = ()
    help: str = ""

    @property
    def type(self) -> type:
        return type(self.default)

    @property
    def accepted(self) -> str:
        """What is accepted, as an error message tells it."""
        if self.choices:
            return "one of " + " ".join(map(str, self.choices))
        if self.low is not None and self.high is not None:
            return f"{_NAMES[self.type]} from {self.low:,g} to {self.high:,g}"
        bounds = ((self.low, "at least"), (self.above, "above"), (self.high, "at most"), (self.below, "below"))
        told = " and ".join(f"{word} {bound:,g}" for bound, word in bounds if bound is not None)
        return f"{_NAMES[self.type]} {told}".strip()


@dataclass(frozen=True)
class NoParameters:
    """Of a strategy that has none."""


def parameter(
    default: Any,
    *,
    low: Number | None = None,
    high: Number | None = None,
    above: Number | None = None,
    below: Number | None = None,
    choices: tuple[Any, ...] = (),
    help: str = "",
) -> Any:
    """A field of a frozen dataclass of parameters, as `period: int = parameter(20, low=2, high=500, help="...")`. See
    `Parameter`."""
    told = Parameter("", default, low, high, above, below, tuple(choices), help)
    return field(default=default, metadata={"parameter": told})


def parameters_in(kind: type) -> tuple[Parameter, ...]:
    """The parameters of a dataclass, in order. `BadArgument` for one without a default, or with one of another type."""
    return tuple(_parameter(kind, one) for one in fields(kind))


def parameters_of(kind: type, values: Mapping[str, Any]) -> Any:
    """An instance of the dataclass `kind` with `values` in place of its defaults, in the type of each: a whole number is a
    number, too. `BadArgument` names the first parameter that is unknown or outside what is accepted, its value, and what is."""
    known = {one.name: one for one in parameters_in(kind)}
    for name, value in values.items():
        if name not in known:
            raise BadArgument(
                f"parameter {name!r} with the value {value!r} is not known; accepted: {', '.join(known) or 'none'}"
            )
    return kind(**{name: checked(known[name], value) for name, value in values.items()})


def check_parameters(parameters: Any) -> None:
    """`BadArgument` when an instance made elsewhere holds a value that `parameters_of` would not have accepted."""
    for one in parameters_in(type(parameters)):
        checked(one, getattr(parameters, one.name))


def parameters_from_text(kind: type, texts: Mapping[str, str]) -> Any:
    """As `parameters_of`, of values spelled as text: numbers in digits, flags as `true` or `false`."""
    known = {one.name: one for one in parameters_in(kind)}
    return parameters_of(kind, {name: _read(known[name], text) if name in known else text for name, text in texts.items()})


def schema(kind: type) -> dict[str, Any]:
    """The parameters of a dataclass as a JSON schema (an object whose properties have type, default, description and bounds):
    plain data for a form or an API."""
    title = f"parameters of {kind.__module__.rpartition('.')[2]}"
    properties = {one.name: _property(one) for one in parameters_in(kind)}
    return {"type": "object", "title": title, "properties": properties, "additionalProperties": False}


def checked(one: Parameter, value: Any) -> Any:
    """`value` in the type of the parameter; `BadArgument` when it is outside what is accepted."""
    typed = _typed(one, value)
    bounded = one.type in (int, float) and not (
        math.isfinite(typed)
        and (one.low is None or typed >= one.low)
        and (one.high is None or typed <= one.high)
        and (one.above is None or typed > one.above)
        and (one.below is None or typed < one.below)
    )
    if bounded or (one.choices and typed not in one.choices):
        raise BadArgument(f"{one.name} {value!r} is not accepted; accepted: {one.accepted}")
    return typed


def _typed(one: Parameter, value: Any) -> Any:
    accepted = {
        bool: bool | np.bool_,
        int: int | np.integer,
        float: int | float | np.integer | np.floating,
        str: str,
    }[one.type]
    truth = isinstance(value, bool | np.bool_)
    if not isinstance(value, accepted) or truth != (one.type is bool):
        raise BadArgument(f"{one.name} {value!r} is not {_NAMES[one.type]}; accepted: {one.accepted}")
    return one.type(value)


def _read(one: Parameter, text: str) -> Any:
    if one.type is bool:
        return {"true": True, "false": False}.get(text.strip().lower(), text)
    if one.type is str:
        return text
    try:
        return one.type(text)
    except ValueError:
        return text


def _parameter(kind: type, one: Field) -> Parameter:
    told = one.metadata.get("parameter", Parameter("", one.default))._replace(name=one.name)
    if one.default is MISSING or told.type not in _TYPES:
        shown = "none" if one.default is MISSING else repr(one.default)
        accepted = ", ".join(_NAMES.values())
        raise BadArgument(f"parameter {one.name!r} of {kind.__name__} has the default {shown}; accepted: {accepted}")
    return told


def _property(one: Parameter) -> dict[str, Any]:
    bounds = {"minimum": one.low, "maximum": one.high, "exclusiveMinimum": one.above, "exclusiveMaximum": one.below}
    told = {"type": _TYPES[one.type], "default": one.default, "description": one.help, **bounds}
    if one.choices:
        told["enum"] = list(one.choices)
    return {name: value for name, value in told.items() if value is not None}
