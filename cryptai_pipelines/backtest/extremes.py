"""An index of block extremes: where a series first leaves a band, and how far it fell, without looking at every value.

Plain functions over arrays, which numba compiles where they are used and which run uncompiled with the same results. What is
looked for, and why, is the affair of `exit_grid_kernel`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

FANOUT = 16


class Extremes(NamedTuple):
    """Lowest and highest values of blocks of 1, `FANOUT`, `FANOUT` squared ... consecutive values, all levels in one array:
    level k begins at `offsets[k]` and ends before `offsets[k + 1]`. `lowest`, `highest` float64, `offsets` int64."""

    lowest: np.ndarray
    highest: np.ndarray
    offsets: np.ndarray


def extremes(lowest: np.ndarray, highest: np.ndarray) -> Extremes:
    """The index over values of which the lowest and the highest are given, float64 of one length of at least 1, without NaN.
    A value that must never be found is given as infinity and minus infinity."""
    lows, highs = [lowest], [highest]
    while len(lows[-1]) > FANOUT:
        starts = np.arange(0, len(lows[-1]), FANOUT)
        lows.append(np.minimum.reduceat(lows[-1], starts))
        highs.append(np.maximum.reduceat(highs[-1], starts))
    offsets = np.cumsum([0, *map(len, lows)], dtype=np.int64)
    return Extremes(np.concatenate(lows), np.concatenate(highs), offsets)


def first_touch(index: Extremes, start: int, floor: float, ceiling: float) -> int:
    """The first position from `start` on whose lowest value is at or below `floor` or whose highest is at or above `ceiling`;
    the number of values where there is none."""
    lowest, highest, offsets = index
    level, position = 0, start
    while True:
        offset, size = offsets[level], offsets[level + 1] - offsets[level]
        end = min((position // FANOUT + 1) * FANOUT, size)
        while position < end:
            if lowest[offset + position] <= floor or highest[offset + position] >= ceiling:
                break
            position += 1
        if position < end:
            break
        if position == size:
            return offsets[1]
        level, position = level + 1, position // FANOUT
    while level > 0:
        level, position = level - 1, position * FANOUT
        while lowest[offsets[level] + position] > floor and highest[offsets[level] + position] < ceiling:
            position += 1
    return position


def deepest_fall(
    index: Extremes, begin: int, end: int, base: float, factor: float, peak: float, worst: float
) -> tuple[float, float]:
    """`peak` and `worst` after the values `base + factor * value` of the positions [begin, end): the highest so far, and the
    smallest value over the highest up to it, minus 1.

    factor > 0. The same to the last bit as going through every value: adding, multiplying and dividing keep the order of
    what they are given, so a block's extremes bound what is in it, and most blocks hold nothing worse than what was found.
    """
    lowest, highest, offsets = index
    while begin < end:
        level, block, width = 0, begin, 1
        while level + 2 < offsets.size and block % FANOUT == 0 and begin + width * FANOUT <= end:
            level, block, width = level + 1, block // FANOUT, width * FANOUT
        while True:
            top = base + factor * highest[offsets[level] + block]
            bottom = base + factor * lowest[offsets[level] + block]
            if bottom / max(top, peak) - 1.0 >= worst:
                break
            if top <= peak:
                worst = bottom / peak - 1.0
                break
            level, block, width = level - 1, block * FANOUT, width // FANOUT
        peak = max(top, peak)
        begin += width
    return peak, worst
