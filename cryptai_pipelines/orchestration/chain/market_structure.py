"""`market_structure`: the readings of every validated bar, carried on from a stored state. The rules live in `indicators`.

Structure has no warm-up, so what a changed bar touches may be everything after it. The state before every canonical chunk is
kept: a change is carried on from the last of them before it, and where a later one turns out to be what it was, everything
after it stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.indicators.structure_readings import READINGS, ReadingsState, begin_readings, carry_readings
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.derive import outcome_of, remove_orphans, remove_outside
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.staleness import Stale, begin_anew, blocks, find_stale, made_from, remember
from cryptai_pipelines.storage import derived, market_data, structure_checkpoints
from cryptai_pipelines.storage import market_structure as rows
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease
from cryptai_pipelines.storage.structure_checkpoints import Checkpoint

ASSET = "market_structure"
BARS = "validated_bars"
_COLUMNS = ("high", "low", "close", "is_filled")


@dataclass(frozen=True)
class Block:
    """What was carried on in one go: the readings of the bars in `interval`, the state after them, and the states before the
    chunks in it. `ends`: nothing after it is touched, because the series ends or because the state is what it was; then `state`
    is that of the series' last bar."""

    interval: Interval
    readings: pd.DataFrame
    state: bytes
    checkpoints: dict[int, bytes]
    ends: bool


