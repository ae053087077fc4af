"""Two exponential means: in when the fast one crosses the slow one, out when it is back on the other side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.gates import crossed_above, of_direction
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy
from cryptai_pipelines.strategy.rows import COMMON_COLUMNS, CommonParameters, directions_asked, shorts_asked, signal_rows

FULL_SCORE = 2.0
"""Average true ranges between the means that make a score of 1."""


@dataclass(frozen=True)
class Parameters(CommonParameters):
    """What the strategy may be told."""

    fast: int = parameter(20, low=2, high=1_000, help="bars of the fast mean")
    slow: int = parameter(50, low=3, high=2_000, help="bars of the slow mean")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fast < self.slow:
            raise BadArgument(f"slow {self.slow!r} is not above fast {self.fast!r}")


COLUMNS = (Column("cross_gate", "gate", "the fast mean crossed the slow one at this bar"), *COMMON_COLUMNS)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar. Long when the fast mean rises through the slow one, closed while it is below; short the other way round.
    Score: their distance in average true ranges, 1 at `FULL_SCORE`."""
    fast, slow, atr = (inputs.indicators[name].to_numpy() for name in indicators(parameters))
    direction = directions_asked(parameters, np.sign(fast - slow))
    crossed = of_direction(direction, crossed_above(fast, slow), crossed_above(slow, fast))
    score = np.clip(np.divide(fast - slow, FULL_SCORE * atr, out=np.full(len(fast), np.nan), where=atr > 0), -1, 1)
    closing = {"exit_long": fast < slow, "exit_short": fast > slow}
    return signal_rows(inputs, parameters, direction, {"cross_gate": crossed}, score, closing)


def indicators(parameters: Parameters) -> tuple[str, ...]:
    return f"ema_{parameters.fast}", f"ema_{parameters.slow}", "atr_14"


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": math.inf, **shorts_asked(parameters)}


EMA_CROSSOVER = Strategy(
    name="ema_crossover",
    code_version="1",
    parameters=Parameters,
    indicators=indicators,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="In when the fast exponential mean crosses the slow one, out when it crosses back.",
)
