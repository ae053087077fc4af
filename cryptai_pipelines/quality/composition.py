"""One truth out of several sources: which source's bar stands at each open time. Whether a bar is good is judged before, in
`row_rules`; what stands where no source has a bar is decided in `filling`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns


class SourceBars(NamedTuple):
    """The good bars of one source: `ts` (int64, ascending, unique) and `BAR_COLUMNS`. `origin`: how they came."""

    source: str
    origin: str
    bars: Columns


class Composed(NamedTuple):
    """Bars of several sources, ascending and unique by `ts`. `source` and `origin` run along with the rows; each is one text
    where all rows have the same, else an object array."""

    bars: Columns
    source: str | np.ndarray
    origin: str | np.ndarray

    @property
    def opens(self) -> np.ndarray:
        """Open times, int64 epoch milliseconds."""
        return self.bars["ts"]


def compose(ranked: Sequence[SourceBars]) -> Composed:
    """At every open time the bar of the first source of `ranked` (at least one) that has it: failover by bar, not by span."""
    taken = [ranked[0].bars["ts"]]
    parts = [ranked[0]]
    for other in ranked[1:]:
        new = ~np.isin(other.bars["ts"], np.concatenate(taken), assume_unique=True)
        if new.any():
            parts.append(other._replace(bars={name: values[new] for name, values in other.bars.items()}))
            taken.append(parts[-1].bars["ts"])
    if len(parts) > 1 and not len(parts[0].bars["ts"]):
        parts = parts[1:]
    if len(parts) == 1:
        return Composed(parts[0].bars, parts[0].source, parts[0].origin)
    return _merged(parts)


def _merged(parts: Sequence[SourceBars]) -> Composed:
    order = np.argsort(np.concatenate([part.bars["ts"] for part in parts]), kind="stable")
    counts = [len(part.bars["ts"]) for part in parts]
    bars = {name: np.concatenate([part.bars[name] for part in parts])[order] for name in ("ts", *BAR_COLUMNS)}
    source = np.repeat(np.array([part.source for part in parts], dtype=object), counts)[order]
    origin = np.repeat(np.array([part.origin for part in parts], dtype=object), counts)[order]
    return Composed(bars, source, origin)
