"""Which of two sources is believed about a bar on which they differ, and why: the rules as data, and the bars with their
verdict. What differs is found in `reconciliation`. What follows from a belief is decided by whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import OHLCV, Columns
from cryptai_pipelines.quality.reconciliation import (
    DISAGREEING,
    OFF_GRID_OTHER,
    OFF_GRID_SOURCE,
    ONLY_OTHER,
    ONLY_SOURCE,
    Comparison,
)

SOURCE, OTHER, NEITHER = "source", "other", "neither"
API, ARCHIVE, FILE, VENUE = "api", "archive", "file", "venue"
ROLES = (API, ARCHIVE, FILE, VENUE)
"""What a side is: the venue's own API, its published archive, a file or feed of unknown making, or another venue."""


class Belief(NamedTuple):
    """Which side is believed (`source`, `other`, `neither`) and why; the rule's name stands beside each bar."""

    side: str
    rule: str


class BeliefRule(NamedTuple):
    """One reason to believe a side. `side` is believed about findings of `kinds`; or, about bars that disagree, the first role
    of a pair in `beats` over the second. `why`: for a person."""

    name: str
    why: str
    kinds: tuple[str, ...] = ()
    side: str = NEITHER
    beats: tuple[tuple[str, str], ...] = ()


MAJORITY = BeliefRule(
    "majority", "of further sources that have the bar, more agree with this side alone than with the other alone"
)
UNDECIDED = BeliefRule("undecided", "nothing is known that speaks for one side")
_HAS_IT = BeliefRule("the one that has it", "a bar that one side served and the other lacks was lost there, not invented here")
BELIEFS: tuple[BeliefRule, ...] = (
    BeliefRule("off grid", "no bar of the series opens at this time", (OFF_GRID_SOURCE, OFF_GRID_OTHER)),
    _HAS_IT._replace(kinds=(ONLY_SOURCE,), side=SOURCE),
    _HAS_IT._replace(kinds=(ONLY_OTHER,), side=OTHER),
    MAJORITY,
    BeliefRule(
        "api over archive",
        "a venue restates its history in its API; an archive file keeps what was known when it was made",
        beats=((API, ARCHIVE),),
    ),
    BeliefRule(
        "venue over file",
        "a file or feed is a copy of unknown making; a venue's own word counts",
        beats=((API, FILE), (ARCHIVE, FILE), (VENUE, FILE)),
    ),
    BeliefRule(
        "own venue",
        "each venue has its own prices; a series is made of those of its own venue",
        beats=((API, VENUE), (ARCHIVE, VENUE)),
    ),
    UNDECIDED,
)
"""Who is believed: the first rule that fits decides."""


def believe(kind: str, source_role: str, other_role: str, for_source: int = 0, for_other: int = 0) -> Belief:
    """Which side is believed about a finding of `kind`. `for_source`, `for_other`: how many further sources have the bar and
    agree with that side only."""
    for rule in BELIEFS:
        if kind in rule.kinds:
            return Belief(rule.side, rule.name)
        if kind not in DISAGREEING:
            continue
        if rule is MAJORITY and for_source != for_other:
            return Belief(SOURCE if for_source > for_other else OTHER, rule.name)
        if (source_role, other_role) in rule.beats:
            return Belief(SOURCE, rule.name)
        if (other_role, source_role) in rule.beats:
            return Belief(OTHER, rule.name)
    return Belief(NEITHER, UNDECIDED.name)


class FoundBar(NamedTuple):
    """A finding about one bar. `source`, `other`: its values as each side has it, None where it has none. `difference`:
    relative, per column that was compared; empty where one side lacks the bar. `believed`: `source`, `other` or `neither`."""

    ts_ms: int
    kind: str
    source: dict[str, float] | None
    other: dict[str, float] | None
    difference: dict[str, float]
    believed: str
    rule: str


def found_bars(
    comparison: Comparison,
    source: Columns,
    other: Columns,
    roles: tuple[str, str],
    votes: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[FoundBar]:
    """Every finding of a comparison of `source` and `other`, by time, with the side that is believed.

    `roles`: of `ROLES`, of the source and of the other. `votes`: for each finding how many further sources agree with the
    source only, and with the other only; None without further sources.
    """
    nobody = np.zeros(len(comparison.ts), dtype="int64")
    for_source, for_other = votes or (nobody, nobody)
    mine, theirs = _last_rows(source, comparison.ts), _last_rows(other, comparison.ts)
    told = []
    for at, (ts, kind) in enumerate(zip(comparison.ts.tolist(), comparison.kind.tolist(), strict=True)):
        belief = believe(kind, *roles, int(for_source[at]), int(for_other[at]))
        differs = kind in DISAGREEING
        difference = {name: float(values[at]) for name, values in comparison.differences.items()} if differs else {}
        told.append(FoundBar(ts, kind, _bar(source, mine[at]), _bar(other, theirs[at]), difference, *belief))
    return told


def believed_side(bars: Sequence[FoundBar]) -> str:
    """The side that is believed about all of them: `source`, `other`, `neither`; `both` when there is nothing to decide,
    `mixed` when it is now one and now the other. Bars off the grid decide nothing."""
    sides = Counter(bar.believed for bar in bars if bar.kind not in (OFF_GRID_SOURCE, OFF_GRID_OTHER))
    if not sides:
        return "both"
    return next(iter(sides)) if len(sides) == 1 else "mixed"


def _last_rows(columns: Columns, ts: np.ndarray) -> np.ndarray:
    """Position of the last row of `columns` at each open time, -1 where there is none."""
    order = np.argsort(columns["ts"], kind="stable")
    ordered = columns["ts"][order]
    after = np.searchsorted(ordered, ts, side="right")
    found = (after > 0) & (ordered[np.maximum(after, 1) - 1] == ts) if len(ordered) else np.zeros(len(ts), dtype=bool)
    return np.where(found, order[np.maximum(after, 1) - 1] if len(order) else 0, -1)


def _bar(columns: Columns, row: int) -> dict[str, float] | None:
    return None if row < 0 else {name: float(columns[name][row]) for name in OHLCV if name in columns}
