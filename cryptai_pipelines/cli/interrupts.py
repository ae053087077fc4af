"""Ctrl-C, SIGTERM and a closed terminal: the work is asked to stop at its next step, and broken off when it does not."""

from __future__ import annotations

import logging
import signal
from types import FrameType

from cryptai_pipelines.market.errors import CryptaiError

_PATIENCE_S = 5
_received: list[int] = []


def note_interrupts() -> None:
    """From now on each of these signals raises `KeyboardInterrupt` in the main thread, and again when what is being done has
    not ended `_PATIENCE_S` seconds later."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, _interrupt)


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
        signal.alarm(_PATIENCE_S)
    _received.append(number)
    raise KeyboardInterrupt
