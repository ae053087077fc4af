"""Bars as they were known at some moment: the same judgement and composition as `validated_bars`, over the revisions that had
been received by then. Nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns, bars_frame, take_rows
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.judged_part import judge_source
from cryptai_pipelines.orchestration.chain.staleness import blocks
from cryptai_pipelines.quality.composition import Composed, compose
from cryptai_pipelines.quality.filling import CARRIED, carry_forward, missing_within
from cryptai_pipelines.storage import coverage, fetch_log, gap_fills, market_data, raw, series_sources
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.series_sources import SeriesSource

# How many bar lengths are looked back over for a close, at first and at most.
_FIRST_LOOK, _LONGEST_LOOK = 500, 64_000
_COLUMNS = (*BAR_COLUMNS, "is_filled", "source", "origin")


def read_bars(
    database: Database,
    series: Series,
    within: Interval | None = None,
    known_at_ms: int | None = None,
    columns: Sequence[str] = _COLUMNS,
) -> Iterator[pd.DataFrame]:
    """The validated bars of `within` (all without) in blocks, ascending; with `known_at_ms` as they were known at that moment.

    Frames as of `market_data.read`: index `ts` and of `BAR_COLUMNS` float64, `is_filled` bool, `source` and `origin` those of
    `columns`. Which source is believed follows from their order at that moment.
    """
    hull = _hull(database, series)
    if hull is None:
        return
    span = hull if within is None else clipped(within, hull)
    if known_at_ms is None:
        for block in blocks(*span, series.timeframe):
            yield market_data.read(database, series, *block, columns=columns)
        return
    yield from (block[list(columns)] for block in _as_known(database, series, span, known_at_ms))


def read_known_parts(
    database: Database, series: Series, within: Interval, opens: np.ndarray, length_ms: int, known_at_ms: int
) -> pd.DataFrame:
    """The bars of `within` (of `known_span`) that open within `length_ms` of any of `opens` (int64 epoch ms, ascending, at
    least so far apart), as of `read_bars` but without filled ones: one statement per source, however many are asked for."""
    ranked = []
    for source in series_sources.read_sources(database, series, known_at_ms):
        rows = raw.read_known_parts(database, source.source, series, opens, length_ms, known_at_ms)
        inside = np.flatnonzero((rows["ts"] >= within.start_ms) & (rows["ts"] < within.end_ms))
        ranked.append(judge_source(take_rows(rows, inside), source, series, known_at_ms)[0])
    return _given(compose(ranked))[list(_COLUMNS)]


def known_span(database: Database, series: Series, known_at_ms: int) -> Interval | None:
    """Within what the bars lie that can have been known at `known_at_ms`; None when there cannot have been any."""
    hull = _hull(database, series)
    if hull is None or nothing_known(database, series, known_at_ms) is not None:
        return None
    return Interval(hull.start_ms, max(hull.start_ms, min(hull.end_ms, series.timeframe.floor(known_at_ms))))


def nothing_known(database: Database, series: Series, known_at_ms: int) -> CryptaiError | None:
    """What to tell who asks for the bars of a moment before the first page about them came; None for a later moment."""
    first = fetch_log.first_fetched_at(database, series)
    if first is None or first <= known_at_ms:
        return None
    return CryptaiError(f"no bar of {series} was known at {format_time(known_at_ms)}; the first came at {format_time(first)}")


def _hull(database: Database, series: Series) -> Interval | None:
    """What is covered, from the first bar on: a whole history is asked for, and so covered, from 1970 on."""
    hull, first = coverage.read_hull(database, series), coverage.read_first_and_last(database, series)[0]
    return None if hull is None or first is None else Interval(max(hull.start_ms, series.timeframe.floor(first)), hull.end_ms)


def _as_known(database: Database, series: Series, span: Interval, known_at_ms: int) -> Iterator[pd.DataFrame]:
    sources = series_sources.read_sources(database, series, known_at_ms)
    fills = gap_fills.read_fills(database, series, known_at_ms)
    filled = any(gap.start_ms < span.end_ms and gap.end_ms > span.start_ms for gap in fills)
    close = _close_before(database, series, sources, span.start_ms, known_at_ms) if filled else None
    for block in blocks(*span, series.timeframe):
        composed = _composed(database, series, sources, block, known_at_ms)
        missing = missing_within(composed.opens, series.timeframe, fills, block)
        frame = _frame(composed, carry_forward(composed.bars, missing, close), sources)
        if len(composed.opens):
            close = float(composed.bars["close"][-1])
        yield frame


def _close_before(
    database: Database, series: Series, sources: list[SeriesSource], before_ms: int, known_at_ms: int
) -> float | None:
    """The close of the last bar before `before_ms` that was known, however far back that is."""
    first, length = coverage.read_first_and_last(database, series)[0], _FIRST_LOOK * series.timeframe.ms
    while first is not None and before_ms > first:
        start = before_ms - length
        composed = _composed(database, series, sources, Interval(start, before_ms), known_at_ms)
        if len(composed.opens):
            return float(composed.bars["close"][-1])
        before_ms, length = start, min(2 * length, _LONGEST_LOOK * series.timeframe.ms)
    return None


def _composed(database: Database, series: Series, sources: list[SeriesSource], block: Interval, known_at_ms: int) -> Composed:
    ranked = []
    for source in sources:
        rows = raw.read_current(database, source.source, series, *block, known_at_ms)
        ranked.append(judge_source(rows, source, series, known_at_ms)[0])
    return compose(ranked)


def _frame(composed: Composed, filled: Columns, sources: list[SeriesSource]) -> pd.DataFrame:
    bars = _given(composed)
    if len(filled["ts"]):
        carried = bars_frame(filled).assign(is_filled=True, source=sources[0].source, origin=CARRIED)
        bars = pd.concat((bars, carried)).sort_index()
    return bars[list(_COLUMNS)].astype({"is_filled": np.bool_})


def _given(composed: Composed) -> pd.DataFrame:
    return bars_frame(composed.bars).assign(is_filled=False, source=composed.source, origin=composed.origin)
