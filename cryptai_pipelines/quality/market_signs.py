"""Marks on bars that a second witness contradicts: the same symbol on a shorter timeframe, or the market at another venue."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns, bars_frame, index_ms
from cryptai_pipelines.market.resampling import resample
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.series_view import Limits, Marks, View, beside, log_ratio


def complete_aggregates(bars: Columns, source: Timeframe, target: Timeframe) -> Columns:
    """Bars of `target` made of `bars` (`ts` ascending and unique, on the grid of `source`), only where not one of them is
    missing."""
    frame = resample(bars_frame(bars), source, target)
    ts = bars["ts"]
    _, parts = np.unique(ts - (ts - target.anchor_ms) % target.ms, return_counts=True)
    full = parts == target.ms // source.ms
    opens = index_ms(frame.index)
    return {"ts": opens[full], **{name: frame[name].to_numpy()[full] for name in BAR_COLUMNS if name in frame}}


def aggregate_mismatch(view: View, limits: Limits) -> Marks:
    """A bar is not what the shorter bars in it make: open, high, low or close by more than the share `price`, or volume by more
    than the share `volume`. Values: the largest difference, as a share."""
    assert view.finer is not None
    row, found = beside(view, view.finer)
    worst, broken = np.zeros(len(row)), np.zeros(len(row), bool)
    for name in ("open", "high", "low", "close", "volume") if len(view.finer["ts"]) else ():
        theirs = view.finer[name][row]
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.abs(view.bars[name] - theirs) / np.fmax(np.abs(theirs), np.abs(view.bars[name]))
        broken |= found & (apart > limits["volume" if name == "volume" else "price"])
        worst = np.fmax(worst, apart)
    return Marks(broken, worst)


def cross_venue_band(view: View, limits: Limits) -> Marks:
    """High, low or close is `band` or more away from another venue's, as a log ratio. Values: the largest distance. Opens are
    left out: many collectors make them up."""
    assert view.other is not None
    row, found = beside(view, view.other)
    worst = np.zeros(len(row))
    for name in ("high", "low", "close") if len(view.other["ts"]) else ():
        apart = np.where(found, log_ratio(view.bars[name], view.other[name][row]), 0.0)
        worst = np.where(np.abs(np.nan_to_num(apart)) > np.abs(worst), apart, worst)
    return Marks(np.abs(worst) >= limits["band"], worst)
