"""Judging a long history while the rest of it is still being received: what has been committed to `raw_ohlcv` is handed over in
memory, and is judged and written by a thread of its own. It is the same work that `validated_bars` does afterwards, part by
part, each remembered as done; whatever is not the plain beginning of a new series is left to it."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from cryptai_pipelines.market.bars import Columns, row_count
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.judged_part import NOTHING_WRITTEN, VALIDATED, Reach, Written, judge_part, write_part
from cryptai_pipelines.orchestration.chain.prefetch import batches
from cryptai_pipelines.orchestration.chain.receive import OnStored, Stored
from cryptai_pipelines.storage import coverage, series_sources, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease

logger = logging.getLogger(__name__)

ROWS_TOGETHER = 50_000
_STORED_AHEAD = 2


@dataclass
class Ahead:
    """What was judged so far."""

    written: Written = NOTHING_WRITTEN


@contextmanager
def judged_ahead(database: Database, lease: SeriesLease, ahead: Ahead) -> Iterator[OnStored]:
    """A function to be called with every batch of the leased series as it is committed. At the end of the block everything
    that was handed over and can be judged here is written; `ahead` says what that was.

    A series that cannot be judged is left as it is, for `validated_bars` to find the same and to tell it.
    """
    handed: queue.Queue[Stored | None] = queue.Queue(_STORED_AHEAD)
    first: list[Stored] = []
    judging: list[Future[None]] = []

    def on_stored(stored: Stored) -> None:
        # What comes in one batch, such as the bars of a tick, is not worth a thread.
        if not first:
            first.append(stored)
            return
        if not judging:
            judging.append(pool.submit(_judge, database, lease, chain(first, iter(handed.get, None)), ahead))
        handed.put(stored)

    with ThreadPoolExecutor(1, thread_name_prefix="judge") as pool:
        try:
            yield on_stored
        finally:
            handed.put(None)
    for one in judging:
        one.result()


def _judge(database: Database, lease: SeriesLease, handed: Iterator[Stored], ahead: Ahead) -> None:
    try:
        for written in _written_parts(database, lease, handed):
            ahead.written = ahead.written + written
    except CryptaiError as error:
        logger.info("%s is judged after it has been received: %s", lease.series, error)
    finally:
        # Whoever hands over must not have to wait for somebody that has stopped.
        for _ in handed:
            pass


def _written_parts(database: Database, lease: SeriesLease, handed: Iterable[Stored]) -> Iterator[Written]:
    series, reach, left = lease.series, None, list[Stored]()
    plain = _plainly_following(handed, series.timeframe)
    for together in batches(plain, ROWS_TOGETHER, lambda one: row_count(one.rows), ROWS_TOGETHER):
        reach = reach or _whole_reach(database, series)
        if reach is None:
            return
        end = series.timeframe.floor(together[-1].asked.end_ms)
        part = Interval(reach.windows[-1].end_ms, end)
        reach = replace(reach, windows=[part], covered=Interval(reach.covered.start_ms, end))
        parted = [_parted(one, end) for one in (*left, *together)]
        received = [(source, _rows_of(source.source, [before for before, _ in parted])) for source in reach.sources]
        left = [after for _, after in parted if row_count(after.rows)]
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


def _plainly_following(handed: Iterable[Stored], timeframe: Timeframe) -> Iterator[Stored]:
    """The batches from the first of a series on, for as long as each holds nothing but new bars behind those before it, and
    nothing else has changed in between. Then what is in memory is all that the store has of their time."""
    revision, last = 0, None
    for one in handed:
        ts, end = one.rows["ts"], timeframe.floor(one.asked.end_ms)
        if not one.all_new or one.revision != revision + 1 or ts[-1] >= one.asked.end_ms:
            return
        if last is not None and ts[0] <= last:
            return
        # Of the bar that begins at `end` the next batch tells the rest; a row off the grid just before may end behind it.
        if ((ts > end - timeframe.ms) & (ts < end)).any():
            return
        yield one
        revision, last = one.revision, ts[-1]


def _whole_reach(database: Database, series: Series) -> Reach | None:
    """From where the series begins, when nothing of it has been judged yet; so no gap of it is known that could be filled."""
    covered, first = coverage.read_hull(database, series), coverage.read_first_and_last(database, series)[0]
    if covered is None or first is None or state.read_state(database, VALIDATED, series) is not None:
        return None
    first = max(series.timeframe.floor(first), covered.start_ms)
    return Reach([Interval(first, first)], first, covered, series_sources.read_sources(database, series), [])
