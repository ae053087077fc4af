"""Two tables of bars of one series, held against each other: which bars agree, which only one of them has, and how the others
differ. Who is believed is in `beliefs`; where the tables come from is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import OHLCV, Columns
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe

PRICE, VOLUME, LAST_DIGIT = "price", "volume", "last digit"
ONLY_SOURCE, ONLY_OTHER = "only in source", "only in other"
OFF_GRID_SOURCE, OFF_GRID_OTHER = "off grid in source", "off grid in other"
KINDS = (PRICE, VOLUME, LAST_DIGIT, ONLY_SOURCE, ONLY_OTHER, OFF_GRID_SOURCE, OFF_GRID_OTHER)
"""What can be found of a bar. The first three are bars of both sides that disagree, by their gravest difference."""
DISAGREEING = KINDS[:3]

# Two venues that trade apart never give one bar bit for bit; a thin market may once.
_IDENTICAL_BARS = 3
_IDENTICAL_SHARE = 0.05


@dataclass(frozen=True)
class Rule:
    """How two bars are held against each other.

    columns: those that count, of `OHLCV`. Without a `band` bars agree when these are equal, NaN equal to NaN. Otherwise they
    differ in `price` when a price differs by more than `price_tolerance`, else in `volume` when that differs by more than
    `volume_tolerance`, else in the `last digit`. With a `band`, for two venues of which each has its own prices, they agree
    when no price differs by more than it; volumes are not held against each other. All are relative to the larger of the two
    values.
    """

    columns: tuple[str, ...] = OHLCV
    price_tolerance: float = 0.0005
    volume_tolerance: float = 1e-6
    band: float | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in OHLCV]
        if unknown or not self.prices:
            named = repr(unknown[0]) if unknown else "none of the prices"
            raise BadArgument(f"columns to compare name {named}; accepted: {' '.join(OHLCV)}, at least one price")
        for name in ("price_tolerance", "volume_tolerance", "band"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise BadArgument(f"{name} {value} is not accepted: a share from 0 to below 1, such as 0.0005")

    @property
    def prices(self) -> tuple[str, ...]:
        """The prices that count."""
        return tuple(name for name in self.columns if name != "volume")

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns of which differences are told."""
        return self.columns if self.band is None else self.prices


SAME_VENUE = Rule()
CROSS_VENUE = Rule(columns=("high", "low", "close"), band=0.01)
"""The open of a bar is the first trade of one venue, and some of them write the last close instead: it is left out."""


@dataclass(frozen=True)
class Comparison:
    """What was found in `within`.

    compared: bars that both sides have; agreeing: those of them that agree; identical: those of them in which something was
    traded and that are equal bit for bit in every price that counts and in volume. repeated_source, repeated_other: rows whose
    open time came again later on the same side; the last one counts.
    ts: int64 open times of the findings, ascending; kind: of `KINDS`, one per finding. differences: per column of
    `Rule.compared`, float64, source minus other, relative to the larger of both; NaN where one side has no number.
    """

    within: Interval
    compared: int
    agreeing: int
    identical: int
    repeated_source: int
    repeated_other: int
    ts: np.ndarray
    kind: np.ndarray
    differences: dict[str, np.ndarray]

    def count(self, *kinds: str) -> int:
        """How many findings are of these kinds."""
        return int(np.isin(self.kind, kinds).sum())

    @property
    def disagreeing(self) -> int:
        """Bars that both sides have and that do not agree."""
        return self.compared - self.agreeing


def compare(
    source: Columns,
    other: Columns,
    timeframe: Timeframe,
    rule: Rule,
    within: Interval,
    settled_source: Sequence[Interval] | None = None,
    settled_other: Sequence[Interval] | None = None,
) -> Comparison:
    """Hold the bars of two sides in `within` against each other.

    `source`, `other`: `ts` (int64 epoch ms, any order, repetitions allowed) and `rule.columns` with `volume`, float64.
    `settled_source`, `settled_other`: the times in which a side is known to hold all that it has, apart; a bar that only
    the other side has counts as a finding only there. None: everywhere in `within`.
    """
    mine, theirs = _side(source, timeframe, within), _side(other, timeframe, within)
    common, at_mine, at_theirs = np.intersect1d(mine.ts, theirs.ts, assume_unique=True, return_indices=True)
    left, right = _rows(mine.rows, at_mine), _rows(theirs.rows, at_theirs)
    differences = {name: _relative(left[name], right[name]) for name in rule.compared}
    kind = _classed(differences, rule)
    found = kind != ""
    only_mine = _lacking(mine.ts, theirs.ts, [within] if settled_other is None else settled_other)
    only_theirs = _lacking(theirs.ts, mine.ts, [within] if settled_source is None else settled_source)
    others = (
        (only_mine, ONLY_SOURCE),
        (only_theirs, ONLY_OTHER),
        (mine.off_grid, OFF_GRID_SOURCE),
        (theirs.off_grid, OFF_GRID_OTHER),
    )
    ts = np.concatenate([common[found], *(opens for opens, _ in others)])
    kinds = np.concatenate([kind[found], *(np.full(len(opens), name, dtype=object) for opens, name in others)])
    order = np.argsort(ts, kind="stable")
    rest = np.full(len(ts) - int(found.sum()), np.nan)
    told = {name: np.concatenate((values[found], rest))[order] for name, values in differences.items()}
    identical = int((_identical(left, right, rule) & (left["volume"] > 0)).sum())
    agreeing = len(common) - int(found.sum())
    return Comparison(within, len(common), agreeing, identical, mine.repeated, theirs.repeated, ts[order], kinds[order], told)


