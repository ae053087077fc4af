"""Running the real command: as a process of its own, or in this process where only words and exit codes matter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptai_pipelines_tests.conftest import REPOSITORY

DEADLINE_S = 60.0
RUN = "from cryptai_pipelines.cli.main import run; run()"


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict[str, Any]:
        """Stdout, which must be exactly one JSON object on one line."""
        assert self.out.count("\n") == 1 and self.out.endswith("\n"), self.out
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def start(arguments: Sequence[str], home: Path, before: str = "", **environment: str) -> subprocess.Popen[str]:
    """The command as a process with no CRYPTAI_* setting but these; `before` is Python run ahead of it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CRYPTAI_", "PG", "DAGSTER_"))}
    return subprocess.Popen(
        [sys.executable, "-c", f"{before}\n{RUN}", *arguments],
        env={**kept, "PYTHONPATH": str(REPOSITORY), "CRYPTAI_HOME": str(home), **environment},
        cwd=home.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a started command."""
    out, err = process.communicate(timeout=DEADLINE_S)
    return Ended(process.returncode, out, err)


def call(arguments: Sequence[str], home: Path, **environment: str) -> Ended:
    """Run the command as a process to its end."""
    return finish(start(arguments, home, **environment))


def until(holds: Callable[[], bool], what: str) -> None:
    """Poll until `holds()`; the test fails when that takes longer than `DEADLINE_S`."""
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:.0f} s: {what}"
        time.sleep(0.005)
