"""What the suites of this package injected and what came of it, and which size they have. The table of all tallies is printed
at the end of a test run by the top conftest."""

from __future__ import annotations

import json
import os
from pathlib import Path


def size(small: int, large: int) -> int:
    """`large` under `CRYPTAI_TORTURE=1`, else `small`."""
    return large if os.environ.get("CRYPTAI_TORTURE") == "1" else small


def record(
    suite: str, injected: str, count: int, lost: int = 0, duplicated: int = 0, altered: int = 0, unrecovered: int = 0
) -> None:
    """Append one row to the tally of this test run; nothing without the folder `CRYPTAI_TALLY`. One file per process, so that
    parallel workers do not mix their lines."""
    folder = os.environ.get("CRYPTAI_TALLY")
    if not folder:
        return
    row = {
        "suite": suite,
        "injected": injected,
        "count": count,
        "lost": lost,
        "duplicated": duplicated,
        "altered": altered,
        "unrecovered": unrecovered,
    }
    with open(Path(folder) / f"{os.getpid()}.jsonl", "a", encoding="utf-8") as tally:
        tally.write(json.dumps(row) + "\n")
