"""Signals of the bars as they were known at a moment in the past. Indicators and signals are computed on the way, block by
block, and stored nowhere: what stands in the tables belongs to the bars as they are known now."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cryptai_pipelines.indicators.chunks import compute, warmup_bars
from cryptai_pipelines.indicators.registry import indicator_set
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.bar_history import read_bars
from cryptai_pipelines.orchestration.chain.signals import signals_of
from cryptai_pipelines.storage.database import Database


def signals_known_then(
    database: Database, series: Series, trial: Trial, known_at_ms: int, until_ms: int
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Bars before `until_ms` and their signals in blocks of the series, ascending: the frames of `bar_history.read_bars` as of
    `known_at_ms`, and of the trial's strategy one row for each bar. They equal what the chain would have stored then, to the
    last bit."""
    strategy, timeframe = trial.strategy, series.timeframe
    specs, behind = indicator_set(strategy.indicators(trial.rules)), strategy.warmup_bars(trial.rules, timeframe)
    before = warmup_bars(specs)
    bars, indicators = pd.DataFrame(), pd.DataFrame()
    for block in read_bars(database, series, Interval(0, until_ms), known_at_ms):
        if block.empty:
            continue
        start_ms = int(index_ms(block.index)[0])
        bars = pd.concat((bars.tail(max(before, behind)), block))
        last = None if indicators.empty else indicators.iloc[-1]
        fresh = compute(bars, specs, timeframe, start_ms, last)
        indicators = pd.concat((indicators.tail(behind), fresh))
        signals = signals_of(series, strategy, trial.rules, bars.tail(len(indicators)), indicators, start_ms)
        yield block, signals
