"""How complete a series is, with what nobody could have received taken out: time in which the symbol was not listed, and known
outages of its venue. The plain count of bars by month is in `gaps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.gap_classes import excused_opens
from cryptai_pipelines.quality.gaps import Gap, completeness, find_gaps


class AdjustedMonth(NamedTuple):
    """A calendar month (UTC), clipped to the interval asked about: open times on the grid, those with a bar that a source gave,
    those without, and how many of these could not be received: unlisted, or in an outage of the venue (each counted once,
    unlisted first)."""

    start_ms: int
    end_ms: int
    expected: int
    received: int
    missing: int
    unlisted: int
    in_outage: int

    @property
    def adjusted(self) -> float | None:
        """Received bars as a share of those that could be received; None when there were none."""
        possible = self.expected - self.unlisted - self.in_outage
        return self.received / possible if possible else None


def adjusted_completeness(
    ts_ms: np.ndarray,
    timeframe: Timeframe,
    within: Interval,
    *,
    unlisted: Sequence[Interval] = (),
    outages: Sequence[Interval] = (),
    is_filled: np.ndarray | None = None,
) -> list[AdjustedMonth]:
    """One row per calendar month that `within` touches.

    `ts_ms`: open times of the stored bars (int64, any order). `is_filled` (bool, along with it): bars that nobody gave, which
    are never received. A missing bar is excused when it lies wholly in one of `unlisted` or `outages`; a bar that was received
    in spite of them counts like any other.
    """
    given = np.asarray(ts_ms, "int64") if is_filled is None else np.asarray(ts_ms, "int64")[~is_filled]
    months = completeness(given, timeframe, within)
    gaps = find_gaps(given, timeframe, within)
    excused = excused_by_month(gaps, timeframe, [Interval(*month[:2]) for month in months], unlisted, outages)
    return [AdjustedMonth(*month, *counts) for month, counts in zip(months, excused, strict=True)]


def excused_by_month(
    gaps: Sequence[Gap],
    timeframe: Timeframe,
    months: Sequence[Interval],
    unlisted: Sequence[Interval],
    outages: Sequence[Interval],
) -> list[tuple[int, int]]:
    """For each of `months` (ascending, apart) how many bars that the gaps miss were unlisted, and how many of the others lie in
    an outage."""
    absent = np.concatenate([np.empty(0, "int64"), *(timeframe.opens(gap.start_ms, gap.end_ms) for gap in gaps)])
    absent = np.unique(absent)
    before = excused_opens(absent, timeframe, unlisted)
    during = excused_opens(absent, timeframe, outages) & ~before
    rows = [np.searchsorted(absent, month) for month in months]
    return [(int(before[slice(*row)].sum()), int(during[slice(*row)].sum())) for row in rows]
