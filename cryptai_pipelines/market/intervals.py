"""Half-open intervals of time and the gaps between open times. What a gap means is judged in `quality`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.timeframe import Timeframe


class Interval(NamedTuple):
    """`[start_ms, end_ms)`, epoch milliseconds, UTC."""

    start_ms: int
    end_ms: int


def clipped(one: Interval, within: Interval) -> Interval:
    """The part of `one` that lies in `within`; empty (`start >= end`) when there is none."""
    return Interval(max(one.start_ms, within.start_ms), min(one.end_ms, within.end_ms))


def missing_opens(ts_ms: np.ndarray, timeframe: Timeframe, within: Interval) -> np.ndarray:
    """Open times of the grid in `within` that are not in `ts_ms` (int64, any order), ascending."""
    return np.setdiff1d(timeframe.opens(*within), np.asarray(ts_ms, dtype=np.int64), assume_unique=False)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as few intervals: ascending, and no two of them overlap or touch. Empty ones are left out."""
    kept: list[Interval] = []
    for one in sorted(one for one in intervals if one.start_ms < one.end_ms):
        if kept and one.start_ms <= kept[-1].end_ms:
            kept[-1] = Interval(kept[-1].start_ms, max(one.end_ms, kept[-1].end_ms))
        else:
            kept.append(one)
    return kept


def runs(opens: np.ndarray, timeframe: Timeframe) -> list[Interval]:
    """Maximal runs of consecutive open times as intervals; `opens` is ascending and on the grid."""
    if not len(opens):
        return []
    breaks = np.flatnonzero(np.diff(opens) != timeframe.ms)
    starts = opens[np.concatenate(([0], breaks + 1))]
    ends = opens[np.concatenate((breaks, [len(opens) - 1]))] + timeframe.ms
    return [Interval(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]
