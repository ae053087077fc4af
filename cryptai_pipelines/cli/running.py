"""Which `up` runs on a home: at most one, told by a lock that the kernel drops when its last holder dies, and a record.

The lock is shared with the tethers (`tether`), so that it is free only when everything an `up` started has ended, and with it
what was left by one that was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import psutil

from cryptai_pipelines.cli.tether import GRACE_S, others_of_group
from cryptai_pipelines.market.errors import CryptaiError

# Longer than the tethers of a killed `up` may take.
_PATIENCE_S = GRACE_S + 15.0


@dataclass(frozen=True)
class Record:
    """An `up`: its process, when that was started (seconds, as psutil tells), its port, and its children's process groups."""

    pid: int
    started: float
    port: int
    groups: tuple[int, ...] = ()


@contextmanager
def only_one(home: Path, waiting: Callable[[], None]) -> Iterator[IO[str]]:
    """Hold the lock of `home` for the time of the block; its file takes the record.

    `CryptaiError` names the `up` that runs on `home`. The children of one that was killed are waited for (`waiting` is called
    once), and ended when not even their tethers were left to do so.
    """
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "up.lock", "a+", encoding="utf-8") as lock:
        _take(lock, home, waiting)
        earlier = _read(lock)
        if earlier is not None:
            _end_leftovers(earlier, folder)
        yield lock
        lock.truncate(0)


@contextmanager
def kept_down(home: Path, database: str) -> Iterator[None]:
    """No `up` of `home` runs or starts during the block, in which its `database` is replaced.

    `CryptaiError` names the `up` that runs, and what to do.
    """
    from cryptai_pipelines.cli.output import say

    running = running_up(home)
    if running is not None:
        raise CryptaiError(
            f"the database {database!r} is in use by `cryptai up` of {home} (process {running.pid},"
            f" http://127.0.0.1:{running.port}); stop that with Ctrl-C or SIGTERM, run this again, and start it anew"
        )
    with only_one(home, lambda: say("waiting for what an earlier, killed `up` had started to end")):
        yield


def write_record(lock: IO[str], port: int, groups: tuple[int, ...]) -> None:
    """Put this process and its children's groups on record."""
    record = Record(os.getpid(), psutil.Process().create_time(), port, groups)
    lock.truncate(0)
    lock.write(json.dumps(asdict(record)))
    lock.flush()


def running_up(home: Path) -> Record | None:
    """The `up` that runs on `home`, or None."""
    try:
        with open(home / "dagster" / "up.lock", encoding="utf-8") as lock:
            record = _read(lock)
    except OSError:
        return None
    return record if record is not None and _is_alive(record) else None


def end_group(group: int) -> None:
    """Kill what is left of a process group whose tether has ended without doing so, because it was killed itself."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _take(lock: IO[str], home: Path, waiting: Callable[[], None]) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    told = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            record = _read(lock)
        if record is not None and _is_alive(record):
            where = f"process {record.pid}, http://127.0.0.1:{record.port}"
            raise CryptaiError(f"an `up` of {home} is running already ({where}); stop that one first")
        if time.monotonic() > deadline:
            raise CryptaiError(
                f"another `up` of {home} is starting or has not ended, or a backup is put in place, after {_PATIENCE_S:.0f} s;"
                " try again"
            )
        if not told:
            waiting()
            told = True
        time.sleep(0.1)


def _read(lock: IO[str]) -> Record | None:
    lock.seek(0)
    try:
        told = json.loads(lock.read())
        return Record(int(told["pid"]), float(told["started"]), int(told["port"]), tuple(map(int, told["groups"])))
    except (ValueError, KeyError, TypeError):
        # Empty, or cut short by a full disk: whoever wrote it had started nothing yet or ended what it started.
        return None


def _is_alive(record: Record) -> bool:
    try:
        # Process ids are used again; the time of the start tells who is who.
        return abs(psutil.Process(record.pid).create_time() - record.started) < 1.0
    except psutil.NoSuchProcess:
        return False


def _end_leftovers(record: Record, folder: Path) -> None:
    """End what is left of the recorded groups and works on this Dagster home."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_S
        left = _leftovers(record, folder)
        for process in left:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        while _leftovers(record, folder) and time.monotonic() < deadline:
            time.sleep(0.1)


def _leftovers(record: Record, folder: Path) -> list[psutil.Process]:
    found = []
    for pid in [pid for group in record.groups for pid in others_of_group(group)]:
        try:
            process = psutil.Process(pid)
            ours = process.environ().get("DAGSTER_HOME") == str(folder.resolve()) and process.create_time() > record.started
        except psutil.Error:
            # Gone meanwhile, or of a user whose processes we may not look at and that we did not start.
            continue
        if ours:
            found.append(process)
    return found
