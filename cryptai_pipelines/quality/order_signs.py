"""Marks on rows as they were received, before a store gives each open time one place: their order, repetitions and units."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.quality.row_rules import FIRST_MS, FIRST_US
from cryptai_pipelines.quality.series_view import Limits, Marks, View


def unsorted(view: View, limits: Limits) -> Marks:
    """The row opens before the one it follows. Values: how far back, in bar lengths."""
    back = -np.diff(view.bars["ts"], prepend=view.bars["ts"][:1]) / view.timeframe.ms
    return Marks(back > 0, back)


def duplicate_run(view: View, limits: Limits) -> Marks:
    """The row opens at the same time as the one it follows, with the same values or others."""
    ts = view.bars["ts"]
    return Marks(np.concatenate(([False], ts[1:] == ts[:-1])) if len(ts) else np.empty(0, bool))


def mixed_time_unit(view: View, limits: Limits) -> Marks:
    """The open time is in another unit than milliseconds, or before 2009."""
    ts = view.bars.get("ts_written", view.bars["ts"])
    return Marks((ts < FIRST_MS) | (ts >= FIRST_US))


def shifted_grid(view: View, limits: Limits) -> Marks:
    """The row opens off the grid. Values: how far behind the grid's open time, in seconds, which also holds a run together."""
    ts = view.bars["ts"]
    behind = (ts - view.timeframe.anchor_ms) % view.timeframe.ms
    return Marks(behind != 0, behind / 1_000, behind)
