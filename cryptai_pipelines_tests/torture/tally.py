"""What the torture tests injected and what came of it: how large they are, one row per kind, and one table of all suites.

`CRYPTAI_TORTURE=1` chooses the large size. With `CRYPTAI_TALLY` set, every suite leaves its rows in that folder;
`python -m cryptai_pipelines_tests.torture.tally FOLDER` prints them.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

_NUMBERS = ("times", "lost", "duplicated", "altered", "unrecovered")


@dataclass
class Row:
    """One kind of fault in one suite: how often it was injected, and how many bars (or rows) were lost, duplicated or altered
    in the end. `unrecovered`: what was not mended at once but told: a FAILED or PARTIAL sync, a gap row, a quarantined row."""

    suite: str
    injected: str
    times: int = 0
    lost: int = 0
    duplicated: int = 0
    altered: int = 0
    unrecovered: int = 0


@dataclass
class Tally:
    """The rows of one suite."""

    suite: str
    rows: dict[str, Row] = field(default_factory=dict)

    def add(self, injected: str, times: int = 1, **numbers: int) -> None:
        """Count `times` more injections of a kind, and more of what `numbers` names among the fields of `Row`."""
        row = self.rows.setdefault(injected, Row(self.suite, injected))
        for name, number in {"times": times, **numbers}.items():
            setattr(row, name, getattr(row, name) + number)


def size(small: int, large: int) -> int:
    """`large` when the large size was chosen, else `small`."""
    return large if os.environ.get("CRYPTAI_TORTURE") == "1" else small


@contextmanager
def tallied(suite: str) -> Iterator[Tally]:
    """A tally that is written when the block ends, however it ends. The name of the suite is the name of its file."""
    tally = Tally(suite)
    try:
        yield tally
    finally:
        if folder := os.environ.get("CRYPTAI_TALLY"):
            write(tally, Path(folder))


def record(
    suite: str, injected: str, count: int, lost: int = 0, duplicated: int = 0, altered: int = 0, unrecovered: int = 0
) -> None:
    """Append one row to the tally of this run; nothing without a folder. One file per process, so that parallel workers do not
    mix their lines."""
    if folder := os.environ.get("CRYPTAI_TALLY"):
        row = Row(suite, injected, count, lost, duplicated, altered, unrecovered)
        with open(Path(folder) / f"{os.getpid()}.jsonl", "a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(row)) + "\n")


def write(tally: Tally, folder: Path) -> Path:
    """The rows as JSON lines in a file of their own, which replaces that of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (re.sub(r"[^a-z0-9]+", "_", tally.suite.lower()).strip("_") + ".jsonl")
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in tally.rows.values()))
    return path


def read(folder: Path) -> list[Row]:
    """All rows of all suites in a folder, by the name of the file."""
    return [Row(**json.loads(line)) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def table(rows: Iterable[Row]) -> str:
    """The rows as a table of fixed width, those of one kind added up, each suite followed by its sum, and the sum of all at the
    end."""
    by_kind: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_kind.setdefault((row.suite, row.injected), []).append(row)
    by_suite: dict[str, list[Row]] = {}
    for (suite, injected), own in by_kind.items():
        by_suite.setdefault(suite, []).append(_sum(own, suite, injected))
    lines: list[Row] = []
    for suite, own in by_suite.items():
        lines += [*own, _sum(own, suite, "all of the suite")]
    lines.append(_sum([row for own in by_suite.values() for row in own], "all", ""))
    names = [one.name for one in fields(Row)]
    cells = [
        names,
        *([f"{getattr(row, name):,}" if name in _NUMBERS else getattr(row, name) for name in names] for row in lines),
    ]
    widths = [max(len(line[at]) for line in cells) for at in range(len(names))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(names, line, widths, strict=True)
        )
        for line in cells
    )


def _sum(rows: list[Row], suite: str, injected: str) -> Row:
    return Row(suite, injected, *(sum(getattr(row, name) for row in rows) for name in _NUMBERS))


if __name__ == "__main__":
    print(table(read(Path(sys.argv[1]))))
