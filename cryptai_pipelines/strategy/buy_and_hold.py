"""The benchmark: in at the first bar that can be traded, and nothing after that."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.strategy.gates import verdict
from cryptai_pipelines.strategy.parameters import NoParameters
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy


def decide(inputs: Inputs, parameters: NoParameters) -> pd.DataFrame:
    """One row per bar. Long at every bar that was traded: the engine takes the first one and is then in a position, and where
    the rows begin does not matter."""
    traded = ~inputs.bars["is_filled"].to_numpy(dtype=bool)
    known = np.ones(len(traded), dtype=bool)
    return pd.DataFrame({"data_quality_gate": verdict(traded, known), "side": traded.astype("int8")}, index=inputs.bars.index)


def exits(parameters: NoParameters) -> Mapping[str, float]:
    return {"take_profit": math.inf, "stop_loss": math.inf}


BUY_AND_HOLD = Strategy(
    name="buy_and_hold",
    code_version="1",
    warmup_bars=lambda parameters, timeframe: 0,
    decide=decide,
    exits=exits,
    columns=(Column("data_quality_gate", "gate", "the bar was traded, not filled in"),),
    summary="In at the first bar that can be traded, without target or stop, until the end.",
)
