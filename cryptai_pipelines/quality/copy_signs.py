"""Marks on bars that are copies: of earlier bars of the same series (a page answered twice, with the times moved), or of
another venue's bars under a wrong name."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.market.bars import OHLCV
from cryptai_pipelines.quality.series_view import Limits, Marks, View, beside

PAGE = 1_500
"""The longest page a venue gives: how many bars back a repetition is looked for."""

_MIXER = np.uint64(0x9E3779B97F4A7C15)


def stale_page(view: View, limits: Limits) -> Marks:
    """Bars that repeat earlier ones, all five values and with volume, at one distance in time: an old page under new times.
    Values: the distance in bar lengths, which is also what holds a run together."""
    bars, count = view.bars, len(view.bars["ts"])
    earlier = _same_before(np.stack([bars[name] for name in OHLCV])) if count else np.empty(0, "int64")
    rows = np.arange(count)
    repeats = (earlier >= 0) & (rows - earlier <= PAGE) & (bars["volume"] > 0)
    distance = np.where(repeats, bars["ts"] - bars["ts"][np.maximum(earlier, 0)], 0)
    return Marks(repeats, distance / view.timeframe.ms, distance)


def _same_before(values: np.ndarray) -> np.ndarray:
    """For each column of `values` (k x n float64) the last column before it that is bitwise the same, -1 without one."""
    bits = np.ascontiguousarray(values).view("uint64")
    mixed = np.zeros(bits.shape[1], "uint64")
    for row in bits:
        mixed = (mixed ^ row ^ (row >> np.uint64(29))) * _MIXER
    order = np.argsort(mixed, kind="stable")
    same = (bits[:, order[1:]] == bits[:, order[:-1]]).all(axis=0)
    earlier = np.full(bits.shape[1], -1, "int64")
    earlier[order[1:][same]] = order[:-1][same]
    return earlier


def mislabelled_venue(view: View, limits: Limits) -> Marks:
    """High, low, close and volume are bit for bit those of another venue, in bars with volume: two books never agree for long.
    Opens are left out, because collectors make them up."""
    assert view.other is not None
    row, found = beside(view, view.other)
    same = found & (view.bars["volume"] > 0)
    for name in ("high", "low", "close", "volume"):
        theirs = view.other[name][row] if len(view.other["ts"]) else np.full(len(row), np.nan)
        same &= view.bars[name] == theirs
    return Marks(same)
