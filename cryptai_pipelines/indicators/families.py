"""Indicators by name with any parameters: what a family of them is, and how its members are called. Which families exist is
said in `registry` and the files that it gathers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from cryptai_pipelines.indicators.spec import IndicatorSpec, talib_indicator
from cryptai_pipelines.market.errors import BadArgument

LONGEST = 5_000
"""Bars of the longest period. Warm-ups grow with it, to some 300,000 bars for the slowest, and a chunk reads all of its own."""

Make = Callable[..., IndicatorSpec]

# Numbers behind the name: 20, 2.5, or 2p5 as a column has to call it.
_NAME = re.compile(r"(?P<family>[a-z][a-z0-9_]*?)(?P<values>(_\d{1,6}([.p]\d{1,4})?)*)")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family, from `low` to `high`; whole numbers only where the default is an `int`."""

    name: str
    default: int | float
    low: int | float
    high: int | float = LONGEST

    def checked(self, value: float, indicator: str) -> int | float:
        """`value` in the type of the default; BadArgument outside the range."""
        whole = isinstance(self.default, int)
        if not self.low <= value <= self.high or (whole and value != int(value)):
            kind = "whole numbers" if whole else "numbers"
            accepted = f"accepted: {kind} from {self.low:g} to {self.high:g}"
            raise BadArgument(f"indicator {indicator!r}: {self.name}={value:g} is not accepted; {accepted}")
        return int(value) if whole else float(value)


@dataclass(frozen=True)
class Family:
    """Indicators that differ in their parameters only. `make(name, outputs, *values)` gives one of them.

    With one output and one parameter the parameter is always part of the name (`sma_20`). Any other family goes by its bare
    name at the default parameters (`macd`), and its members carry all of them (`macd_8_21_5`). `outputs` are the columns of the
    default one; others have their parameters behind the columns' common `stem`. `listed` are the values of those that the
    registry names, `ascending` is how many of the first parameters must rise, `also` are other names for the family.
    """

    name: str
    parameters: tuple[Parameter, ...]
    make: Make
    outputs: tuple[str, ...]
    stem: str
    listed: tuple[tuple[int | float, ...], ...] = ()
    ascending: int = 0
    also: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[IndicatorSpec, ...]:
        """The listed ones, or the default one when none is listed."""
        return tuple(self.member(*values) for values in self.listed or ((),))

    def member(self, *given: float) -> IndicatorSpec:
        """The indicator with these values, the rest at their defaults: the same object for the same values. BadArgument."""
        return _member(self, self._checked(given))

    def suffix(self, values: Sequence[float]) -> str:
        """What the member's name and its columns carry behind the family's."""
        numbered = len(self.outputs) == len(self.parameters) == 1
        if not numbered and list(values) == [parameter.default for parameter in self.parameters]:
            return ""
        return "".join(f"_{number(value)}" for value in values)

    def _checked(self, given: Sequence[float]) -> tuple[int | float, ...]:
        shown = self.name + "".join(f"_{number(value)}" for value in given)
        if len(given) > len(self.parameters):
            accepted = ", ".join(parameter.name for parameter in self.parameters) or "none"
            raise BadArgument(f"indicator {shown!r} has more parameters than it knows; accepted: {accepted}")
        defaults = [parameter.default for parameter in self.parameters[len(given) :]]
        values = [one.checked(value, shown) for one, value in zip(self.parameters, (*given, *defaults), strict=True)]
        rising = values[: self.ascending]
        if any(later <= earlier for earlier, later in zip(rising[:-1], rising[1:], strict=True)):
            names = " < ".join(parameter.name for parameter in self.parameters[: self.ascending])
            raise BadArgument(f"indicator {shown!r} is not accepted; accepted: {names}")
        return tuple(values)


@cache
def _member(family: Family, values: tuple[int | float, ...]) -> IndicatorSpec:
    suffix = family.suffix(values)
    outputs = tuple(family.stem + suffix + output.removeprefix(family.stem) for output in family.outputs)
    return family.make(family.name + suffix, outputs, *values)


def talib_family(
    name: str,
    function: str,
    inputs: tuple[str, ...],
    warmup: Callable[..., int],
    *parameters: Parameter,
    lull: int = 0,
    outputs: tuple[str, ...] = (),
    stem: str = "",
    fixed: Mapping[str, float] | None = None,
    listed: tuple[tuple[int | float, ...], ...] = (),
    ascending: int = 0,
    also: tuple[str, ...] = (),
) -> Family:
    """The family of TA-Lib's `function`: `parameters` are called as TA-Lib's, `fixed` ones are the same for all. `warmup` gives
    the bars that the member with these values needs, and `lull` what is added to it (`warmup` module)."""

    def make(member: str, columns: tuple[str, ...], *values: float) -> IndicatorSpec:
        given = {parameter.name: value for parameter, value in zip(parameters, values, strict=True)} | dict(fixed or {})
        return talib_indicator(member, function, inputs, warmup(*values), columns, lull=lull, **given)

    return Family(name, parameters, make, outputs or (name,), stem or name, listed, ascending, also)


def period(default: int, name: str = "timeperiod", low: int = 2) -> Parameter:
    """A number of bars."""
    return Parameter(name, default, low)


def parse_name(name: str) -> tuple[str, tuple[float, ...]] | None:
    """A family's name and the values behind it; None for what no indicator can be called."""
    found = _NAME.fullmatch(name.strip().lower())
    if found is None:
        return None
    values = [value.replace("p", ".") for value in found["values"].split("_")[1:]]
    return found["family"], tuple(float(value) for value in values)


def number(value: float) -> str:
    """As names carry it: 20, 2p5."""
    return (str(int(value)) if value == int(value) else repr(float(value))).replace(".", "p")
