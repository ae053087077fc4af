"""What the rows of most strategies have in common: data quality, the blend, the side that is asked for and what its sizing
needs. The rules of a single strategy stand in its own module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.strategy.blend import WEIGHTS, blend, check_weights
from cryptai_pipelines.strategy.gates import data_quality_gate, shifted, verdict
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs

VOLATILITY_BARS = 20


@dataclass(frozen=True)
class CommonParameters:
    """What every strategy of this kind may be told."""

    directions: str = parameter("long", choices=("long", "both", "short"), help="sides that may be asked for")
    min_score: float = parameter(0.0, low=-1, high=1, help="least blended score for the side that is asked for")
    strategy_weight: float = parameter(WEIGHTS["strategy"], low=0, high=1, help="weight of the strategy's own score")
    sentiment_weight: float = parameter(WEIGHTS["sentiment"], low=0, high=1, help="weight of the sentiment")
    ml_weight: float = parameter(WEIGHTS["ml"], low=0, high=1, help="weight of the prediction")
    clean_bars: int = parameter(20, low=1, high=500, help="bar slots up to this one with none missing and none filled")

    def __post_init__(self) -> None:
        check_weights(self.weights)

    @property
    def weights(self) -> dict[str, float]:
        return {"strategy": self.strategy_weight, "sentiment": self.sentiment_weight, "ml": self.ml_weight}


COMMON_COLUMNS = (
    Column("data_quality_gate", "gate", "no bar under it is missing or filled"),
    Column("score_gate", "gate", "the blended score speaks for the side"),
    Column("strategy_score", "score", "of the strategy's own rules"),
    Column("sentiment_score", "score", "of news and moods"),
    Column("ml_score", "score", "of the prediction"),
    Column("score", "score", "the blend of the three"),
    Column("score_coverage", "number", "weight of the parts of the blend that are known"),
    Column("direction", "number", "the side that the gates were asked for: 1 long, -1 short"),
)


def directions_asked(parameters: CommonParameters, sign: np.ndarray) -> np.ndarray:
    """For every bar the side that its gates are asked for, int8: where both may be asked for, that of `sign`, and long where it
    is 0 or NaN."""
    fixed = {"long": 1, "short": -1}.get(parameters.directions)
    return np.where(sign < 0, -1, 1).astype("int8") if fixed is None else np.full(len(sign), fixed, dtype="int8")


def shorts_asked(parameters: CommonParameters) -> dict[str, bool]:
    """What the engine is told of the directions: shorts are allowed where they may be asked for."""
    return {} if parameters.directions == "long" else {"short": True}


def signal_rows(
    inputs: Inputs,
    parameters: CommonParameters,
    direction: np.ndarray,
    gates: Mapping[str, pd.array],
    strategy_score: np.ndarray,
    more: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """One row per bar: the verdicts `gates`, `COMMON_COLUMNS`, `more` as it is, and the decision: the side is `direction`
    where every gate and both of the common ones are True; an unknown gate is no entry.

    strategy_score: 1 speaks for a rise, -1 for a fall, NaN unknown. The priority of an entry is the score for its side.
    """
    bars = inputs.bars
    filled = bars["is_filled"].to_numpy(dtype=bool)
    told = dict(gates)
    told["data_quality_gate"] = data_quality_gate(index_ms(bars.index), filled, inputs.timeframe, parameters.clean_bars).verdict
    parts = {"strategy": strategy_score, "sentiment": _scores(inputs, "sentiment"), "ml": _scores(inputs, "ml")}
    score, coverage = blend(parts, parameters.weights)
    told["score_gate"] = verdict(direction * score >= parameters.min_score, np.isfinite(score))
    allowed = np.logical_and.reduce([one.to_numpy(dtype=bool, na_value=False) for one in told.values()])
    decision = {
        "side": np.where(allowed, direction, 0).astype("int8"),
        "volatility": volatility(bars["close"].to_numpy(dtype="float64")),
        "priority": np.nan_to_num(direction * score),
    }
    blended = {f"{name}_score": part for name, part in parts.items()} | {"score": score, "score_coverage": coverage}
    columns = {**told, **blended, "direction": direction.astype("float64"), **(more or {}), **decision}
    return pd.DataFrame(columns, index=bars.index)


def _scores(inputs: Inputs, part: str) -> np.ndarray:
    name = f"{part}_score"
    if inputs.scores is None or name not in inputs.scores:
        return np.full(len(inputs.bars), np.nan)
    return inputs.scores[name].to_numpy(dtype="float64")


def volatility(close: np.ndarray) -> np.ndarray:
    """Standard deviation of the last `VOLATILITY_BARS` logarithmic returns between existing bars, float64; NaN before there are
    as many. Added up in one order at every row, so that it does not depend on where the frame starts."""
    changes = np.log(close)
    returns = changes - shifted(changes, 1)
    mean = sum(shifted(returns, lag) for lag in range(VOLATILITY_BARS)) / VOLATILITY_BARS
    squares = sum((shifted(returns, lag) - mean) ** 2 for lag in range(VOLATILITY_BARS))
    return np.sqrt(squares / VOLATILITY_BARS)
