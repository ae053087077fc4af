"""Binance's kline rows, strictly: from parsed JSON to wire columns. Whether a bar makes sense is judged in `quality`.

The rule of this module: what breaks the structure of the answer makes the whole answer `Malformed`; a single value that cannot
be read makes that value NaN (-1 in an integer field), so that the row is quarantined alone, with its reason.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns, empty_columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.sources.errors import Malformed

UNREADABLE_INTEGER = -1
"""Stands in `trades` and `close_ts` for a value that is not an integer; neither is ever negative at a venue."""

_FIELDS = tuple(WIRE_DTYPES)
# float() would also take "1_000", " 1.5 ", digits of other scripts and "infinity"; none of these is a number of the venue.
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def kline_columns(parsed: Any, within: Interval) -> Columns:
    """Wire columns (`WIRE_DTYPES`) of a parsed kline answer, `ts` strictly ascending and inside `within`.

    A row that repeats its predecessor exactly is dropped. `Malformed` for anything but a list of 12-field lists with integer
    open times, and for rows that are unordered, outside `within`, or two different ones with the same open time.
    """
    _check_shape(parsed)
    if not parsed:
        return empty_columns()
    rows = _without_repeats(parsed)
    fields = dict(zip(_FIELDS, zip(*rows, strict=True), strict=True))
    _check_open_times(fields["ts"], within)
    return {name: column(fields[name], dtype) for name, dtype in WIRE_DTYPES.items()}


def _check_shape(parsed: Any) -> None:
    if type(parsed) is not list:
        raise Malformed(f"klines should be a JSON list, not {type(parsed).__name__}")
    if set(map(type, parsed)) - {list}:
        raise Malformed("every kline should be a JSON list")
    if wrong := set(map(len, parsed)) - {len(_FIELDS)}:
        raise Malformed(f"every kline should have {len(_FIELDS)} fields; there are rows with {min(wrong)}")
    if {type(row[0]) for row in parsed} - {int}:
        raise Malformed("every open time should be an integer")


def _without_repeats(rows: list[list[Any]]) -> list[list[Any]]:
    if len({row[0] for row in rows}) == len(rows):
        return rows
    kept = rows[:1]
    for row in rows[1:]:
        if row[0] != kept[-1][0]:
            kept.append(row)
        elif row != kept[-1]:
            raise Malformed(f"two different klines have the open time {row[0]}")
    return kept


def _check_open_times(opens: tuple[int, ...], within: Interval) -> None:
    outside = next((ts for ts in (min(opens), max(opens)) if not within.start_ms <= ts < within.end_ms), None)
    if outside is not None:
        raise Malformed(f"open time {outside} lies outside what was asked, [{within.start_ms}, {within.end_ms})")
    if (np.diff(np.array(opens, dtype="int64")) < 0).any():
        raise Malformed("open times are not ascending")


def column(values: tuple[Any, ...], dtype: str) -> np.ndarray:
    """JSON values as one wire column: what cannot be read is NaN, in an integer column `UNREADABLE_INTEGER`."""
    return _integers(values) if dtype == "int64" else _floats(values).astype(dtype, copy=False)


def _integers(values: tuple[Any, ...]) -> np.ndarray:
    # The set of exact types keeps out booleans, which are integers to Python.
    if set(map(type, values)) == {int}:
        try:
            return np.array(values, dtype="int64")
        except OverflowError:
            pass  # Some value needs more than 64 bits; only that one is unreadable.
    limit = 2**63
    readable = [value if type(value) is int and -limit <= value < limit else UNREADABLE_INTEGER for value in values]
    return np.array(readable, dtype="int64")


def _floats(values: tuple[Any, ...]) -> np.ndarray:
    try:
        if not "".join(values).encode().translate(None, b"0123456789."):
            return np.array(values, dtype="float64")
    except (TypeError, ValueError):
        pass  # A value that is no string, empty, or has two points; the rows are then read one by one.
    return np.array([_float(value) for value in values], dtype="float64")


def _float(value: Any) -> float:
    """A JSON number or the string of one; NaN for everything else. Too large for a float is infinite, as the venue wrote it."""
    if type(value) is str:
        return float(value) if _NUMBER.fullmatch(value) else np.nan
    if type(value) is float:
        return value
    if type(value) is int:
        return float(value) if abs(value) < 10**300 else np.inf
    return np.nan