class _Side(NamedTuple):
    ts: np.ndarray
    rows: Columns
    off_grid: np.ndarray
    repeated: int


def _side(columns: Columns, timeframe: Timeframe, within: Interval) -> _Side:
    """The rows in `within`, ascending, of each open time on the grid the last one; and the open times off the grid."""
    ts = np.asarray(columns["ts"], dtype="int64")
    inside = (ts >= within.start_ms) & (ts < within.end_ms)
    grid = timeframe.on_grid(ts)
    at = np.flatnonzero(inside & grid)
    at = at[np.argsort(ts[at], kind="stable")]
    last = np.concatenate((ts[at][1:] != ts[at][:-1], [True])) if len(at) else np.empty(0, dtype=bool)
    rows = {name: np.asarray(columns[name], dtype="float64")[at[last]] for name in OHLCV if name in columns}
    return _Side(ts[at[last]], rows, np.sort(ts[inside & ~grid]), len(at) - int(last.sum()))


def _rows(rows: Columns, at: np.ndarray) -> Columns:
    return {name: values[at] for name, values in rows.items()}


def _lacking(having: np.ndarray, lacking: np.ndarray, settled: Sequence[Interval]) -> np.ndarray:
    inside = np.zeros(len(having), dtype=bool)
    for start, end in settled:
        inside |= (having >= start) & (having < end)
    return np.setdiff1d(having[inside], lacking, assume_unique=True)


def _relative(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(left - right) / max(|left|, |right|): 0 where equal, NaN equal to NaN; NaN where only one is a finite number."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        relative = (left - right) / np.maximum(np.abs(left), np.abs(right))
    return np.where(_equal(left, right), 0.0, relative)


def _equal(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left == right) | (np.isnan(left) & np.isnan(right))


def _classed(differences: dict[str, np.ndarray], rule: Rule) -> np.ndarray:
    """The gravest kind of every bar, `""` where it agrees. A difference that is NaN is beyond every tolerance."""
    count = len(next(iter(differences.values())))
    kind = np.full(count, "", dtype=object)
    prices = [np.abs(differences[name]) for name in rule.prices]
    if rule.band is not None:
        kind[~_all([difference <= rule.band for difference in prices])] = PRICE
        return kind
    kind[~_all([difference == 0 for difference in differences.values()])] = LAST_DIGIT
    if "volume" in differences:
        kind[~(np.abs(differences["volume"]) <= rule.volume_tolerance)] = VOLUME
    kind[~_all([difference <= rule.price_tolerance for difference in prices])] = PRICE
    return kind


def _identical(left: Columns, right: Columns, rule: Rule) -> np.ndarray:
    return _all([left[name] == right[name] for name in (*rule.prices, "volume")])


def _all(conditions: Sequence[np.ndarray]) -> np.ndarray:
    return np.logical_and.reduce(list(conditions))


def is_mislabelled(comparison: Comparison, rule: Rule) -> bool:
    """Do two venues give so many bars that are equal bit for bit that one of them must be the other's under a wrong name?"""
    least = max(_IDENTICAL_BARS, _IDENTICAL_SHARE * comparison.compared)
    return rule.band is not None and comparison.identical >= least


def agrees(one: Columns, another: Columns, ts: np.ndarray, timeframe: Timeframe, rule: Rule) -> np.ndarray:
    """For every open time of `ts` (int64, ascending, on the grid): do both tables have the bar, and does it agree?"""
    if not len(ts):
        return np.zeros(0, dtype=bool)
    within = Interval(int(ts[0]), int(ts[-1]) + 1)
    found = compare(one, another, timeframe, rule, within)
    both = np.intersect1d(one["ts"], another["ts"])
    return np.isin(ts, both) & ~np.isin(ts, found.ts[np.isin(found.kind, DISAGREEING)])


def months(within: Interval) -> Iterator[tuple[int, Interval]]:
    """Every calendar month (UTC) that `within` touches: its first moment, and the part of it that lies in `within`."""
    if within.start_ms >= within.end_ms:
        return
    first, last = np.array([within.start_ms, within.end_ms - 1], dtype="datetime64[ms]").astype("datetime64[M]")
    edges = np.arange(first, last + np.timedelta64(2, "M")).astype("datetime64[ms]").astype("int64").tolist()
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        yield start, Interval(max(start, within.start_ms), min(end, within.end_ms))


def verdict(comparison: Comparison, rule: Rule, source: str, other: str) -> str:
    """One line for a person: what was found, and what is odd about it."""
    if is_mislabelled(comparison, rule):
        of = f"{comparison.identical} of {comparison.compared}"
        return f"suspicious: {of} bars of {source} and {other} are equal bit for bit; one is mislabelled"
    parts = [f"{comparison.count(kind)} {kind}" for kind in KINDS if comparison.count(kind)]
    if not parts:
        return "agree" if comparison.compared else "nothing to compare"
    told = ", ".join(parts).replace("in source", f"in {source}").replace("in other", f"in {other}")
    return f"{comparison.agreeing} of {comparison.compared} agree; {told}"