def bring_up_to_date(
    database: Database, lease: SeriesLease, length: int, *, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Compute and store what changed bars touch, block by block; a block is one transaction with its checkpoints, and the last
    one calls the series up to date. A kill in between repeats blocks and loses nothing.

    `length`: bars after a pivot that confirm it; another one makes the whole series anew.
    """
    made_of = made_from(lineage_version(ASSET), {"length": length})
    stale = find_stale(database, ASSET, BARS, lease.series, made_of)
    written = Change() if stale is None else _renew(database, lease, stale, length, on_progress)
    return outcome_of(database, ASSET, lease.series, written)


def _renew(database: Database, lease: SeriesLease, stale: Stale, length: int, on_progress: OnProgress) -> Change:
    written, spans, changes = Change(), list[Interval](), list(stale.changes)
    total = stale.end_ms - stale.start_ms
    on_progress(Progress(ASSET, stale.series, 0, total, 0))
    while changes:
        start = changes[0].start_ms
        spans.append(Interval(start, start))
        for block in _blocks_from(database, stale, start, length):
            end = block.interval.end_ms
            changes = [change for change in changes if change.start_ms >= end]
            spans[-1] = Interval(start, end)
            written += _write(database, lease, stale, block, spans, last=block.ends and not changes)
            on_progress(Progress(ASSET, stale.series, end - stale.start_ms, total, written.rows))
    on_progress(Progress(ASSET, stale.series, total, total, written.rows))
    return written


def _blocks_from(database: Database, stale: Stale, start_ms: int, length: int) -> Iterator[Block]:
    """From the changed bar at `start_ms` on, until what follows is as it was."""
    begin, state = _resumed(database, stale, start_ms, length)
    for interval in blocks(begin, stale.end_ms, stale.series.timeframe):
        block, state = _carried(database, stale, state, interval, start_ms)
        yield block
        if block.ends:
            return


def _resumed(database: Database, stale: Stale, start_ms: int, length: int) -> tuple[int, ReadingsState]:
    """From where to carry on towards `start_ms`, and the state there."""
    timeframe, own = stale.series.timeframe, stale.own
    if stale.continues and own.state is not None:
        return own.last_ts + timeframe.ms, ReadingsState.from_bytes(own.state, timeframe)
    kept = None if stale.anew else structure_checkpoints.last_before(database, stale.series, start_ms, own.input_revision)
    if kept is not None:
        return kept.at_ms, ReadingsState.from_bytes(kept.state, timeframe)
    return min(start_ms, stale.source.first_ts), begin_readings(timeframe, length)


def _carried(
    database: Database, stale: Stale, state: ReadingsState, interval: Interval, start_ms: int
) -> tuple[Block, ReadingsState]:
    """The block of `interval` chunk by chunk, up to a chunk that is as it was; readings from `start_ms` on are told."""
    bars = market_data.read(database, stale.series, *interval, columns=_COLUMNS)
    opens, checkpoints = index_ms(bars.index), dict[int, bytes]()
    told, end, as_it_was = [carry_readings(state, bars.iloc[:0])[0]], interval.end_ms, False
    for chunk in blocks(*interval, stale.series.timeframe, chunks=1):
        if chunk.start_ms == chunk_start(chunk.start_ms, stale.series.timeframe):
            before = state.to_bytes()
            kept = None if stale.anew else structure_checkpoints.find(database, stale.series, chunk.start_ms)
            if kept is None or kept.state != before:
                checkpoints[chunk.start_ms] = before
            elif _is_as_it_was(stale, kept, start_ms):
                end, as_it_was = chunk.start_ms, True
                break
        within = slice(*np.searchsorted(opens, chunk))
        readings, state = carry_readings(state, bars.iloc[within])
        told.append(readings[opens[within] >= start_ms])
    after = stale.own.state if as_it_was else state.to_bytes()
    ends = as_it_was or end == stale.end_ms
    renewed = Interval(max(interval.start_ms, start_ms), max(end, start_ms))
    return Block(renewed, pd.concat(told), after, checkpoints, ends), state


def _is_as_it_was(stale: Stale, kept: Checkpoint, start_ms: int) -> bool:
    """Do the rows from the checkpoint `kept` on need no look, being made of that state and of bars that did not change since?

    What an interrupted run has kept is of a later revision of the bars than the asset's own, and so are rows after it.
    """
    changing = any(change.start_ms < kept.at_ms < change.end_ms for change in stale.changes)
    return kept.at_ms > start_ms and not changing and kept.input_revision <= stale.own.input_revision


def _write(
    database: Database, lease: SeriesLease, stale: Stale, block: Block, spans: Sequence[Interval], *, last: bool
) -> Change:
    series, keys = stale.series, rows.keys_of(stale.series)
    known = derived.read_opens(database, ASSET, keys, *block.interval)
    orphans = np.setdiff1d(known, index_ms(block.readings.index))
    revision = stale.source.revision
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        if stale.anew and block.interval.start_ms == stale.start_ms:
            begin_anew(cursor, stale)
            structure_checkpoints.forget_all(cursor, series)
        change = rows.upsert(cursor, series, block.readings, code_version=stale.version, coverage_revision=revision)
        change += remove_orphans(cursor, ASSET, keys, orphans)
        structure_checkpoints.save(cursor, series, block.checkpoints, revision)
        if last:
            change += remove_outside(cursor, stale, keys)
            structure_checkpoints.forget_outside(cursor, series, stale.source.first_ts, stale.source.last_ts)
            remember(cursor, stale, block.state, spans=spans)
    return change


def read_structure(database: Database, series: Series, interval: Interval, columns: Sequence[str] = READINGS) -> pd.DataFrame:
    """The stored readings of the bars in `interval`: those that `structure_readings` gives for them, float64."""
    return rows.read(database, series, *interval, columns)


def computed(database: Database, length: int, series: Series, interval: Interval) -> pd.DataFrame:
    """The readings of the bars in `interval`, carried on from the state that is kept before its first chunk, over the stored
    bars before its end and no later one."""
    begin = chunk_start(interval.start_ms, series.timeframe)
    kept = structure_checkpoints.find(database, series, begin)
    state = begin_readings(series.timeframe, length) if kept is None else ReadingsState.from_bytes(kept.state, series.timeframe)
    bars = market_data.read(database, series, begin, interval.end_ms, columns=_COLUMNS)
    readings = carry_readings(state, bars)[0]
    return readings[index_ms(readings.index) >= interval.start_ms]
