"""Do the stored rows of a per-bar asset know anything that came after their bar? They are computed anew from the stored bars up
to a few cut points, as if nothing had come since, and must have the same bits. Computing belongs to the asset's own module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage import market_data, state
from cryptai_pipelines.storage.database import Database

CUTS = 2
RECENT = 2_000
"""Cut points are the newest bar and others among so many before it: older rows were looked at when they were new."""


class PerBar(NamedTuple):
    """A per-bar asset: those that it is made of, how the rows of an interval are computed from what is stored before its end,
    and how its stored columns of an interval are read."""

    asset: str
    inputs: tuple[str, ...]
    computed: Callable[[Series, Interval], pd.DataFrame]
    stored: Callable[[Series, Interval, Sequence[str]], pd.DataFrame]


def first_change(database: Database, per_bar: PerBar, series: Series, cuts: int = CUTS) -> str | None:
    """The first bar and column whose stored value is not the one that the bars up to a cut point give; None when there is none.
    Also None while the series is being written or waits for its input: what is stored then belongs to two moments."""
    before = _settled(database, per_bar, series)
    if before is None:
        return None
    found = [_change_before(per_bar, series, cut) for cut in _cut_points(database, series, before, cuts)]
    told = min((one for one in found if one is not None), default=None)
    if told is None or _settled(database, per_bar, series) != before:
        return None
    return told[1]


def _settled(database: Database, per_bar: PerBar, series: Series) -> state.SeriesState | None:
    """The state of the asset when it is in line with all that it is made of."""
    own = state.read_state(database, per_bar.asset, series)
    made_of = [state.read_state(database, name, series) for name in per_bar.inputs]
    if own is None or own.last_ts is None:
        return None
    seen = (own.input_revision, *own.further_revisions)
    return own if seen == tuple(None if one is None else one.revision for one in made_of) else None


def _cut_points(database: Database, series: Series, own: state.SeriesState, cuts: int) -> Sequence[int]:
    """Open times (epoch ms) of the last bars of the prefixes; other ones after each new bar."""
    assert own.last_ts is not None
    end = own.last_ts + series.timeframe.ms
    start = market_data.window_start(database, series, end, RECENT)
    opens = index_ms(market_data.read(database, series, start, end, columns=("close",)).index)
    others = np.random.default_rng(abs(own.last_ts)).permutation(opens[:-1])[: cuts - 1]
    return sorted({int(opens[-1]), *others.tolist()}) if len(opens) else ()


def _change_before(per_bar: PerBar, series: Series, cut_ms: int) -> tuple[int, str] | None:
    """The first difference among the rows from the beginning of its chunk to the bar `cut_ms`: its open time, and in words."""
    within = Interval(chunk_start(cut_ms, series.timeframe), cut_ms + series.timeframe.ms)
    alone = per_bar.computed(series, within)
    stored = per_bar.stored(series, within, list(alone.columns))
    alone_ms, stored_ms = index_ms(alone.index), index_ms(stored.index)
    if not np.array_equal(alone_ms, stored_ms):
        at = int(min(np.setxor1d(alone_ms, stored_ms)))
        return at, f"{'no row' if at in alone_ms else 'a row without its bar'} at {format_time(at)}"
    differs = {name: np.flatnonzero(_bits(stored[name]) != _bits(alone[name])) for name in alone.columns}
    rows = {name: int(where[0]) for name, where in differs.items() if len(where)}
    if not rows:
        return None
    column, row = min(rows.items(), key=lambda one: one[1])
    was, now = _number(stored[column].iloc[row]), _number(alone[column].iloc[row])
    at = int(alone_ms[row])
    return at, f"{column} at {format_time(at)} is stored as {was}, the bars up to {format_time(cut_ms)} give {now}"


def _bits(column: pd.Series) -> np.ndarray:
    """The float64 values of a column as integers, NULL and NaN alike."""
    values = column.to_numpy(dtype="float64", na_value=np.nan)
    return np.where(np.isnan(values), np.nan, values).view("int64")


def _number(value: object) -> str:
    return "nothing" if pd.isna(value) else repr(float(value))
