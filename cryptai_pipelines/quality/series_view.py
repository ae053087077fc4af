"""What a series rule sees and what it says: a stretch of bars with what may be held against it, a mark per bar, and runs of
marked bars as findings. The rules themselves stand by subject in `*_signs`, their list in `series_rules`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.timeframe import Timeframe


class View(NamedTuple):
    """A stretch of one series, and what is known beside it; None where it is not.

    `bars`: `ts` (int64, epoch ms), `bars.OHLCV` and, where reported, the flows (float64, NaN = unreported), in the order of the
    stretch; of received rows also `ts_written` (int64), the numbers that open times were read from, where these came in several
    units. `starts_series`: the first row is the first bar of the series. `finer`: bars of the same timeframe made of a shorter
    series (`market_signs.complete_aggregates`). `other`: bars of another venue. `receipts`: per open time what was received of
    it, see `receipt_signs`. `tick_size`: the price step the venue lists. Companions ascend by `ts`.
    """

    bars: Columns
    timeframe: Timeframe
    starts_series: bool = False
    finer: Columns | None = None
    other: Columns | None = None
    receipts: Columns | None = None
    tick_size: float | None = None


class Marks(NamedTuple):
    """What a rule says of each bar of a view: is it marked, how bad is it (float64, None where only the number counts), and
    which marked bars belong together (int64; None: all neighbours)."""

    mask: np.ndarray
    value: np.ndarray | None = None
    group: np.ndarray | None = None


Limits = Mapping[str, float]


@dataclass(frozen=True)
class SeriesRule:
    """One way for a run of bars to look wrong.

    `needs`: fields of `View` without which the rule is silent. `context`: how many bars before a bar its mark depends on.
    `limits`: thresholds by name, with their defaults; `at_least` among them is the shortest run that is a finding (1).
    `reason`: a template of `count`, `worst` and the limits. `as_received`: for rows in the order and number in which they
    came, before they are stored under unique open times.
    """

    name: str
    description: str
    severity: str
    mark: Callable[[View, Limits], Marks]
    reason: str
    context: int = 1
    limits: Limits = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    as_received: bool = False

    @property
    def at_least(self) -> int:
        """The shortest run of marked bars that is a finding."""
        return int(self.limits.get("at_least", 1))


class SeriesFinding(NamedTuple):
    """A run of bars that a rule marks: open time of the first, end of the last (both epoch ms), how many, the value that is
    furthest from zero (None where only the number counts), and one line that says why."""

    rule: str
    severity: str
    start_ms: int
    end_ms: int
    count: int
    worst: float | None
    reason: str


class Run(NamedTuple):
    """Consecutive marked rows: lowest and highest open time, how many, the worst value (NaN without values), their group."""

    first_ms: int
    last_ms: int
    count: int
    worst: float
    group: int


def marked_runs(marks: Marks, ts: np.ndarray, fresh: int) -> tuple[list[Run], bool, bool]:
    """Runs of marked rows from row `fresh` on, and whether the first begins at that row and the last ends at the last row."""
    rows = np.flatnonzero(marks.mask[fresh:]) + fresh
    if not len(rows):
        return [], False, False
    group = np.zeros(len(rows), "int64") if marks.group is None else marks.group[rows]
    value = np.full(len(rows), np.nan) if marks.value is None else marks.value[rows].astype("float64")
    starts = np.concatenate(([True], (np.diff(rows) > 1) | (group[1:] != group[:-1])))
    first = np.flatnonzero(starts)
    counts = np.diff(np.concatenate((first, [len(rows)])))
    order = np.lexsort((np.nan_to_num(np.abs(value), nan=-1.0), np.cumsum(starts)))
    worst = value[order[np.concatenate((first[1:], [len(rows)])) - 1]]
    lowest, highest = np.minimum.reduceat(ts[rows], first), np.maximum.reduceat(ts[rows], first)
    columns = (lowest, highest, counts, worst, group[first])
    runs = [Run(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]
    return runs, bool(rows[0] == fresh), bool(rows[-1] == len(ts) - 1)


def joined(one: Run, other: Run) -> Run:
    """Two runs of the same group that follow each other."""
    worst = max((value for value in (one.worst, other.worst) if value == value), key=abs, default=np.nan)
    return Run(min(one.first_ms, other.first_ms), max(one.last_ms, other.last_ms), one.count + other.count, worst, one.group)


def as_finding(rule: SeriesRule, limits: Limits, run: Run, timeframe: Timeframe) -> SeriesFinding:
    """The finding that a run is."""
    worst = None if run.worst != run.worst else run.worst
    reason = rule.reason.format(count=run.count, worst=run.worst, **limits)
    return SeriesFinding(rule.name, rule.severity, run.first_ms, run.last_ms + timeframe.ms, run.count, worst, reason)


def previous(values: np.ndarray) -> np.ndarray:
    """Each row's predecessor, NaN for the first row; float64."""
    return np.concatenate(([np.nan], values[:-1])) if len(values) else np.empty(0)


def adjacent(view: View) -> np.ndarray:
    """Does each bar follow directly on the one before it, without a gap between them?"""
    ts = view.bars["ts"]
    return np.concatenate(([False], np.diff(ts) == view.timeframe.ms)) if len(ts) else np.empty(0, bool)


def log_ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """ln(a / b), NaN where either is not positive."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(np.where(a > 0, a, np.nan) / np.where(b > 0, b, np.nan))


def beside(view: View, companion: Columns) -> tuple[np.ndarray, np.ndarray]:
    """For every bar its row in `companion`, which ascends by `ts` (int64, any valid row where there is none), and whether there
    is one."""
    theirs, ts = companion["ts"], view.bars["ts"]
    if not len(theirs):
        return np.zeros(len(ts), "int64"), np.zeros(len(ts), bool)
    row = np.minimum(np.searchsorted(theirs, ts), len(theirs) - 1)
    return row, theirs[row] == ts
