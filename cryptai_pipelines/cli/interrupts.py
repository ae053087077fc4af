"""Ctrl-C, SIGTERM and a closed terminal: the work is asked to stop at its next step, and broken off when it does not."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cryptai_pipelines.market.errors import CryptaiError

_PATIENCE_S = 5
_received: list[int] = []
_breakable: list[bool] = []


def note_interrupts() -> None:
    """From now on each of these signals raises `KeyboardInterrupt` in the main thread, but for those that whoever started this
    process wants ignored (nohup, a job in the background of a script)."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)


@contextmanager
def breakable() -> Iterator[None]:
    """In this block the exception is raised a second time when the block has not ended `_PATIENCE_S` after the signal: it may
    be waiting for threads that wait for a venue."""
    _breakable.append(True)
    try:
        yield
    finally:
        _breakable.pop()
        signal.alarm(0)


def received_signal() -> int | None:
    """The first signal that came, or None."""
    return _received[0] if _received else None


def refuse_interrupted() -> None:
    """`CryptaiError` when a signal has come; for threads, which no signal reaches."""
    if _received:
        raise CryptaiError("interrupted")


def _interrupt(number: int, _: FrameType | None) -> None:
    if not _received:
        # What threads meet while everything is taken from under them is no news.
        logging.disable()
        if _breakable:
            signal.alarm(_PATIENCE_S)
    _received.append(number)
    raise KeyboardInterrupt
