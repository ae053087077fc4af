"""Finding columns that know the future: what a function of bars says of a bar must not change when the bars after it are taken
away, or are other ones. What is computed is the callers'; nothing here knows an indicator or a strategy.

A leak of one bar shows only where the last bars of a prefix are compared, and a rare signal only at its own bar, so prefixes
end at every kind of place: at random, and right at the bars where a column changes. What a function reads from elsewhere than
the bars it is given cannot be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput

Columns = Callable[[pd.DataFrame], pd.DataFrame]
"""From a bars frame (index `ts`) to columns of the same index: numbers, or booleans."""

CUTS = 200
LEAST_BARS = 100
TOLERANCE = 1e-9
"""Difference that is rounding, relative to the usual size of a column: sums need not be added up in one order."""


class Leak(NamedTuple):
    """The first bar (epoch ms) and column that knew what came later. `how`: `prefix` when the later bars were taken away,
    `shuffle` when they were put in another order. `known_until_ms`: open time of the last bar that was left as it is. `whole`,
    `alone`: the value with all bars, and the one without that knowledge."""

    column: str
    ts_ms: int
    how: str
    known_until_ms: int
    whole: float
    alone: float

    def __str__(self) -> str:
        change = {"prefix": "without the bars", "shuffle": "with other bars"}[self.how]
        return (
            f"{self.column} at {format_time(self.ts_ms)} is {self.whole:.10g}, but {self.alone:.10g} {change} after"
            f" {format_time(self.known_until_ms)}"
        )


@dataclass(frozen=True)
class Examination:
    """What was looked at and what was found. `columns`: all that were computed, in order. `cuts`: how many prefixes, and as
    many shuffles, were replayed. `leaks`: the earliest leak of each column that has one, the earliest of all first."""

    columns: tuple[str, ...]
    cuts: int
    leaks: tuple[Leak, ...]


def find_leak(compute: Columns, bars: pd.DataFrame, *, cuts: int = CUTS, seed: int = 0) -> Leak | None:
    """The leak with the earliest bar that `examine` finds; None when nothing changes anywhere."""
    return next(iter(examine(compute, bars, cuts=cuts, seed=seed).leaks), None)


OnPlace = Callable[[int, int], None]
"""Told after each place: how many were replayed, and of how many."""


def examine(
    compute: Columns, bars: pd.DataFrame, *, cuts: int = CUTS, seed: int = 0, on_place: OnPlace = lambda done, of: None
) -> Examination:
    """Replay up to `cuts` prefixes and as many shuffles of the later bars, and compare every column with the whole.

    bars: at least `LEAST_BARS` rows; prefixes are at least a tenth of them, as what is computed may need some. `compute` is
    called twice with all of them, and once for each prefix and each shuffle, with a copy that it may change. NaN equals NaN.
    `BadInput` when `cuts` is below 1, and when `compute` gives no column, two of one name, another index, columns that are no
    numbers, or other values the second time.
    """
    if cuts < 1:
        raise BadInput(f"{cuts} prefixes are not accepted; accepted: 1 and more")
    if len(bars) < LEAST_BARS:
        raise BadInput(f"{len(bars)} bars are not enough to look for a leak; accepted: {LEAST_BARS} and more")
    whole = _values(compute(bars.copy()), bars)
    again = _values(compute(bars.copy()), bars)
    for name, values in whole.items():
        if name not in again or not np.array_equal(values, again[name], equal_nan=True):
            raise BadInput(f"column {name!r} has other values when it is computed again from the same bars")
    scales = {name: _scale(values) for name, values in whole.items()}
    random = np.random.default_rng(seed)
    found: list[Leak] = []
    chosen = _cuts(whole, len(bars), cuts, random)
    for done, cut in enumerate(chosen, start=1):
        for how, shown in _without_the_future(bars, cut, random):
            alone = _values(compute(shown), shown)
            if alone.keys() != whole.keys():
                raise BadInput(f"with {cut} bars the columns are {', '.join(alone)}, with all of them {', '.join(whole)}")
            found += _differences(whole, alone, scales, bars, cut, how)
        on_place(done, len(chosen))
    found.sort(key=lambda leak: (leak.ts_ms, leak.how, leak.column))
    first = {leak.column: leak for leak in reversed(found)}
    return Examination(tuple(whole), len(chosen), tuple(sorted(first.values(), key=found.index)))


def _without_the_future(bars: pd.DataFrame, cut: int, random: np.random.Generator) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "prefix", bars.iloc[:cut].copy()
    order = np.concatenate((np.arange(cut), cut + random.permutation(len(bars) - cut)))
    yield "shuffle", bars.iloc[order].set_axis(bars.index)


def _cuts(whole: dict[str, np.ndarray], count: int, most: int, random: np.random.Generator) -> Sequence[int]:
    """How many bars each prefix has: half of them end at random, half right behind a bar at which some column changes, each
    column having its share."""
    least = count // 10
    chosen = [random.integers(least, count, -(-most // 2))]
    share = -(-most // (2 * len(whole)))
    for values in whole.values():
        known = ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
        changed = np.flatnonzero(known & (values[1:] != values[:-1])) + 1
        chosen.append(random.permutation(changed)[:share] + 1)
    cuts = np.unique(np.concatenate(chosen))
    return np.sort(random.permutation(cuts[(cuts >= least) & (cuts < count)])[:most]).tolist()


def _values(columns: pd.DataFrame, bars: pd.DataFrame) -> dict[str, np.ndarray]:
    if not isinstance(columns, pd.DataFrame) or not len(columns.columns):
        raise BadInput(f"columns are expected as a frame with at least one, not {type(columns).__name__}")
    if not columns.index.equals(bars.index):
        raise BadInput(f"columns have another index than the {len(bars)} bars they were made of")
    values = {}
    if len({str(name) for name in columns.columns}) < len(columns.columns):
        raise BadInput(f"two columns have one name: {', '.join(map(str, columns.columns))}")
    for name in columns.columns:
        try:
            values[str(name)] = columns[name].to_numpy(dtype="float64", na_value=np.nan)
        except (TypeError, ValueError):
            raise BadInput(f"column {name!r} holds {columns[name].dtype}; accepted: numbers and booleans") from None
    return values


def _scale(values: np.ndarray) -> float:
    finite = np.abs(values[np.isfinite(values)])
    # The largest one counts for a column that is 0 nearly everywhere.
    return max(float(np.median(finite)), float(finite.max()) / 100) if len(finite) else 0.0


def _differences(
    whole: dict[str, np.ndarray], alone: dict[str, np.ndarray], scales: dict[str, float], bars: pd.DataFrame, cut: int, how: str
) -> Iterator[Leak]:
    """The first difference of each column in the first `cut` bars."""
    ts = index_ms(bars.index)
    for name, values in whole.items():
        one, other = values[:cut], alone[name][:cut]
        with np.errstate(invalid="ignore"):
            near = np.abs(one - other) <= TOLERANCE * np.maximum(np.abs(one), scales[name])
            near &= np.isfinite(one) & np.isfinite(other)
        differs = np.flatnonzero(~(near | (one == other) | (np.isnan(one) & np.isnan(other))))
        if len(differs):
            at = int(differs[0])
            yield Leak(name, int(ts[at]), how, int(ts[cut - 1]), float(one[at]), float(other[at]))
