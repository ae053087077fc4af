"""Progress of a search, in points: a bar with rate and time left on a terminal, plain lines every few seconds elsewhere. That
of bars is in `progress`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cryptai_pipelines.cli.interrupts import breakable, refuse_interrupted
from cryptai_pipelines.cli.output import counted, say, stderr

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def shown_points(what: str) -> Iterator[Callable[[int, int], None]]:
    """A callback told how many points are finished, and of how many. After an interrupt it raises, which ends the search."""
    with breakable():
        if not stderr().is_terminal:
            yield _until_interrupted(_on_lines(what))
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=stderr()) as bars:
            task = bars.add_task(what)
            yield _until_interrupted(lambda done, total: bars.update(task, completed=done, total=total))


def _until_interrupted(show: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        refuse_interrupted()
        show(done, total)

    return tell


def _on_lines(what: str) -> Callable[[int, int], None]:
    began: list[tuple[float, int]] = []
    last = [time.monotonic()]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if not began:
            began.append((now, done))
        if now - last[0] < _SECONDS_BETWEEN_LINES and done < total:
            return
        last[0] = now
        # What was there before is not done in this time.
        elapsed, made = now - began[0][0], done - began[0][1]
        rate = f", {made / elapsed:,.1f} points/s" if elapsed > 0 and made > 0 else ""
        left = f", {elapsed * (total - done) / made:.0f} s left" if made > 0 and done < total else ""
        say(f"{what}: {done:,} of {counted(total, 'point')}{rate}{left}")

    return show
