"""Outages of a venue, found in what several of its symbols miss at the same time. What a single gap is, is decided in
`gap_classes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.intervals import Interval, merged, missing_opens, runs
from cryptai_pipelines.market.series import Series

LEAST_SYMBOLS = 2
LEAST_SHARE = 0.5


class Outage(NamedTuple):
    """`[start_ms, end_ms)` in which a venue gave no bars: for which symbols, of how many that it should have had, and on which
    timeframes that is seen."""

    start_ms: int
    end_ms: int
    symbols: tuple[str, ...]
    of_symbols: int
    timeframes: tuple[str, ...]


class Looked(NamedTuple):
    """A span in which other sources may have closed a hole of the venue, and the open times (int64 epoch ms, any order) at
    which the venue itself has a good bar in it."""

    span: Interval
    delivered_ms: np.ndarray


def lacked_by_venue(
    gaps: Mapping[Series, Sequence[Interval]],
    covered: Mapping[Series, Interval],
    looked: Mapping[Series, Sequence[Looked]],
) -> dict[Series, list[Interval]]:
    """What the venue itself lacks of each series, within what it covers; ascending and apart, edges are open times.

    `gaps`: what no source has. `covered`: as for `find_outages`; the venue was asked for all of it. `looked`: where a bar may
    come from another source: there the venue lacks what it has not delivered.
    """
    lacked = {}
    for series in gaps.keys() | looked.keys():
        if (within := covered.get(series)) is None:
            continue
        parts = [_clipped(gap, series, within) for gap in gaps.get(series, ())]
        for span, delivered_ms in looked.get(series, ()):
            absent = missing_opens(delivered_ms, series.timeframe, _clipped(span, series, within))
            parts += runs(absent, series.timeframe)
        lacked[series] = merged(parts)
    return lacked


def _clipped(span: Interval, series: Series, within: Interval) -> Interval:
    """The open times of `span` that lie in `within`, from the first of them to where the bar of the last one ends."""
    ceil = series.timeframe.ceil
    return Interval(ceil(max(span.start_ms, within.start_ms)), ceil(min(span.end_ms, within.end_ms)))


def find_outages(
    gaps: Mapping[Series, Sequence[Interval]],
    covered: Mapping[Series, Interval],
    *,
    least_symbols: int = LEAST_SYMBOLS,
    least_share: float = LEAST_SHARE,
) -> list[Outage]:
    """The times at which at least `least_symbols` symbols, and at least the share `least_share` of those that are covered then,
    miss bars of the same timeframe; ascending, never adjacent.

    `gaps`: what the venue lacks of each series; leave out what is known to be a failure of ours. `covered`: for each series of
    the venue, those without a gap too, from its first bar to the end of its coverage. Edges are open times: an outage spans
    whole bars.
    """
    by_timeframe: dict[str, list[Series]] = {}
    for series in covered:
        by_timeframe.setdefault(series.timeframe.code, []).append(series)
    found = [
        outage
        for members in by_timeframe.values()
        if len({series.symbol for series in members}) >= least_symbols
        for outage in _on_one_timeframe(members, gaps, covered, least_symbols, least_share)
    ]
    return _united(found)


def _on_one_timeframe(
    members: Sequence[Series],
    gaps: Mapping[Series, Sequence[Interval]],
    covered: Mapping[Series, Interval],
    least_symbols: int,
    least_share: float,
) -> list[Outage]:
    """Between any two edges of a gap or of a coverage it is the same symbols that miss bars: those stretches are looked at."""
    missed = [(gap.start_ms, gap.end_ms, series.symbol) for series in members for gap in gaps.get(series, ())]
    if not missed:
        return []
    starts, ends = np.array([gap[0] for gap in missed]), np.array([gap[1] for gap in missed])
    edges = np.unique(np.concatenate([starts, ends, *(np.array(covered[series]) for series in members)]))
    missing = _inside(edges, starts, ends)
    alive = _inside(edges, *(np.array([covered[series][side] for series in members]) for side in (0, 1)))
    down = (missing >= least_symbols) & (missing >= least_share * alive)
    found = []
    for first, last in _true_runs(down):
        start, end = int(edges[first]), int(edges[last + 1])
        symbols = sorted({symbol for left, right, symbol in missed if left < end and right > start})
        found.append(Outage(start, end, tuple(symbols), int(alive[first : last + 1].max()), (members[0].timeframe.code,)))
    return found


def _inside(edges: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """For each stretch between two edges: how many intervals it lies in."""
    left = edges[:-1]
    return np.searchsorted(np.sort(starts), left, side="right") - np.searchsorted(np.sort(ends), left, side="right")


def _true_runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last position of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype("int8")))
    return [(int(first), int(after) - 1) for first, after in zip(edges[::2], edges[1::2], strict=True)]


def _united(found: Sequence[Outage]) -> list[Outage]:
    """What several timeframes see of one outage, as one."""
    united: list[Outage] = []
    for one in sorted(found):
        if united and one.start_ms <= united[-1].end_ms:
            last = united[-1]
            united[-1] = Outage(
                last.start_ms,
                max(last.end_ms, one.end_ms),
                tuple(sorted({*last.symbols, *one.symbols})),
                max(last.of_symbols, one.of_symbols),
                tuple(sorted({*last.timeframes, *one.timeframes})),
            )
        else:
            united.append(one)
    return united
