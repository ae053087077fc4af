"""What the derived per-bar assets have in common: find what is stale, compute it block by block, write, remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress
from cryptai_pipelines.orchestration.chain.staleness import blocks, stale_from
from cryptai_pipelines.storage import derived, quality_log, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database

BARS = "validated_bars"


def bring_derived_up_to_date(
    database: Database,
    asset: str,
    extra_keys: Mapping[str, str],
    series: Series,
    version: str,
    compute_block: Callable[[Interval], pd.DataFrame],
    on_progress: OnProgress,
) -> Outcome:
    """Bring the table `asset` of `series` in line with the validated bars.

    `compute_block` gives the rows of all bars in an interval. Each block is one transaction; the state that calls the series
    up to date is written with the last one, so that a kill in between repeats blocks and loses nothing.
    """
    bars = state.read_state(database, BARS, series)
    start = stale_from(database, asset, series, BARS, version)
    written = Change()
    if bars is not None and start is not None:
        end = bars.last_ts + series.timeframe.ms
        on_progress(Progress(asset, series, 0, end - start, 0))
        keys = {**extra_keys, "symbol": series.symbol, "timeframe": series.timeframe.code}
        for interval in blocks(start, end, series.timeframe):
            frame = compute_block(interval)
            orphans = np.setdiff1d(derived.read_opens(database, asset, keys, *interval), index_ms(frame.index))
            with database.transaction() as cursor:
                change = derived.upsert(
                    cursor, asset, keys, frame, code_version=version, coverage_revision=bars.revision
                )
                change += _remove(cursor, asset, keys, orphans)
                state.record_change(cursor, asset, series, change)
                if interval.end_ms == end:
                    _remember(cursor, asset, series, bars, version)
            written += change
            on_progress(Progress(asset, series, interval.end_ms - start, end - start, written.rows))
    return _outcome(database, asset, series, written)


def _remove(cursor: Cursor, asset: str, keys: Mapping[str, str], orphans: np.ndarray) -> Change:
    """Rows whose bar was restated into a bad one and is gone."""
    removed = derived.remove(cursor, asset, keys, orphans)
    return Change(0, removed, int(orphans[0]), int(orphans[-1])) if removed else Change()


def _remember(cursor: Cursor, asset: str, series: Series, bars: state.SeriesState, version: str) -> None:
    state.write_state(
        cursor,
        asset,
        series,
        input_revision=bars.revision,
        code_version=version,
        first_ts=bars.first_ts,
        last_ts=bars.last_ts,
    )


def _outcome(database: Database, asset: str, series: Series, written: Change) -> Outcome:
    own = state.read_state(database, asset, series)
    facts = {"rows_new": written.new, "rows_changed": written.restated, "changed_from_ms": written.first_ts}
    return Outcome(asset, series, written.rows, bars_stored(database, series), own.revision if own else 0, facts)


def bars_stored(database: Database, series: Series) -> int:
    """How many validated bars the series has, from its monthly completeness: no count over the history."""
    return sum(month.received or 0 for month in quality_log.read_findings(database, series, "completeness"))
