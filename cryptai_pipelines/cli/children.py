"""The programs that `up` keeps running: starting one under its tether, and ending it with everything it started. When they are
started, and what happens when one ends by itself, is decided in `up`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_LOG_LIMIT_BYTES = 20_000_000


@dataclass(frozen=True)
class Child:
    """A program under its tether. Closing `rope` ends it and everything it started."""

    name: str
    tether: subprocess.Popen[bytes]
    rope: int
    log: Path


def start_child(name: str, program: str, arguments: list[str], environment: dict[str, str], lock: IO[str]) -> Child:
    """Start `program` of this virtual environment; its output goes to a log under `CRYPTAI_HOME`. It holds `lock` as long as it
    lives. `CryptaiError` when it is not installed."""
    from cryptai_pipelines.market.errors import CryptaiError

    path = Path(sys.executable).parent / program
    if not path.exists():
        raise CryptaiError(f"{path} is missing; install this project again into its virtual environment")
    # Not `DAGSTER_HOME/logs`: what lies there Dagster takes for its telemetry, sends away and deletes, telemetry on or off.
    logs = Path(environment["CRYPTAI_HOME"]) / "logs"
    logs.mkdir(exist_ok=True, mode=0o700)
    log = logs / f"{program}.log"
    trim_log(log)
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


def trim_log(log: Path, limit: int = _LOG_LIMIT_BYTES) -> None:
    """Move a log of more than `limit` bytes to `NAME.1`, in place of what that held. Its writer, which appends, goes on."""
    if log.exists() and log.stat().st_size > limit:
        shutil.copyfile(log, log.with_name(log.name + ".1"))
        os.truncate(log, 0)


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
