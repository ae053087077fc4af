"""Momentum in a trend that is strong enough: in when the MACD crosses its signal while the ADX is high, out when it crosses
back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.gates import crossed_above, macd_score, of_direction, verdict
from cryptai_pipelines.strategy.inputs import columns_of
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy
from cryptai_pipelines.strategy.rows import COMMON_COLUMNS, CommonParameters, directions_asked, shorts_asked, signal_rows


@dataclass(frozen=True)
class Parameters(CommonParameters):
    """What the strategy may be told."""

    fast: int = parameter(12, low=2, high=500, help="bars of the MACD's fast mean")
    slow: int = parameter(26, low=3, high=1_000, help="bars of its slow mean")
    signal: int = parameter(9, low=1, high=200, help="bars of its signal")
    adx_period: int = parameter(14, low=2, high=200, help="bars of the ADX")
    adx_least: float = parameter(25.0, low=0, high=100, help="least ADX of a trend")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fast < self.slow:
            raise BadArgument(f"slow {self.slow!r} is not above fast {self.fast!r}")


COLUMNS = (
    Column("macd_gate", "gate", "the MACD crossed its signal at this bar"),
    Column("adx_gate", "gate", "the ADX tells of a trend"),
    *COMMON_COLUMNS,
)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar. Long when the MACD rises through its signal with an ADX of at least `adx_least`, closed while it is
    below; short the other way round. Score: the histogram relative to MACD and signal."""
    names = columns_of(indicators(parameters))
    macd, signal, histogram, adx = (inputs.indicators[name].to_numpy() for name in names)
    direction = directions_asked(parameters, np.sign(histogram))
    gates = {
        "macd_gate": of_direction(direction, crossed_above(macd, signal), crossed_above(signal, macd)),
        "adx_gate": verdict(adx >= parameters.adx_least, np.isfinite(adx)),
    }
    closing = {"exit_long": histogram < 0, "exit_short": histogram > 0}
    return signal_rows(inputs, parameters, direction, gates, macd_score(macd, signal, histogram), closing)


def indicators(parameters: Parameters) -> tuple[str, ...]:
    return f"macd_{parameters.fast}_{parameters.slow}_{parameters.signal}", f"adx_{parameters.adx_period}"


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": math.inf, **shorts_asked(parameters)}


MACD_ADX = Strategy(
    name="macd_adx",
    code_version="1",
    parameters=Parameters,
    indicators=indicators,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="In when the MACD crosses its signal in a trend that the ADX calls strong, out when it crosses back.",
)
