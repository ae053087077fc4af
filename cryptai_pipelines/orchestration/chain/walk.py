"""Walking many series through the steps of the chain, each on its own: one bad series never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import Outcome
from cryptai_pipelines.storage.leases import SeriesLease

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One asset's work for one series, under the lease that the walk holds on it."""

    asset: str
    run: Callable[[SeriesLease], Outcome]


Hold = Callable[[Series], AbstractContextManager[SeriesLease]]
"""Takes the right to write a series for the length of a block."""


@dataclass(frozen=True)
class SeriesResult:
    """How far one series came. `error` is None when it reached the end; otherwise `failed_at` names the asset."""

    series: Series
    outcomes: tuple[Outcome, ...]
    failed_at: str | None = None
    error: str | None = None


def walk(series: Sequence[Series], steps: Sequence[Step], hold: Hold, threads: int) -> Iterator[SeriesResult]:
    """Run `steps` in order for every series, up to `threads` series at a time; results come as series end. Each series is held
    from its first step to its last, so that nobody else writes any of its tables in between."""
    if not series or not steps:
        return
    pool = ThreadPoolExecutor(max_workers=min(threads, len(series)), thread_name_prefix="series")
    try:
        for finished in as_completed([pool.submit(_walk_one, one, steps, hold) for one in series]):
            yield finished.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _walk_one(series: Series, steps: Sequence[Step], hold: Hold) -> SeriesResult:
    outcomes: list[Outcome] = []
    try:
        with hold(series) as lease:
            for step in steps:
                outcomes.append(step.run(lease))
    except Exception as error:  # a fault of one series, of any kind, must not keep its siblings from the end of the chain
        failed_at = steps[min(len(outcomes), len(steps) - 1)].asset
        logger.warning("%s failed at %s: %s", series, failed_at, error, exc_info=logger.isEnabledFor(logging.DEBUG))
        return SeriesResult(series, tuple(outcomes), failed_at, one_line(error))
    return SeriesResult(series, tuple(outcomes))


def one_line(error: Exception) -> str:
    """What an error says, on one line; its kind where it says nothing."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
