"""What the derived per-bar assets have in common: find what is stale, compute it block by block, write, remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress
from cryptai_pipelines.orchestration.chain.staleness import (
    Stale,
    begin_anew,
    blocks,
    find_stale,
    reached,
    remember,
    told_reach,
)
from cryptai_pipelines.storage import derived, quality_log, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease


def bring_derived_up_to_date(
    database: Database,
    lease: SeriesLease,
    asset: str,
    input_asset: str,
    extra_keys: Mapping[str, str],
    made_of: str,
    warmup_bars: int | None,
    compute_block: Callable[[Interval], pd.DataFrame],
    on_progress: OnProgress,
    *,
    further_inputs: Sequence[str] = (),
) -> Outcome:
    """Bring the table `asset` of the leased series in line with `input_asset` and the `further_inputs`, where changes of them
    can be seen.

    `compute_block` gives the rows of all bars in an interval, made of the bars of their canonical chunks and of `warmup_bars`
    existing ones before each; None: of all that there are before, by way of the rows that are stored. Each block is one
    transaction; the state that calls the series up to date is written with the last one, so that a kill in between repeats
    blocks and loses nothing.
    """
    series, written = lease.series, Change()
    stale = find_stale(database, asset, input_asset, series, made_of, further_inputs)
    if stale is not None:
        keys = {**extra_keys, "symbol": series.symbol, "timeframe": series.timeframe.code}
        spans = reached(database, stale, warmup_bars)
        total, done = sum(end - start for start, end in spans), 0
        on_progress(Progress(asset, series, 0, total, 0))
        for interval in (block for span in spans for block in blocks(*span, series.timeframe)):
            written += _write_block(database, lease, keys, interval, compute_block(interval), stale, spans, warmup_bars)
            done += interval.end_ms - interval.start_ms
            on_progress(Progress(asset, series, done, total, written.rows))
    return outcome_of(database, asset, series, written)


def _write_block(
    database: Database,
    lease: SeriesLease,
    keys: Mapping[str, str],
    interval: Interval,
    frame: pd.DataFrame,
    stale: Stale,
    spans: Sequence[Interval],
    warmup_bars: int | None,
) -> Change:
    # Also where only bars follow: an interrupted run may have written rows of bars that are gone by now.
    known = derived.read_opens(database, stale.asset, keys, *interval)
    orphans = np.setdiff1d(known, index_ms(frame.index))
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        if interval.start_ms == spans[0].start_ms:
            begin_anew(cursor, stale)
        change = derived.upsert(
            cursor, stale.asset, keys, frame, code_version=stale.version, coverage_revision=stale.source.revision
        )
        change += remove_orphans(cursor, stale.asset, keys, orphans)
        if interval.end_ms == spans[-1].end_ms:
            change += remove_outside(cursor, stale, keys)
            remember(cursor, stale, told_reach(warmup_bars), spans=spans)
    return change


def remove_orphans(cursor: Cursor, asset: str, keys: Mapping[str, str], orphans: np.ndarray) -> Change:
    """Rows whose bar was restated into a bad one and is gone."""
    removed = derived.remove(cursor, asset, keys, orphans)
    return Change(0, removed, int(orphans[0]), int(orphans[-1])) if removed else Change()


def remove_outside(cursor: Cursor, stale: Stale, keys: Mapping[str, str]) -> Change:
    """Rows of another version whose bars went from the ends of the series; what changed in an asset that is made anew is not
    looked at bar by bar."""
    if not stale.anew:
        return Change()
    first, last = stale.source.first_ts, stale.source.last_ts
    removed = derived.remove_outside(cursor, stale.asset, keys, first, last)
    return Change(0, removed, first, last) if removed else Change()


def outcome_of(database: Database, asset: str, series: Series, written: Change) -> Outcome:
    """What is told of a per-bar asset after `written`."""
    own = state.read_state(database, asset, series)
    facts = {"rows_new": written.new, "rows_changed": written.restated, "changed_from_ms": written.first_ts}
    return Outcome(asset, series, written.rows, quality_log.count_bars(database, series)[1], own.revision if own else 0, facts)
