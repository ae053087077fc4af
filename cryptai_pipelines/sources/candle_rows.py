"""Rows of candles of any venue, strictly: from parsed JSON to wire columns, by a layout. Binance's own stand in `kline_rows`.

The rule is the same as there: what breaks the structure makes the whole answer `Malformed`, a single unreadable value is NaN
(-1 in an integer field). These venues cut time into a fixed grid, so an open time off the grid (a week that begins on Thursday,
a day that begins in Hong Kong, another unit of time) breaks the structure, too.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns, empty_columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.kline_rows import column

SECONDS, MILLISECONDS = 1000, 1
EVER = Interval(1_230_768_000_000, 2**42)
"""2009, before any venue traded, to 2109: open times in another unit lie outside."""

_EPOCH = re.compile(r"[0-9]{1,18}")


class Layout(NamedTuple):
    """The fields of a row by the names of wire columns, `""` for a field that is not kept; `ts` is one of them.

    `unit_ms` is the unit of open times in milliseconds; `optional` is how many of the last fields a row may lack.
    """

    fields: tuple[str, ...]
    unit_ms: int
    text_time: bool
    optional: int = 0


def layout(fields: str, unit_ms: int, text_time: bool, optional: int = 0) -> Layout:
    """A layout from the names of the fields in order, separated by spaces; `-` is a field that is not kept."""
    return Layout(tuple("" if name == "-" else name for name in fields.split()), unit_ms, text_time, optional)


def candle_columns(parsed: Any, form: Layout, timeframe: Timeframe, within: Interval) -> Columns:
    """Wire columns (`WIRE_DTYPES`), `ts` strictly ascending, on the grid of `timeframe` and inside `within`.

    Rows may come oldest or newest first. A row that repeats its predecessor exactly is dropped; columns that the venue does
    not report are 0. `Malformed` for anything else than a list of such rows.
    """
    if type(parsed) is not list:
        raise Malformed(f"candles should be a JSON list, not {type(parsed).__name__}")
    if not parsed:
        return empty_columns()
    rows = _ordered(_with_open_times(parsed, form))
    _check_open_times(np.array([ts for ts, _ in rows], dtype="int64"), timeframe, within)
    count = len(rows)
    found = {name: np.zeros(count, dtype) for name, dtype in WIRE_DTYPES.items()}
    found["ts"] = np.array([ts for ts, _ in rows], dtype="int64")
    for position, name in enumerate(form.fields):
        if name and name != "ts":
            found[name] = column(tuple(row[position] for _, row in rows), WIRE_DTYPES[name])
    return found


def _with_open_times(parsed: list[Any], form: Layout) -> list[tuple[int, list[Any]]]:
    most = len(form.fields)
    position = form.fields.index("ts")
    if set(map(type, parsed)) - {list}:
        raise Malformed("every candle should be a JSON list")
    if wrong := {len(row) for row in parsed if not most - form.optional <= len(row) <= most}:
        raise Malformed(f"every candle should have {most} fields; there are rows with {min(wrong)}")
    return [(_open_time(row[position], form), row) for row in parsed]


def _open_time(value: Any, form: Layout) -> int:
    if form.text_time and type(value) is str and _EPOCH.fullmatch(value):
        return int(value) * form.unit_ms
    if not form.text_time and type(value) is int and 0 <= value < 10**18:
        return value * form.unit_ms
    raise Malformed(f"an open time should be {'a text of digits' if form.text_time else 'an integer'}, not {str(value)[:40]!r}")


def _ordered(rows: list[tuple[int, list[Any]]]) -> list[tuple[int, list[Any]]]:
    """Oldest first, without repeats; `Malformed` when the rows go both ways or two differ about one open time."""
    if rows[0][0] > rows[-1][0]:
        rows = rows[::-1]
    kept = rows[:1]
    for ts, row in rows[1:]:
        if ts > kept[-1][0]:
            kept.append((ts, row))
        elif ts < kept[-1][0]:
            raise Malformed("open times are not in order")
        elif row != kept[-1][1]:
            raise Malformed(f"two different candles have the open time {ts}")
    return kept


def _check_open_times(opens: np.ndarray, timeframe: Timeframe, within: Interval) -> None:
    for ts in (int(opens[0]), int(opens[-1])):
        if not within.start_ms <= ts < within.end_ms:
            raise Malformed(f"open time {ts} lies outside what was asked, [{within.start_ms}, {within.end_ms})")
    if not (on_grid := timeframe.on_grid(opens)).all():
        raise Malformed(f"open time {opens[~on_grid][0]} is not one of the {timeframe.code} grid")
