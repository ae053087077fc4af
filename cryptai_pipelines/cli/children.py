"""The programs that `up` keeps running: starting one under its tether, and ending it with everything it started. When they are
started, and what happens when one ends by itself, is decided in `up`."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Child:
    """A program under its tether. Closing `rope` ends it and everything it started."""

    name: str
    tether: subprocess.Popen[bytes]
    rope: int
    log: Path


def start_child(name: str, program: str, arguments: list[str], environment: dict[str, str], lock: IO[str]) -> Child:
    """Start `program` of this virtual environment; its output goes to a log under `DAGSTER_HOME`. It holds `lock` as long as it
    lives. `CryptaiError` when it is not installed."""
    from cryptai_pipelines.market.errors import CryptaiError

    path = Path(sys.executable).parent / program
    if not path.exists():
        raise CryptaiError(f"{path} is missing; install this project again into its virtual environment")
    logs = Path(environment["DAGSTER_HOME"]) / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{program}.log"
    end, rope = os.pipe()
    command = [sys.executable, "-m", "cryptai_pipelines.cli.tether", str(end), str(path), *arguments]
    try:
        with log.open("ab") as output:
            # A session of its own: Ctrl-C at the terminal reaches us only.
            tether = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=(end, lock.fileno()),
            )
    except BaseException:  # whatever kept the child from starting, its rope must not stay open; it is raised on
        os.close(rope)
        raise
    finally:
        os.close(end)
    return Child(name, tether, rope, log)


def stop_children(children: list[Child]) -> None:
    """End every child and what it started; returns when all are gone. An interrupt meanwhile does not cut this short."""
    from cryptai_pipelines.cli.running import end_group

    for child in children:
        os.close(child.rope)
    for child in children:
        while child.tether.poll() is None:
            try:
                child.tether.wait()
            except KeyboardInterrupt:
                continue
        if child.tether.returncode < 0:
            end_group(child.tether.pid)
