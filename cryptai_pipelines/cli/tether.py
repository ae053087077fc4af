"""A program that ends when its starter does: `python -m cryptai_pipelines.cli.tether FD PROGRAM ARGUMENTS...`.

Started as the leader of a session of its own, with the reading end of a pipe as FD. When the writing end closes, because the
starter closed it or died in whatever way, everything in the session's process group is asked to end, and killed when it does
not. The same happens to what is left of the group when PROGRAM ends by itself. Started by `up`; imports as little as it can.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time

GRACE_S = 15.0
_LOOK_EVERY_S = 0.1


def main(arguments: list[str]) -> int:
    """Run PROGRAM until it ends or the pipe closes; its exit status, as a shell tells it."""
    pipe, command = int(arguments[0]), arguments[1:]
    # The starter decides when to end, not a signal that was meant for the group.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while child.poll() is None:
        if select.select([pipe], [], [], _LOOK_EVERY_S)[0]:
            break
    _end_group(child)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _end_group(child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + GRACE_S
    os.killpg(0, signal.SIGTERM)
    while child.poll() is None or others_of_group(os.getpgrp()):
        if time.monotonic() > deadline:
            for pid in others_of_group(os.getpgrp()):
                _kill(pid)
        time.sleep(_LOOK_EVERY_S)


def others_of_group(group: int) -> list[int]:
    """Living processes of `group` but this one."""
    import psutil

    found = []
    for process in psutil.process_iter(["status"]):
        try:
            in_group = os.getpgid(process.pid) == group
        except (ProcessLookupError, PermissionError):
            continue
        if in_group and process.pid != os.getpid() and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
