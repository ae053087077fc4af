"""`signals`: one row per validated bar, every gate a column. What a gate asks lives in `strategy`."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from cryptai_pipelines.backtest.tables import gate_table
from cryptai_pipelines.indicators.chunks import chunk_start
from cryptai_pipelines.market.bars import BAR_COLUMNS, index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.derive import bring_derived_up_to_date
from cryptai_pipelines.orchestration.chain.market_structure import read_structure
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, gates_markdown, ignore_progress
from cryptai_pipelines.orchestration.chain.staleness import made_from, made_otherwise
from cryptai_pipelines.orchestration.chain.technical_indicators import FILLED_SHARE
from cryptai_pipelines.storage import derived, market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS
from cryptai_pipelines.strategy.gate_rates import counted_rates
from cryptai_pipelines.strategy.inputs import indicator_columns
from cryptai_pipelines.strategy.protocol import Inputs, Strategy

ASSET = "signals"
INDICATORS = "technical_indicators"
FURTHER_INPUTS = ("market_structure",)


def bring_up_to_date(
    database: Database,
    lease: SeriesLease,
    strategy: Strategy,
    parameters: Any,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Compute and store the signals that changed indicators and market structure make stale, block by block; a block is one
    transaction. The fact `gates` is of the rows that were computed, that of `performance_metrics` of all."""
    series, own = lease.series, strategy.columns
    numbers = [column.name for column in own if column.kind in ("score", "number")]
    flags = [column.name for column in own if column.kind in ("gate", "evidence")]
    derived.ensure_columns(database, ASSET, (FILLED_SHARE, *numbers), flags)
    keys, warmup = {"strategy": strategy.name}, strategy.warmup_bars(parameters, series.timeframe)
    counts: list[pd.DataFrame] = []

    def block(interval: Interval) -> pd.DataFrame:
        rows = computed(database, series, strategy, parameters, interval)
        counts.append(gate_table(rows[list(strategy.gates)])[["passed", "rejected", "unknown"]])
        return rows

    outcome = bring_derived_up_to_date(
        database,
        lease,
        ASSET,
        INDICATORS,
        keys,
        _made_of(strategy, parameters),
        warmup,
        block,
        on_progress,
        further_inputs=FURTHER_INPUTS,
    )
    gates = counted_rates(sum(counts[1:], counts[0]), parameters) if counts else ()
    return replace(outcome, facts={**outcome.facts, "gates": gates_markdown(gates)})


def of_others(database: Database, series: Series, strategy: Strategy, parameters: Any) -> bool:
    """Are the signals that are stored, if any, those of another strategy or of other parameters, or of other code?"""
    return made_otherwise(database, ASSET, INDICATORS, series, _made_of(strategy, parameters), FURTHER_INPUTS)


def _made_of(strategy: Strategy, parameters: Any) -> str:
    return made_from(f"{lineage_version(ASSET)}+{strategy.name}.{strategy.code_version}", asdict(parameters))


def computed(database: Database, series: Series, strategy: Strategy, parameters: Any, interval: Interval) -> pd.DataFrame:
    """The rows of the bars in `interval`, made of stored bars, indicators and structure before its end and of no later ones. Of
    the strategy's own columns those that it declares."""
    inputs, share = read_inputs(database, series, strategy, parameters, interval)
    signals = signals_of(series, strategy, parameters, inputs, interval.start_ms)
    declared = {column.name for column in strategy.columns} | {*DECISION_COLUMNS, "entry"}
    kept = signals[[name for name in signals.columns if name in declared]]
    return kept.assign(**{FILLED_SHARE: share.reindex(kept.index)})


def signals_of(series: Series, strategy: Strategy, parameters: Any, inputs: Inputs, start_ms: int) -> pd.DataFrame:
    """The strategy's rows of the bars with `ts >= start_ms`. `StrategyFailed` when it raises."""
    rows = decide_checked(strategy, inputs, parameters, series=str(series))
    return rows[index_ms(rows.index) >= start_ms]


def read_inputs(
    database: Database, series: Series, strategy: Strategy, parameters: Any, interval: Interval
) -> tuple[Inputs, pd.Series]:
    """What is stored for the signals of `interval`, with the strategy's warm-up before its first chunk, and the share of filled
    bars under each row."""
    begin = chunk_start(interval.start_ms, series.timeframe)
    window = market_data.window_start(database, series, begin, strategy.warmup_bars(parameters, series.timeframe))
    bars = market_data.read(database, series, window, interval.end_ms, columns=(*BAR_COLUMNS, "is_filled"))
    keys = {"symbol": series.symbol, "timeframe": series.timeframe.code}
    columns = (*indicator_columns(strategy, parameters), FILLED_SHARE)
    indicators = derived.read(database, INDICATORS, keys, window, interval.end_ms, columns)
    structure = None
    if strategy.structure(parameters) is not None:
        structure = read_structure(database, series, Interval(window, interval.end_ms))
    return Inputs(bars, indicators, structure, series.timeframe), indicators[FILLED_SHARE]
