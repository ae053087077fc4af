"""What runs, or ran, on a Postgres data folder: the live server's socket, and the traces of one that was killed.

A process id in `postmaster.pid` proves nothing (ids are used again, files are cut short): a server is alive when its socket
answers, and a process belongs to the folder when it is a `postgres` whose working directory is that folder.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

import psutil

from cryptai_pipelines.market.errors import CryptaiError

_ORPHANS_LEAVE_S = 5.0
_ORPHANS_END_S = 30.0


def live_socket_dir(data: Path) -> Path | None:
    """Folder of the socket on which the server of `data` answers, or None when none does."""
    lines = _lock_lines(data)
    folders = [Path(lines[4])] if len(lines) > 4 and lines[4] else []
    # A lock file cut short does not tell the folder; then it is the usual one, or none can be found.
    for folder in (*folders, data):
        if answers(folder):
            return folder
    return None


def ready_socket_dir(data: Path, timeout_s: float) -> Path | None:
    """Folder of the socket of a server that takes connections, or None when a server has to be started.

    A server that is still coming up, or going down, because whoever started or stopped it was killed, is waited for.
    `CryptaiError` when neither has happened after `timeout_s`.
    """
    import psycopg2

    deadline = time.monotonic() + timeout_s
    while (folder := live_socket_dir(data)) is not None:
        try:
            psycopg2.connect(host=str(folder), port=5432, user="postgres", dbname="postgres", connect_timeout=10).close()
            return folder
        except psycopg2.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
        # Too many connections is a server at work; anything else settles with time.
        if "too many clients" in reason or "reserved" in reason:
            return folder
        if time.monotonic() > deadline:
            raise CryptaiError(f"the Postgres of {data} is not ready after {timeout_s:.0f} s: {reason}")
        time.sleep(0.1)
    return None


def clear_leftovers(data: Path) -> None:
    """End what is left of a killed server on `data` and remove its lock files. Nothing may be alive: see `live_socket_dir`.

    Orphaned backends of a killed server leave by themselves; those that do not are ended, because a new server must not
    start beside them. `CryptaiError` when they survive.
    """
    if _wait_gone(data, _ORPHANS_LEAVE_S):
        for process in processes_of(data):
            # SIGQUIT is the immediate shutdown of a server and of a backend alike; recovery follows at the next start.
            _signal(process)
        remaining = _wait_gone(data, _ORPHANS_END_S)
        if remaining:
            raise CryptaiError(f"processes {remaining} of an earlier Postgres still use {data}; end them and try again")
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock", ".s.PGSQL.5432"):
        (data / name).unlink(missing_ok=True)


def processes_of(data: Path) -> list[psutil.Process]:
    """Every `postgres` process, server or backend, that works in `data`."""
    found = []
    real = str(data.resolve())
    for process in psutil.process_iter(["name"]):
        if process.info["name"] != "postgres":
            continue
        try:
            if process.cwd() == real and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            # Gone meanwhile, or of a user whose processes we may not look at and whose data this then is not.
            continue
    return found


def _lock_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except OSError:
        return []


def answers(socket_dir: Path) -> bool:
    """Whether a server listens on the socket in this folder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5.0)
        try:
            probe.connect(str(socket_dir / ".s.PGSQL.5432"))
        except OSError:
            return False
        return True


def _wait_gone(data: Path, seconds: float) -> list[int]:
    """Process ids on `data` that are still there after at most `seconds`."""
    deadline = time.monotonic() + seconds
    while remaining := [process.pid for process in processes_of(data)]:
        if time.monotonic() > deadline:
            return remaining
        time.sleep(0.05)
    return []


def _signal(process: psutil.Process) -> None:
    try:
        process.send_signal(3)
    except psutil.NoSuchProcess:
        pass
