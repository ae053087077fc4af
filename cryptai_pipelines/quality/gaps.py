"""Bars that are absent: gaps of a series as intervals, and its completeness by month. Why a bar is absent is not known here.

Everything is counted on what is stored over an interval of coverage, never on a page of an answer: a page cannot tell a hole
at its edge from its end. An open time off the grid fills no slot of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe


class Gap(NamedTuple):
    """Consecutive open times without a bar: the first one, the first one after them, and how many they are."""

    start_ms: int
    end_ms: int
    missing: int


class Month(NamedTuple):
    """A calendar month (UTC), clipped to the interval asked about: open times on the grid, those with a bar, those without."""

    start_ms: int
    end_ms: int
    expected: int
    received: int
    missing: int


def find_gaps(ts_ms: np.ndarray, timeframe: Timeframe, within: Interval) -> list[Gap]:
    """Every gap of the open times `ts_ms` (int64, any order, repetitions allowed) in `within`, ascending and never adjacent."""
    opens = _grid_opens(ts_ms, timeframe, within)
    first, after = timeframe.ceil(within.start_ms), timeframe.ceil(within.end_ms)
    bounds = np.concatenate(([first - timeframe.ms], opens, [after])) if first < after else np.empty(0, np.int64)
    holes = np.flatnonzero(np.diff(bounds) > timeframe.ms)
    return [
        Gap(start, end, (end - start) // timeframe.ms)
        for start, end in zip((bounds[holes] + timeframe.ms).tolist(), bounds[holes + 1].tolist(), strict=True)
    ]


def update_gaps(known: Iterable[Gap], ts_ms: np.ndarray, timeframe: Timeframe, window: Interval) -> list[Gap]:
    """The gaps after `window` has been looked at again: all of `known` outside of it, and those of `ts_ms` inside.

    `known`: gaps of what was covered before. `ts_ms`: every open time stored in `window`, old and new. For any sequence of
    windows the result is `find_gaps` over their union, as long as each was looked at last with what it holds now.
    """
    start, end = timeframe.ceil(window.start_ms), timeframe.ceil(window.end_ms)
    pieces = [(gap.start_ms, gap.end_ms) for gap in find_gaps(ts_ms, timeframe, window)]
    for gap in known:
        pieces += [(gap.start_ms, min(gap.end_ms, start)), (max(gap.start_ms, end), gap.end_ms)]
    merged: list[list[int]] = []
    for left, right in sorted(piece for piece in pieces if piece[0] < piece[1]):
        if merged and left <= merged[-1][1]:
            merged[-1][1] = max(right, merged[-1][1])
        else:
            merged.append([left, right])
    return [Gap(left, right, (right - left) // timeframe.ms) for left, right in merged]


def completeness(ts_ms: np.ndarray, timeframe: Timeframe, within: Interval) -> list[Month]:
    """One row per calendar month (UTC) that `within` touches. A bar belongs to the month of its open time, whole weeks too."""
    opens = _grid_opens(ts_ms, timeframe, within)
    edges = _month_edges(within)
    received = np.diff(np.searchsorted(opens, edges)).tolist()
    months = []
    for start, end, got in zip(edges[:-1].tolist(), edges[1:].tolist(), received, strict=True):
        expected = timeframe.count(start, end)
        months.append(Month(start, end, expected, got, expected - got))
    return months


def _grid_opens(ts_ms: np.ndarray, timeframe: Timeframe, within: Interval) -> np.ndarray:
    """Open times on the grid inside `within`, ascending, each once."""
    if within.end_ms < within.start_ms:
        raise ValueError(f"interval ends at {within.end_ms}, before its start {within.start_ms}")
    ts = np.asarray(ts_ms, dtype=np.int64)
    kept = ts[(ts >= within.start_ms) & (ts < within.end_ms) & timeframe.on_grid(ts)]
    return kept if (kept[1:] > kept[:-1]).all() else np.unique(kept)


def _month_edges(within: Interval) -> np.ndarray:
    """The start of `within`, every month boundary inside it, and its end, as epoch milliseconds."""
    if within.start_ms == within.end_ms:
        return np.array([within.start_ms], dtype=np.int64)
    first, last = np.array([within.start_ms, within.end_ms - 1], dtype="datetime64[ms]").astype("datetime64[M]")
    inside = np.arange(first + np.timedelta64(1, "M"), last + np.timedelta64(1, "M")).astype("datetime64[ms]").astype(np.int64)
    return np.concatenate(([within.start_ms], inside, [within.end_ms]))
