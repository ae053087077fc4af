"""The default strategy: with the trend of the higher timeframe, after a break of structure in its direction, when the entry is
confirmed and the reward is worth the risk. Gates are in `gates`, `structure_gates` and `candle_gates`, stops and targets in
`levels`; this is where they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.candle_gates import PATTERNS, candle_gate
from cryptai_pipelines.strategy.gates import Gate, macd_gate, of_direction, risk_reward_gate, rsi_gate, verdict
from cryptai_pipelines.strategy.levels import Level, by_share, risk_reward, stop, target
from cryptai_pipelines.strategy.parameters import parameter
from cryptai_pipelines.strategy.protocol import Column, Inputs, Strategy
from cryptai_pipelines.strategy.rows import COMMON_COLUMNS, CommonParameters, directions_asked, shorts_asked, signal_rows
from cryptai_pipelines.strategy.structure_gates import agreement_gate, higher_agreement, structure_gate

SWINGS = {1: ("swing_low",), -1: ("swing_high",)}
OPPOSING = {1: ("swing_high", "higher_swing_high", "gap_above"), -1: ("swing_low", "higher_swing_low", "gap_below")}


@dataclass(frozen=True)
class Parameters(CommonParameters):
    """What the strategy may be told."""

    swing_length: int = parameter(5, low=1, high=100, help="bars after a swing that confirm it")
    bos_window: int = parameter(48, low=1, high=500, help="bars for which a break of structure counts")
    choch_blocks: bool = parameter(True, help="a turn since the break refuses the entry, and does not only lower its score")
    confirmations: int = parameter(2, low=0, high=3, help="how many of RSI, MACD and candle must confirm")
    rsi_period: int = parameter(14, low=2, high=200, help="bars of the RSI")
    rsi_recovery: float = parameter(50.0, above=0, below=100, help="the RSI confirms after it rose through this value")
    rsi_overbought: float = parameter(70.0, above=0, high=100, help="and while it is not above this one")
    rsi_window: int = parameter(3, low=1, high=50, help="for so many bars")
    candle_window: int = parameter(3, low=1, high=50, help="bars for which a candlestick pattern counts")
    risk_mode: str = parameter(
        "structure", choices=("structure", "fixed"), help="levels of the market where they are nearer, or shares alone"
    )
    take_profit: float = parameter(0.15, above=0, help="farthest target from the entry price, as a share of it")
    stop_loss: float = parameter(0.08, above=0, below=1, help="farthest stop from the entry price, as a share of it")
    atr_period: int = parameter(14, low=2, high=200, help="bars of the average true range")
    atr_buffer: float = parameter(0.5, low=0, high=10, help="average true ranges between the last swing and the stop")
    min_risk_reward: float = parameter(1.5, above=0, help="least reward per unit of risk after costs")
    fee_rate: float = parameter(0.001, low=0, below=1, help="fee per side, as a share of the notional")
    slippage_bps: float = parameter(2.0, low=0, below=10_000, help="slippage per side, in basis points")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.rsi_recovery < self.rsi_overbought:
            raise BadArgument(f"rsi_overbought {self.rsi_overbought!r} is not above rsi_recovery {self.rsi_recovery!r}")


COLUMNS = (
    Column("trend_gate", "gate", "averages and structure of the higher timeframe both point the way"),
    Column("structure_gate", "gate", "structure broke that way within the last bars, and did not turn since"),
    Column("confirmation_gate", "gate", "enough of RSI, MACD and candle confirm"),
    Column("risk_reward_gate", "gate", "the reward is worth the risk after costs"),
    *COMMON_COLUMNS,
    Column("rsi_gate", "evidence", "the RSI recovered within the last bars and is not spent"),
    Column("macd_gate", "evidence", "the MACD histogram is on that side or moves towards it"),
    Column("candle_gate", "evidence", "a candlestick pattern speaks for it"),
    Column("trend_score", "score", "of the higher timeframe"),
    Column("structure_score", "score", "of the last break of structure, fading, and lowered by a turn"),
    Column("rsi_score", "score", "strength of the RSI"),
    Column("macd_score", "score", "MACD histogram relative to MACD and signal"),
    Column("candle_score", "score", "of the last candlestick patterns"),
    Column("risk_reward", "number", "reward per unit of risk after costs"),
    Column("stop_price", "number", "the nearer stop, from the close; the engine sets it from the entry"),
    Column("target_price", "number", "the nearer target, from the close; the engine sets it from the entry"),
    Column("stop_level", "number", "the last confirmed swing against it and its buffer"),
    Column("target_level", "number", "the next level on its way (swings and gaps)"),
)


def decide(inputs: Inputs, parameters: Parameters) -> pd.DataFrame:
    """One row per bar, `COLUMNS` and the decision. Gates are asked for the side `direction`: long, short, or where both may be
    asked for that of the higher timeframe. Scores are those of the price, 1 for a rise. The strategy's own score is the mean of
    its five, unknown while one is."""
    structure = inputs.structure
    agreement = higher_agreement(_values(structure, "higher_trend"), _values(structure, "higher_bias"))
    direction = directions_asked(parameters, np.where(np.abs(agreement) == 1, agreement, 0.0))
    evidence = _evidence(inputs, parameters, direction)
    trend = agreement_gate(direction, agreement)
    broke = structure_gate(
        direction, _values(structure, "bos"), _values(structure, "choch"), parameters.bos_window, parameters.choch_blocks
    )
    stops, targets = _levels(inputs, parameters, direction)
    ratio = risk_reward(
        direction,
        inputs.bars["close"].to_numpy(dtype="float64"),
        stops.price,
        targets.price,
        parameters.fee_rate,
        parameters.slippage_bps,
    )
    gates = {
        "trend_gate": trend.verdict,
        "structure_gate": broke.verdict,
        "confirmation_gate": confirmation_gate([one.verdict for one in evidence.values()], parameters.confirmations),
        "risk_reward_gate": risk_reward_gate(ratio, parameters.min_risk_reward).verdict,
    }
    scores = {"trend_score": trend.score, "structure_score": broke.score}
    scores |= {f"{name}_score": one.score for name, one in evidence.items()}
    more = {
        **{f"{name}_gate": one.verdict for name, one in evidence.items()},
        **scores,
        **{"risk_reward": ratio, "stop_price": stops.price, "target_price": targets.price},
        **{"stop_level": stops.own, "target_level": targets.own},
    }
    return signal_rows(inputs, parameters, direction, gates, sum(scores.values()) / len(scores), more)


def confirmation_gate(evidence: Sequence[pd.array], least: int) -> pd.array:
    """Whether at least `least` of the verdicts are True; unknown where those that are unknown would decide it."""
    true = np.add.reduce([one.to_numpy(dtype=bool, na_value=False) for one in evidence], dtype="int64")
    unknown = np.add.reduce([one.isna() for one in evidence], dtype="int64")
    return verdict(true >= least, (true >= least) | (true + unknown < least))


def _evidence(inputs: Inputs, parameters: Parameters, direction: np.ndarray) -> dict[str, Gate]:
    known = inputs.indicators
    rsi = _values(known, f"rsi_{parameters.rsi_period}")
    macd, signal, histogram = (_values(known, name) for name in ("macd", "macd_signal", "macd_histogram"))
    rules = (parameters.rsi_recovery, parameters.rsi_overbought, parameters.rsi_window)
    return {
        # A short is a long on an RSI that is turned round its middle.
        "rsi": _of_side(direction, rsi_gate(rsi, *rules), rsi_gate(100 - rsi, *rules)),
        "macd": _of_side(direction, macd_gate(macd, signal, histogram), macd_gate(-macd, -signal, -histogram)),
        "candle": candle_gate(direction, known, parameters.candle_window),
    }


def _of_side(direction: np.ndarray, long: Gate, short: Gate) -> Gate:
    """The gate of the side that is asked for; a short's score is turned round, so that 1 always speaks for a rise."""
    return Gate(of_direction(direction, long.verdict, short.verdict), np.where(direction > 0, long.score, -short.score))


