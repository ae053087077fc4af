"""`signals`: one row per validated bar, every gate a column. What a gate asks lives in `strategy`."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd

from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.derive import bring_derived_up_to_date
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, ignore_progress
from cryptai_pipelines.orchestration.chain.staleness import made_from
from cryptai_pipelines.storage import derived, market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.parameters import StrategyParameters
from cryptai_pipelines.strategy.signals import Strategy

ASSET = "signals"


def bring_up_to_date(
    database: Database,
    series: Series,
    strategy: Strategy,
    parameters: StrategyParameters,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Compute and store the signals that changed bars make stale, block by block; a block is one transaction."""

    def block(interval: Interval) -> pd.DataFrame:
        bars, indicators = read_inputs(database, series, strategy, interval)
        return strategy.signals(bars, indicators, series.timeframe, parameters, interval.start_ms)

    version = signals_version(strategy, parameters)
    return bring_derived_up_to_date(database, ASSET, {"strategy": strategy.name}, series, version, block, on_progress)


def signals_version(strategy: Strategy, parameters: StrategyParameters) -> str:
    """What the rows are made from: all code before them, the strategy's own, and its parameters."""
    return made_from(f"{lineage_version(ASSET)}+{strategy.name}.{strategy.code_version}", asdict(parameters))


def read_inputs(
    database: Database, series: Series, strategy: Strategy, interval: Interval
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bars and indicators for the signals of `interval`, with the strategy's warm-up before its first chunk."""
    begin = chunk_start(interval.start_ms, series.timeframe)
    window = market_data.window_start(database, series, begin, strategy.warmup_bars(series.timeframe))
    bars = market_data.read(database, series, window, interval.end_ms)
    keys = {"symbol": series.symbol, "timeframe": series.timeframe.code}
    indicators = derived.read(database, "technical_indicators", keys, window, interval.end_ms)
    return bars, indicators
