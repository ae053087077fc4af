"""Buy when the higher timeframe rises, the RSI recovers, the MACD agrees, the reward is worth the risk and the data under it is
sound. Single gates are in `gates`; this is where they meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.gates import (
    data_quality_gate,
    macd_gate,
    risk_reward_gate,
    rsi_gate,
    trend_gate,
)
from cryptai_pipelines.strategy.higher_timeframe import higher_trend, trend_warmup_bars
from cryptai_pipelines.strategy.levels import risk_reward
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy

# The ranges of the parameters bound how far back one row may look, whatever they are.
LONGEST_LOOK_BACK = 500


@dataclass(frozen=True)
class Parameters:
    """What the strategy may be told."""

    take_profit: float = parameter(0.15, above=0, help="target above the entry price, as a share of it")
    stop_loss: float = parameter(0.08, above=0, below=1, help="stop below the entry price, as a share of it")
    min_risk_reward: float = parameter(1.5, above=0, help="least reward per unit of risk after costs")
    fee_rate: float = parameter(0.001, low=0, below=1, help="fee per side, as a share of the notional")
    slippage_bps: float = parameter(2.0, low=0, below=10_000, help="slippage per side, in basis points")
    rsi_recovery: float = parameter(50.0, above=0, below=100, help="the RSI confirms after it rose through this value")
    rsi_overbought: float = parameter(70.0, above=0, high=100, help="and while it is not above this one")
    rsi_window: int = parameter(3, low=1, high=50, help="for so many bars")
    clean_bars: int = parameter(20, low=1, high=500, help="bar slots up to this one with none missing and none filled")

    def __post_init__(self) -> None:
        if not self.rsi_recovery < self.rsi_overbought:
            raise BadArgument(f"rsi_overbought {self.rsi_overbought!r} is not above rsi_recovery {self.rsi_recovery!r}")


COLUMNS = (
    Column("trend_gate", "gate", "the higher timeframe rises"),
    Column("rsi_gate", "gate", "the RSI recovered within the last bars and is not overbought"),
    Column("macd_gate", "gate", "the MACD histogram is above 0 or rises"),
    Column("risk_reward_gate", "gate", "the reward is worth the risk after costs"),
    Column("data_quality_gate", "gate", "no bar under it is missing or filled"),
    Column("trend_score", "score", "trend of the higher timeframe"),
    Column("rsi_score", "score", "strength of the RSI"),
    Column("macd_score", "score", "MACD histogram relative to MACD and signal"),
    Column("higher_trend", "number", "1 up, -1 down, 0 neither"),
    Column("risk_reward", "number", "reward per unit of risk after costs"),
    Column("stop_price", "number", "stop from the close; the engine sets it from the entry"),
    Column("target_price", "number", "target from the close; the engine sets it from the entry"),
)


def warmup_bars(parameters: Parameters, timeframe: Timeframe) -> int:
    return max(trend_warmup_bars(timeframe), LONGEST_LOOK_BACK)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar, `COLUMNS` and `side`: 1 when every gate is True; an unknown gate is no entry."""
    bars, known = inputs.bars, inputs.indicators
    opens = index_ms(bars.index)
    trend = higher_trend(bars, inputs.timeframe, int(opens[0]) if len(opens) else 0)
    one = np.ones(len(bars))
    stop, target = one * (1 - parameters.stop_loss), one * (1 + parameters.take_profit)
    ratio = risk_reward(one, one, stop, target, parameters.fee_rate, parameters.slippage_bps)
    rsi, macd, macd_signal, histogram = (
        known[name].to_numpy(dtype="float64") for name in ("rsi_14", "macd", "macd_signal", "macd_histogram")
    )
    gates = {
        "trend_gate": trend_gate(trend),
        "rsi_gate": rsi_gate(rsi, parameters.rsi_recovery, parameters.rsi_overbought, parameters.rsi_window),
        "macd_gate": macd_gate(macd, macd_signal, histogram),
        "risk_reward_gate": risk_reward_gate(ratio, parameters.min_risk_reward),
        "data_quality_gate": data_quality_gate(
            opens, bars["is_filled"].to_numpy(dtype=bool), inputs.timeframe, parameters.clean_bars
        ),
    }
    close = bars["close"].to_numpy(dtype="float64")
    columns = {
        **{name: gate.verdict for name, gate in gates.items()},
        **{f"{name}_score": gates[f"{name}_gate"].score for name in ("trend", "rsi", "macd")},
        "higher_trend": trend,
        "risk_reward": ratio,
        "stop_price": close * (1 - parameters.stop_loss),
        "target_price": close * (1 + parameters.take_profit),
    }
    holds = [gate.verdict.to_numpy(dtype=bool, na_value=False) for gate in gates.values()]
    side = np.logical_and.reduce(holds).astype("int8")
    return pd.DataFrame({**columns, "side": side}, index=bars.index)


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": parameters.take_profit, "stop_loss": parameters.stop_loss}


TREND_RSI_MACD = Strategy(
    name="trend_rsi_macd",
    code_version="1",
    parameters=Parameters,
    indicators=lambda parameters: ("rsi_14", "macd"),
    warmup_bars=warmup_bars,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="Buys in a rising higher timeframe when the RSI recovers and the MACD agrees; fixed target and stop.",
)
