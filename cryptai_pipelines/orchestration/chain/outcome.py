"""What a step of the chain tells about one series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


def gates_markdown(gates: Sequence[Mapping[str, Any]]) -> str | None:
    """The fact `gates`: a table of what `gate_rates.counted_rates` tells; None without gates."""
    if not gates:
        return None
    lines = ["| gate | passes | passed | rejected | unknown | |", "|---|---:|---:|---:|---:|---|"]
    for one in gates:
        rate = "" if one["pass_rate"] is None else f"{one['pass_rate']:.1%}"
        numbers = " | ".join(f"{one[name]:,}" for name in ("passed", "rejected", "unknown"))
        lines.append(f"| `{one['gate']}` | {rate} | {numbers} | {one['note']} |")
    return "\n".join(lines)


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """For callers that show none."""
