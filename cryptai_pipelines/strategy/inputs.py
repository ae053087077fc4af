"""What a strategy reads, computed from the bars of a whole series. What is stored is read by `orchestration`; both are the same
values, because indicators and structure are defined on the whole series."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from cryptai_pipelines.indicators.chunks import compute
from cryptai_pipelines.indicators.registry import find_indicator, indicator_set
from cryptai_pipelines.indicators.structure_readings import structure_readings
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.protocol import Inputs, Strategy


def indicator_columns(strategy: Strategy, parameters: Any) -> tuple[str, ...]:
    """The columns of the indicators that `strategy` reads, in order."""
    return columns_of(strategy.indicators(parameters))


def columns_of(names: Sequence[str]) -> tuple[str, ...]:
    """The output columns of the indicators called `names`, in order, each once: two parameters of a strategy may have the same
    value and ask for the same indicator."""
    return tuple(dict.fromkeys(output for name in names for output in find_indicator(name).outputs))


def gather(
    bars: pd.DataFrame, strategy: Strategy, parameters: Any, timeframe: Timeframe, scores: pd.DataFrame | None = None
) -> Inputs:
    """Everything `strategy` reads of `bars`, which are a series from its first bar on (index `ts` UTC, ascending, on the grid;
    open, high, low, close, volume float64 and finite; is_filled bool, absent when no bar is filled).

    Values have the warm-up of the indicators and are NaN before it. A bar's row depends on that bar and earlier ones only.
    """
    flagged = bars if "is_filled" in bars else bars.assign(is_filled=False)
    first = int(index_ms(bars.index)[0]) if len(bars) else 0
    specs = indicator_set(strategy.indicators(parameters))
    length = strategy.structure(parameters)
    structure = None if length is None else structure_readings(flagged, timeframe, length)
    return Inputs(flagged, compute(bars, specs, timeframe, first), structure, timeframe, scores)
