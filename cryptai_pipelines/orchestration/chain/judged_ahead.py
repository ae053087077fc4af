"""Judging a long first history while the rest of it is still being received: what has been committed to `raw_ohlcv` is handed
over in memory, and is judged and written by a thread of its own. It is the same work that `validated_bars` does afterwards,
part by part, each remembered as done; whatever is more than new bars behind the last ones, and all that comes after it, is left
to that asset."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from cryptai_pipelines.market.bars import Columns, row_count
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.judged_part import (
    NOTHING_WRITTEN,
    VALIDATED,
    Reach,
    Written,
    bars_covered,
    judge_part,
    write_part,
)
from cryptai_pipelines.orchestration.chain.prefetch import batches
from cryptai_pipelines.orchestration.chain.receive import OnStored, Stored
from cryptai_pipelines.storage import series_sources, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease

logger = logging.getLogger(__name__)

ROWS_TOGETHER = 50_000
_BATCHES_TOGETHER = 10
_STORED_AHEAD = 2


@dataclass
class Ahead:
    """What was judged so far."""

    written: Written = NOTHING_WRITTEN


@contextmanager
def judged_ahead(database: Database, lease: SeriesLease, ahead: Ahead) -> Iterator[OnStored]:
    """A function to be called with every batch of the leased series as it is committed. At the end of the block everything
    that was handed over and can be judged here is written; `ahead` says what that was.

    Whatever stops the judging is logged, and is for `validated_bars` to find again and to tell: it fails no fetch.
    """
    handed: queue.Queue[Stored | None] = queue.Queue(_STORED_AHEAD)
    first: Stored | None = None
    begun = False

    def on_stored(stored: Stored) -> None:
        nonlocal first, begun
        if first is None:
            # What comes in one batch, such as the bars of a tick, is not worth a thread.
            first = stored
            return
        if not begun:
            pool.submit(_judge, database, lease, chain([first], iter(handed.get, None)), ahead)
            begun = True
        handed.put(stored)

    with ThreadPoolExecutor(1, thread_name_prefix="judge") as pool:
        try:
            yield on_stored
        finally:
            handed.put(None)


def _judge(database: Database, lease: SeriesLease, handed: Iterator[Stored], ahead: Ahead) -> None:
    try:
        for written in _written_parts(database, lease, handed):
            ahead.written = ahead.written + written
    except CryptaiError as error:
        logger.info("%s is judged after it has been received: %s", lease.series, error)
    except Exception:  # whatever it is, the bars have been received, and the asset that judges them will meet it again
        logger.exception("%s is judged after it has been received", lease.series)
    # Whoever hands over must not have to wait for somebody that has stopped.
    for _ in handed:
        pass


def _written_parts(database: Database, lease: SeriesLease, handed: Iterable[Stored]) -> Iterator[Written]:
    series, reach, left = lease.series, None, list[Stored]()
    for together in batches(_plainly_following(handed), _BATCHES_TOGETHER, lambda one: row_count(one.rows), ROWS_TOGETHER):
        reach = _next_reach(database, series, reach, together[-1].asked.end_ms)
        if reach is None or {one.source for one in together} - {one.source for one in reach.sources}:
            return
        part = reach.windows[0]
        parted = [_parted(one, part.end_ms) for one in (*left, *together)]
        left = [after for _, after in parted if row_count(after.rows)]
        given = [before for before, _ in parted]
        received = [(source, _rows_of(source.source, given)) for source in reach.sources]
        # A row off the grid just before the end of the part closes behind it, and is judged with what follows.
        if any((rows["ts"] > part.end_ms - series.timeframe.ms).any() for _, rows in received):
            return
        yield write_part(database, lease, reach, judge_part(received, series, reach, part, None), together[-1].revision)


def _parted(stored: Stored, at_ms: int) -> tuple[Stored, Stored]:
    """The rows before `at_ms` and those from it on: a bar is settled with the page that goes beyond its time."""
    at = int(np.searchsorted(stored.rows["ts"], at_ms))
    before, after = ({name: values[part] for name, values in stored.rows.items()} for part in (slice(at), slice(at, None)))
    return replace(stored, rows=before), replace(stored, rows=after)


def _rows_of(source: str, stored: Sequence[Stored]) -> Columns:
    """All rows of a source; none of any when it has given none."""
    given = [one.rows for one in stored if one.source == source]
    return {name: np.concatenate([values[:0], *(rows[name] for rows in given)]) for name, values in stored[0].rows.items()}


def _plainly_following(handed: Iterable[Stored]) -> Iterator[Stored]:
    """The batches from the first of a series on, for as long as each holds nothing but new bars behind those before it, and
    nothing else has changed in between. Then what is in memory is all that the store has of their time."""
    revision, last = 0, None
    for one in handed:
        ts = one.rows["ts"]
        if not one.all_new or one.revision != revision + 1 or ts[-1] >= one.asked.end_ms:
            return
        if last is not None and ts[0] <= last:
            return
        yield one
        revision, last = one.revision, ts[-1]


def _next_reach(database: Database, series: Series, before: Reach | None, end_ms: int) -> Reach | None:
    """What follows the part `before`, as far as the grid and coverage go within `end_ms`; from the first bar on when nothing of
    the series has been judged yet (so no gap of it is known that could be filled). None when there is nothing."""
    reached = bars_covered(database, series)
    if reached is None or (before is None and state.read_state(database, VALIDATED, series) is not None):
        return None
    covered, first = reached
    at = first if before is None else before.until_ms
    end = min(series.timeframe.floor(end_ms), covered.end_ms)
    if at >= end:
        return None
    return Reach([Interval(at, end)], first, Interval(covered.start_ms, end), series_sources.read_sources(database, series), [])
