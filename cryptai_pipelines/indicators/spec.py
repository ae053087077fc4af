"""What an indicator declares, and how an entry of TA-Lib's is made. Which indicators exist is said in `registry` and the files
that it gathers; when and on which bars they are computed belongs to `chunks`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cryptai_pipelines.indicators.filling import Compute, Fill, fill_by, talib_fill

CLOSE = ("close",)
VOLUME = ("volume",)
HIGH_LOW = ("high", "low")
OPEN_CLOSE = ("open", "close")
CLOSE_VOLUME = ("close", "volume")
HIGH_LOW_CLOSE = ("high", "low", "close")
HIGH_LOW_VOLUME = ("high", "low", "volume")
OHLC = ("open", "high", "low", "close")
HIGH_LOW_CLOSE_VOLUME = ("high", "low", "close", "volume")


Carry = Callable[[Mapping[str, np.ndarray], int, np.ndarray | None], Sequence[np.ndarray]]
"""`carry(columns, first, before)`: the outputs of rows `first:` of the input columns. The rows before are the warm-up, all of
the series when they are fewer. `before`: the outputs of row `first - 1`, as stored; None when the series begins at `first`."""


@dataclass(frozen=True)
class IndicatorSpec:
    """One indicator. `compute` maps the input columns (equal-length contiguous float64, finite) to one float64 array of that
    length per name in `outputs`: causal, the same bits for the same input, and NaN only before it has enough bars, or where it
    weighs by volume and nothing was traded.

    `warmup` is the number of existing bars before a bar after which older ones no longer matter (`warmup` module), of which
    `lull` are a margin for prices that stand still. `fill` is a faster way to the same bits, where there is one (`filling`
    module).

    With `carry` the indicator is *carried*: it goes on from its own outputs at the bar before, which are all that it keeps of
    what came earlier than its warm-up. `compute` is then what it gives from the first bar of a series on.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[str, float]
    warmup: int
    compute: Compute
    fill: Fill | None = None
    lull: int = 0
    carry: Carry | None = None

    @property
    def settled(self) -> int:
        """At how many existing bars before a bar its value is good, but for a lull. With fewer it is NaN, unless the indicator
        is carried: then `carry` decides."""
        return self.warmup - self.lull


def carried_indicator(
    name: str,
    inputs: tuple[str, ...],
    warmup: int,
    carry: Carry,
    outputs: tuple[str, ...],
    parameters: Mapping[str, float] = MappingProxyType({}),
) -> IndicatorSpec:
    """The entry of an indicator that goes on from its own outputs; `warmup` is for what else it reads of the bars before."""

    def compute(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(carry(columns, 0, None))

    return IndicatorSpec(name, inputs, outputs, MappingProxyType(dict(parameters)), warmup, compute, carry=carry)


def talib_indicator(
    name: str,
    function: str,
    inputs: tuple[str, ...],
    warmup: int,
    outputs: tuple[str, ...] | None = None,
    lull: int = 0,
    **parameters: float,
) -> IndicatorSpec:
    """The entry of TA-Lib's `function`, given `inputs` in order and its own parameter names; one output is named `name`. `lull`
    bars are added to `warmup`."""

    def compute(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        import talib

        result = getattr(talib, function)(*[columns[column] for column in inputs], **parameters)
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(values, dtype="float64") for values in outputs)

    def fill(columns: Mapping[str, np.ndarray], targets: Sequence[np.ndarray], pieces: Sequence[tuple[int, int]]) -> None:
        in_place = talib_fill(function, tuple(parameters.items())) or fill_by(compute)
        in_place(columns, targets, pieces)

    return IndicatorSpec(name, inputs, outputs or (name,), MappingProxyType(parameters), warmup + lull, compute, fill, lull)
