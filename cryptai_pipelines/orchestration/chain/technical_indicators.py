"""`technical_indicators`: the configured indicators of every validated bar, on canonical chunks. Formulas: `indicators`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from cryptai_pipelines.indicators.chunks import carried_columns, chunk_start, compute, output_columns, warmup_bars
from cryptai_pipelines.indicators.filled_share import FILLED_WINDOW, filled_share
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.derive import bring_derived_up_to_date
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, ignore_progress
from cryptai_pipelines.orchestration.chain.staleness import made_from
from cryptai_pipelines.storage import derived, market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease

ASSET = "technical_indicators"
FILLED_SHARE = "filled_share"
BARS = "validated_bars"


def bring_up_to_date(
    database: Database, lease: SeriesLease, specs: Sequence[IndicatorSpec], *, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Compute and store what changed bars make stale, block by block; a block is one transaction."""
    series = lease.series
    derived.ensure_columns(database, ASSET, (*output_columns(specs), FILLED_SHARE))
    parameters: dict[str, object] = {spec.name: dict(spec.parameters) for spec in specs} | {FILLED_SHARE: FILLED_WINDOW}
    made_of, block = made_from(lineage_version(ASSET), parameters), partial(computed, database, series, specs)
    return bring_derived_up_to_date(database, lease, ASSET, BARS, {}, made_of, reach(specs), block, on_progress)


def computed(database: Database, series: Series, specs: Sequence[IndicatorSpec], interval: Interval) -> pd.DataFrame:
    """The rows of the bars in `interval`, made of the stored bars before its end and of no later one."""
    inputs = sorted({"is_filled", *(name for spec in specs for name in spec.inputs)})
    begin = chunk_start(interval.start_ms, series.timeframe)
    window = market_data.window_start(database, series, begin, look_back(specs))
    bars = market_data.read(database, series, window, interval.end_ms, columns=inputs)
    before = _before(database, series, index_ms(bars.index), begin, carried_columns(specs))
    frame = compute(bars.drop(columns="is_filled"), specs, series.timeframe, interval.start_ms, before)
    share = filled_share(bars["is_filled"].to_numpy())[len(bars) - len(frame) :]
    return frame.assign(**{FILLED_SHARE: share})


def look_back(specs: Sequence[IndicatorSpec]) -> int:
    """How many existing bars before a canonical chunk its rows are made of."""
    return max(warmup_bars(specs), FILLED_WINDOW)


def reach(specs: Sequence[IndicatorSpec]) -> int | None:
    """How many existing bars after itself a changed one can be seen by, beyond its own chunk; None: by all."""
    return None if carried_columns(specs) else look_back(specs)


def _before(
    database: Database, series: Series, opens: np.ndarray, chunk_ms: int, columns: Sequence[str]
) -> Mapping[str, float] | None:
    """The stored values of `columns` at the last of the bars `opens` before `chunk_ms`; None when there is no such bar."""
    at = int(np.searchsorted(opens, chunk_ms)) - 1
    if at < 0 or not columns:
        return None
    keys, last = {"symbol": series.symbol, "timeframe": series.timeframe.code}, int(opens[at])
    # Without the row, `compute` tells which value it lacks.
    return next(iter(derived.read(database, ASSET, keys, last, last + 1, columns).to_dict("records")), None)
