"""Walking many series through the steps of the chain, each on its own: one bad series never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import Outcome

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One asset's work for one series."""

    asset: str
    run: Callable[[Series], Outcome]


@dataclass(frozen=True)
class SeriesResult:
    """How far one series came. `error` is None when it reached the end; otherwise `failed_at` names the asset."""

    series: Series
    outcomes: tuple[Outcome, ...]
    failed_at: str | None = None
    error: str | None = None


def walk(series: Sequence[Series], steps: Sequence[Step], threads: int) -> Iterator[SeriesResult]:
    """Run `steps` in order for every series, up to `threads` series at a time; results come as series end."""
    if not series:
        return
    pool = ThreadPoolExecutor(max_workers=min(threads, len(series)), thread_name_prefix="series")
    try:
        for finished in as_completed([pool.submit(_walk_one, one, steps) for one in series]):
            yield finished.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _walk_one(series: Series, steps: Sequence[Step]) -> SeriesResult:
    outcomes: list[Outcome] = []
    for step in steps:
        try:
            outcomes.append(step.run(series))
        except Exception as error:  # a fault of one series, of any kind, must not keep its siblings from the end of the chain
            logger.warning("%s failed at %s: %s", series, step.asset, error, exc_info=logger.isEnabledFor(logging.DEBUG))
            return SeriesResult(series, tuple(outcomes), step.asset, _one_line(error))
    return SeriesResult(series, tuple(outcomes))


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
