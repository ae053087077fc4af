"""What a strategy decides on bars that are handed in, block by block: indicators and structure are computed on the way and
stored nowhere. For trials, whose parameters and bars need not be those that the tables are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from cryptai_pipelines.indicators.chunks import compute, warmup_bars
from cryptai_pipelines.indicators.registry import find_indicator
from cryptai_pipelines.indicators.structure_readings import begin_readings, carry_readings
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.signals import signals_of
from cryptai_pipelines.strategy.protocol import Inputs, Strategy


def decided(
    series: Series, strategy: Strategy, parameters: Any, blocks: Iterable[pd.DataFrame]
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """Each block and the strategy's rows of its bars: what the chain would have stored of them, to the last bit.

    blocks: validated bars of the series with `is_filled`, from its first one on, cut where `staleness.blocks` cuts. Of those
    before a block as many are kept as it looks back upon.
    """
    timeframe, length = series.timeframe, strategy.structure(parameters)
    specs = tuple({spec.name: spec for spec in map(find_indicator, strategy.indicators(parameters))}.values())
    behind = strategy.warmup_bars(parameters, timeframe)
    kept = max(warmup_bars(specs), behind)
    state = begin_readings(timeframe, length) if length is not None else None
    bars, indicators, structure = pd.DataFrame(), pd.DataFrame(), None
    for block in blocks:
        if block.empty:
            continue
        start_ms = int(index_ms(block.index)[0])
        bars = pd.concat((bars.tail(kept), block))
        last = None if indicators.empty else indicators.iloc[-1]
        indicators = pd.concat((indicators.tail(behind), compute(bars, specs, timeframe, start_ms, last)))
        if state is not None:
            readings, state = carry_readings(state, block)
            structure = pd.concat((structure.tail(behind), readings)) if structure is not None else readings
        inputs = Inputs(bars.tail(len(indicators)), indicators, structure, timeframe)
        yield block, signals_of(series, strategy, parameters, inputs, start_ms)
