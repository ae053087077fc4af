"""Ways to put an indicator's values where they belong: TA-Lib's C function on the memory itself, or a Python function and a
copy. Both give the same bits. Which stretches of a series are computed is decided in `chunks`.

`talib`'s own functions return a new array per call. Copying those into place costs as much as a cheap indicator does, a third
of the time of the default set; handing the C function the address of the place costs nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np

Compute = Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, ...]]

Fill = Callable[[Mapping[str, np.ndarray], Sequence[np.ndarray], Sequence[tuple[int, int]]], None]
"""`fill(inputs, outputs, pieces)`: for every piece `(begin, end)`, in the order given, write rows `begin:end` of all outputs as
if the series consisted of rows `begin:end` of the inputs. Arrays are contiguous float64 of one length; pieces may overlap, and
what a later piece writes stays."""


def fill_by(compute: Compute) -> Fill:
    """Filling with a function of the input columns that returns one array per output."""

    def fill(inputs: Mapping[str, np.ndarray], outputs: Sequence[np.ndarray], pieces: Sequence[tuple[int, int]]) -> None:
        for begin, end in pieces:
            results = compute({name: values[begin:end] for name, values in inputs.items()})
            if len(results) != len(outputs):
                raise ValueError(f"{len(results)} arrays were computed for {len(outputs)} outputs")
            for output, values in zip(outputs, results, strict=True):
                output[begin:end] = values

    return fill


@cache
def talib_fill(function: str, parameters: tuple[tuple[str, float], ...]) -> Fill | None:
    """Filling by TA-Lib's C function of that name, or None where it cannot be reached or does not write float64.

    ValueError for a parameter that TA-Lib does not name so. Parameters left out have TA-Lib's defaults.
    """
    from talib import _ta_lib, abstract

    info = abstract.Function(function).info
    given, defaults = dict(parameters), info["parameters"]
    if not given.keys() <= defaults.keys():
        raise ValueError(f"TA-Lib's {function} takes the parameters {', '.join(defaults)}, not {', '.join(given)}")
    library = ctypes.CDLL(_ta_lib.__file__)
    names = info["input_names"].values()
    input_count = sum(len(group) if isinstance(group, (list, tuple)) else 1 for group in names)
    # A build that links TA-Lib statically may keep its symbols to itself.
    if not hasattr(library, f"TA_{function}") or not _writes_floats(function, input_count):
        return None
    types = [ctypes.c_double if isinstance(default, float) else ctypes.c_int for default in defaults.values()]
    values = [kind(given.get(name, defaults[name])) for name, kind in zip(defaults, types, strict=True)]
    lookback = getattr(library, f"TA_{function}_Lookback")(*values)
    call = getattr(library, f"TA_{function}")
    call.argtypes = [
        *(ctypes.c_int, ctypes.c_int),
        *[ctypes.c_void_p] * input_count,
        *types,
        *[ctypes.POINTER(ctypes.c_int)] * 2,
        *[ctypes.c_void_p] * len(info["output_names"]),
    ]
    return _fill_by_address(call, values, lookback, input_count, len(info["output_names"]))


def _writes_floats(function: str, input_count: int) -> bool:
    """Whether every output is float64. TA-Lib's descriptions do not tell: an integer one may have any name."""
    import talib

    result = getattr(talib, function)(*[np.linspace(1.0, 2.0, 200)] * input_count)
    outputs = result if isinstance(result, tuple) else (result,)
    return all(output.dtype == np.float64 for output in outputs)


def _fill_by_address(
    call: Callable[..., int], parameters: Sequence[object], lookback: int, input_count: int, output_count: int
) -> Fill:
    """Filling by a TA-Lib C function whose first value stands `lookback` rows after the first row of its input."""

    def fill(inputs: Mapping[str, np.ndarray], outputs: Sequence[np.ndarray], pieces: Sequence[tuple[int, int]]) -> None:
        arrays = [*inputs.values(), *outputs]
        if (len(inputs), len(outputs)) != (input_count, output_count):
            found = f"{len(inputs)} and {len(outputs)}"
            raise ValueError(f"TA-Lib wants {input_count} inputs and {output_count} outputs, not {found}")
        # Past this point only addresses are known: a wrong type or length would be read and written as if it were right.
        if any(array.dtype != np.float64 or not array.flags.c_contiguous or array.ndim != 1 for array in arrays):
            raise ValueError("TA-Lib reads and writes one-dimensional contiguous float64 arrays")
        if len({len(array) for array in arrays}) != 1 or any(not 0 <= a < b <= len(arrays[0]) for a, b in pieces):
            raise ValueError("arrays differ in length, or a piece lies outside of them")
        sources = [array.ctypes.data for array in inputs.values()]
        targets = [array.ctypes.data for array in outputs]
        begin_index, written = ctypes.c_int(), ctypes.c_int()
        for begin, end in pieces:
            head = min(begin + lookback, end)
            read, write = [at + 8 * begin for at in sources], [at + 8 * head for at in targets]
            code = call(0, end - begin - 1, *read, *parameters, ctypes.byref(begin_index), ctypes.byref(written), *write)
            if code:
                raise ValueError(f"TA-Lib refused the call {call.__name__} with return code {code}")
            if written.value and begin_index.value != lookback:
                raise ValueError(f"TA-Lib's {call.__name__} begins {begin_index.value} rows in, and no longer {lookback}")
            for output in outputs:
                output[begin:head] = np.nan

    return fill
