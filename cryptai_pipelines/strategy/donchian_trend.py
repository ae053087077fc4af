"""The turtles' way (Richard Dennis and William Eckhardt's rules, their first system, judged at closes and without adding to a
position): in at a new extreme of 20 bars, out at one of 10 on the other side, the stop two average true ranges away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.strategy.gates import of_direction, shifted, verdict
from cryptai_pipelines.strategy.inputs import columns_of
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy
from cryptai_pipelines.strategy.rows import COMMON_COLUMNS, CommonParameters, directions_asked, shorts_asked, signal_rows


@dataclass(frozen=True)
class Parameters(CommonParameters):
    """What the strategy may be told."""

    entry_period: int = parameter(20, low=2, high=1_000, help="bars whose extreme a close must pass to enter")
    exit_period: int = parameter(10, low=2, high=1_000, help="bars whose opposite extreme a close must pass to leave")
    atr_period: int = parameter(20, low=2, high=200, help="bars of the average true range")
    stop_atr: float = parameter(2.0, above=0, high=20, help="average true ranges from the close to the stop")


COLUMNS = (
    Column("breakout_gate", "gate", "the close passed the extreme of the bars before"),
    *COMMON_COLUMNS,
    Column("stop_level", "number", "average true ranges from the close"),
)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar. Long when the close is above the highest high of the `entry_period` bars before, closed when it is below
    the lowest low of the `exit_period` bars before; short the other way round. A level at or below 0 is no stop. Score: where
    the close lies between the extremes of entry, 1 at the upper one and -1 at the lower."""
    close = inputs.bars["close"].to_numpy(dtype="float64")
    known = {name: inputs.indicators[name].to_numpy() for name in inputs.indicators.columns}
    entry, leaving, atr_name = indicators(parameters)
    top, middle, bottom = (shifted(known[name], 1) for name in columns_of((entry,)))
    exit_top, _, exit_bottom = (shifted(known[name], 1) for name in columns_of((leaving,)))
    direction = directions_asked(parameters, np.sign(close - middle))
    above, below = verdict(close > top, np.isfinite(top)), verdict(close < bottom, np.isfinite(bottom))
    half = (top - bottom) / 2
    score = np.divide(close - middle, half, out=np.where(np.isnan(half), np.nan, 0.0), where=half > 0)
    stop = close - direction * parameters.stop_atr * known[atr_name]
    more = {
        "stop_level": np.where(stop > 0, stop, np.nan),
        "exit_long": close < exit_bottom,
        "exit_short": close > exit_top,
    }
    gates = {"breakout_gate": of_direction(direction, above, below)}
    return signal_rows(inputs, parameters, direction, gates, np.clip(score, -1, 1), more)


def indicators(parameters: Parameters) -> tuple[str, ...]:
    return f"donchian_{parameters.entry_period}", f"donchian_{parameters.exit_period}", f"atr_{parameters.atr_period}"


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": math.inf, "stop_loss": math.inf, **shorts_asked(parameters)}


DONCHIAN_TREND = Strategy(
    name="donchian_trend",
    code_version="1",
    parameters=Parameters,
    indicators=indicators,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="The turtles: in at a new extreme of 20 bars, out at one of 10 on the other side, stop at two average true ranges.",
)
