"""Going with a close that leaves Bollinger's bands, until it is back at the middle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.strategy.gates import crossed_above, of_direction
from cryptai_pipelines.strategy.inputs import columns_of
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy
from cryptai_pipelines.strategy.rows import COMMON_COLUMNS, CommonParameters, directions_asked, shorts_asked, signal_rows

FULL_SCORE = 2.0
"""Half widths of the bands from the middle that make a score of 1."""


@dataclass(frozen=True)
class Parameters(CommonParameters):
    """What the strategy may be told."""

    period: int = parameter(20, low=2, high=1_000, help="bars of the bands")
    width: float = parameter(2.0, low=0.5, high=5, help="standard deviations from the middle to a band, to 4 digits")


COLUMNS = (Column("breakout_gate", "gate", "the close left the band at this bar"), *COMMON_COLUMNS)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar. Long when the close rises through the upper band, closed while it is below the middle; short the other
    way round at the lower band. Score: the close's distance from the middle in half widths of the bands, 1 at `FULL_SCORE`."""
    upper, middle, lower = (inputs.indicators[name].to_numpy() for name in columns_of(indicators(parameters)))
    close = inputs.bars["close"].to_numpy(dtype="float64")
    direction = directions_asked(parameters, np.sign(close - middle))
    half = upper - middle
    score = np.divide(close - middle, FULL_SCORE * half, out=np.where(np.isnan(half), np.nan, 0.0), where=half > 0)
    closing = {"exit_long": close < middle, "exit_short": close > middle}
    gates = {"breakout_gate": of_direction(direction, crossed_above(close, upper), crossed_above(lower, close))}
    return signal_rows(inputs, parameters, direction, gates, np.clip(score, -1, 1), closing)


def indicators(parameters: Parameters) -> tuple[str, ...]:
    return (f"bollinger_{parameters.period}_{parameters.width:.4g}",)


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": math.inf, **shorts_asked(parameters)}


BOLLINGER_BREAKOUT = Strategy(
    name="bollinger_breakout",
    code_version="1",
    parameters=Parameters,
    indicators=indicators,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="In when the close leaves Bollinger's bands, out when it is back at the middle.",
)
