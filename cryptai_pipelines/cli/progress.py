"""Progress of long work: a bar with rate and time left on a terminal, plain lines at most every few seconds elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cryptai_pipelines.cli.interrupts import breakable, refuse_interrupted
from cryptai_pipelines.cli.output import counted, say, stderr
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress
from cryptai_pipelines.orchestration.chain.outcome import Progress as Step

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def shown_progress() -> Iterator[OnProgress]:
    """A callback that shows each step of each series; safe to call from several threads. After an interrupt it raises, which
    ends the work of a thread between two commits."""
    with breakable():
        if stderr().is_terminal:
            with _bars() as bars:
                yield _until_interrupted(_on_bars(bars))
        else:
            yield _until_interrupted(_on_lines())


def _until_interrupted(show: OnProgress) -> OnProgress:
    def tell(step: Step) -> None:
        refuse_interrupted()
        show(step)

    return tell


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[bars]:,} bars"),
        TextColumn("{task.fields[rate]:,.0f} bars/s"),
        TimeRemainingColumn(),
        console=stderr(),
    )


def _on_bars(bars: Progress) -> OnProgress:
    tasks: dict[tuple[str, Series], tuple[TaskID, float, int]] = {}
    lock = threading.Lock()

    def show(step: Step) -> None:
        with lock:
            key = (step.asset, step.series)
            if key not in tasks:
                task = bars.add_task(f"{step.series} {step.asset}", total=step.total, bars=0, rate=0.0)
                tasks[key] = (task, time.monotonic(), step.bars)
            task, began, before = tasks[key]
            rate = (step.bars - before) / max(time.monotonic() - began, 1e-3)
            bars.update(task, completed=step.done, total=step.total, bars=step.bars, rate=rate)

    return show


def _on_lines() -> OnProgress:
    last: dict[tuple[str, Series], float] = {}
    began: dict[tuple[str, Series], tuple[float, Step]] = {}
    lock = threading.Lock()

    def show(step: Step) -> None:
        now = time.monotonic()
        with lock:
            key = (step.asset, step.series)
            start, first = began.setdefault(key, (now, step))
            finished = step.done >= step.total
            if now - last.get(key, start) < _SECONDS_BETWEEN_LINES and not finished:
                return
            last[key] = now
        share = 100 * step.done / step.total if step.total else 100
        elapsed = now - start
        # What had been done before the first word of a step was not done in this time.
        bars, done = step.bars - first.bars, step.done - first.done
        rate = f", {bars / elapsed:,.0f} bars/s" if elapsed > 0 and bars > 0 else ""
        left = f", {elapsed * (step.total - step.done) / done:.0f} s left" if done > 0 and step.done < step.total else ""
        say(f"{step.series} {step.asset}: {share:.0f} %, {counted(step.bars, 'bar')}{rate}{left}")

    return show
