"""What a step of the chain tells about one series."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cryptai_pipelines.market.series import Series

Fact = str | int | float | bool | None


@dataclass(frozen=True)
class Outcome:
    """One series after one step.

    `written`: rows inserted or changed, 0 when everything was up to date. `rows`: rows of the series now stored.
    `revision`: the asset's revision of this series; it grows only when rows changed. `facts`: what a person wants to see.
    """

    asset: str
    series: Series
    written: int
    rows: int
    revision: int
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """How far a step is: `done` of `total` in milliseconds of covered time, and bars so far."""

    asset: str
    series: Series
    done: int
    total: int
    bars: int


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """For callers that show none."""
