"""Buying weakness in strength: in when the RSI comes back from oversold while the price is above its long mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.gates import crossed_above, of_direction, verdict
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy
from cryptai_pipelines.strategy.rows import COMMON_COLUMNS, CommonParameters, directions_asked, shorts_asked, signal_rows

_MIDDLE = 50.0


@dataclass(frozen=True)
class Parameters(CommonParameters):
    """What the strategy may be told. `oversold` and `leave` are a long's; a short's are as far on the other side of 50."""

    rsi_period: int = parameter(14, low=2, high=200, help="bars of the RSI")
    oversold: float = parameter(30.0, above=0, below=50, help="in when the RSI rises through this value")
    leave: float = parameter(55.0, above=0, below=100, help="out when it is above this one")
    trend_period: int = parameter(200, low=2, high=2_000, help="bars of the mean that the price must be above")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.oversold < self.leave:
            raise BadArgument(f"leave {self.leave!r} is not above oversold {self.oversold!r}")


COLUMNS = (
    Column("rsi_gate", "gate", "the RSI came back from its extreme at this bar"),
    Column("trend_gate", "gate", "the price is on that side of its long mean"),
    *COMMON_COLUMNS,
)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar. Long when the RSI rises through `oversold` above the mean, closed while it is above `leave`; short the
    other way round. Score: how far the RSI is from its middle, against it: 1 at an RSI of 0."""
    rsi, mean = (inputs.indicators[name].to_numpy() for name in indicators(parameters))
    close = inputs.bars["close"].to_numpy(dtype="float64")
    direction = directions_asked(parameters, np.sign(close - mean))
    # A short is a long on an RSI that is turned round its middle.
    turned, oversold = 2 * _MIDDLE - rsi, np.full(len(rsi), parameters.oversold)
    gates = {
        "rsi_gate": of_direction(direction, crossed_above(rsi, oversold), crossed_above(turned, oversold)),
        "trend_gate": verdict(np.sign(close - mean) == direction, np.isfinite(mean)),
    }
    closing = {"exit_long": rsi > parameters.leave, "exit_short": turned > parameters.leave}
    return signal_rows(inputs, parameters, direction, gates, (_MIDDLE - rsi) / _MIDDLE, closing)


def indicators(parameters: Parameters) -> tuple[str, ...]:
    return f"rsi_{parameters.rsi_period}", f"sma_{parameters.trend_period}"


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": math.inf, **shorts_asked(parameters)}


RSI_MEAN_REVERSION = Strategy(
    name="rsi_mean_reversion",
    code_version="1",
    parameters=Parameters,
    indicators=indicators,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="In when the RSI comes back from oversold above the long mean, out when it has recovered.",
)