def _levels(inputs: Inputs, parameters: Parameters, direction: np.ndarray) -> tuple[Level, Level]:
    close = inputs.bars["close"].to_numpy(dtype="float64")
    if parameters.risk_mode == "fixed":
        return by_share(direction, close, -parameters.stop_loss), by_share(direction, close, parameters.take_profit)
    buffer = parameters.atr_buffer * _values(inputs.indicators, f"atr_{parameters.atr_period}")
    [swing] = _chosen(inputs.structure, direction, SWINGS)
    opposing = _chosen(inputs.structure, direction, OPPOSING)
    return stop(direction, close, parameters.stop_loss, swing, buffer), target(
        direction, close, parameters.take_profit, opposing
    )


def _chosen(structure: pd.DataFrame, direction: np.ndarray, names: Mapping[int, Sequence[str]]) -> list[np.ndarray]:
    """The columns of a long where `direction` is 1, those of a short where it is -1."""
    pairs = zip(names[1], names[-1], strict=True)
    return [np.where(direction > 0, _values(structure, long), _values(structure, short)) for long, short in pairs]


def _values(frame: pd.DataFrame, name: str) -> np.ndarray:
    return frame[name].to_numpy(dtype="float64")


def indicators(parameters: Parameters) -> tuple[str, ...]:
    return (f"rsi_{parameters.rsi_period}", "macd", f"atr_{parameters.atr_period}", *PATTERNS)


def exits(parameters: Parameters) -> Mapping[str, float]:
    return {"take_profit": parameters.take_profit, "stop_loss": parameters.stop_loss, **shorts_asked(parameters)}


TREND_STRUCTURE = Strategy(
    name="trend_structure",
    code_version="1",
    parameters=Parameters,
    indicators=indicators,
    structure=lambda parameters: parameters.swing_length,
    decide=decide,
    exits=exits,
    columns=COLUMNS,
    summary="With the higher timeframe's trend, after a break of structure, when RSI, MACD or candles confirm; market levels.",
)
