"""The default strategy: buy when the higher timeframe rises, the RSI recovers, the MACD agrees, the reward is worth the risk
and the data under it is sound. Single gates are in `gates`; this is where they meet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.filling import refuse_interpolated
from cryptai_pipelines.strategy.gates import (
    data_quality_gate,
    macd_gate,
    risk_reward,
    risk_reward_gate,
    rsi_gate,
    trend_gate,
)
from cryptai_pipelines.strategy.higher_timeframe import higher_trend, trend_warmup_bars
from cryptai_pipelines.strategy.parameters import LONGEST_LOOK_BACK, StrategyParameters

STRATEGY = "trend_rsi_macd"
CODE_VERSION = "1"
NEEDS = ("rsi_14", "macd", "macd_signal", "macd_histogram")
GATES = ("trend_gate", "rsi_gate", "macd_gate", "risk_reward_gate", "data_quality_gate")
SCORES = ("trend_score", "rsi_score", "macd_score")
SIGNAL_COLUMNS = (*GATES, *SCORES, "higher_trend", "risk_reward", "stop_price", "target_price", "entry")


def warmup_bars(timeframe: Timeframe) -> int:
    """Existing bars before `chunk_start(start_ms)` that `signals` must be given, or all when the series has fewer."""
    return max(trend_warmup_bars(timeframe), LONGEST_LOOK_BACK)


def signals(
    bars: pd.DataFrame, indicators: pd.DataFrame, timeframe: Timeframe, parameters: StrategyParameters, start_ms: int
) -> pd.DataFrame:
    """One row per bar with `ts >= start_ms`, columns `SIGNAL_COLUMNS`; a row is known at the close of its bar.

    bars: index `ts` (UTC, ascending, unique, on the grid), close float64 and is_filled bool, from `warmup_bars(timeframe)`
    existing bars before `indicators.chunks.chunk_start(start_ms, timeframe)` on, or from the first bar of the series.
    indicators: the columns `NEEDS` by `ts`; rows that are absent are unknown. It must reach back as far as `bars` does from
    `start_ms`, at least by `rsi_window` rows.

    The gates are `boolean` with NA for unknown; scores, higher_trend and prices float64 with NaN for unknown. stop_price and
    target_price are taken from the close and are a preview: the engine sets the levels from the open of the entry. entry is
    True when every gate is True; an unknown gate is no entry. `BadArgument` names what is wrong with the frames.
    """
    opens, start = _check(bars, indicators, timeframe, start_ms)
    known = indicators[list(NEEDS)].reindex(bars.index)
    rsi, macd, macd_signal, histogram = (known[name].to_numpy(dtype="float64") for name in NEEDS)
    trend = np.concatenate((np.full(start, np.nan), higher_trend(bars, timeframe, start_ms)))
    ratio = np.full(len(bars), risk_reward(parameters))
    close = bars["close"].to_numpy(dtype="float64")
    gates = (
        trend_gate(trend),
        rsi_gate(rsi, parameters),
        macd_gate(macd, macd_signal, histogram),
        risk_reward_gate(ratio, parameters),
        data_quality_gate(opens, bars["is_filled"].to_numpy(dtype=bool), timeframe, parameters),
    )
    verdicts = {name: gate.verdict for name, gate in zip(GATES, gates, strict=True)}
    scores = {name: gate.score for name, gate in zip(SCORES, gates, strict=False)}
    prices = {
        "stop_price": close * (1 - parameters.stop_loss),
        "target_price": close * (1 + parameters.take_profit),
    }
    entry = np.logical_and.reduce([gate.verdict.to_numpy(dtype=bool, na_value=False) for gate in gates])
    columns = {**verdicts, **scores, "higher_trend": trend, "risk_reward": ratio, **prices, "entry": entry}
    return pd.DataFrame(columns, index=bars.index).iloc[start:]


def _check(bars: pd.DataFrame, indicators: pd.DataFrame, timeframe: Timeframe, start_ms: int) -> tuple[np.ndarray, int]:
    _require_columns("bars", bars, ("close", "is_filled"))
    _require_columns("indicators", indicators, NEEDS)
    refuse_interpolated(bars)
    opens = _open_times("bars", bars.index)
    _open_times("indicators", indicators.index)
    off_grid = ~timeframe.on_grid(opens)
    if off_grid.any():
        row = int(np.argmax(off_grid))
        raise BadArgument(f"bars row {row} at {bars.index[row]} is not on the grid of {timeframe.code}")
    finite = np.isfinite(bars["close"].to_numpy(dtype="float64"))
    if not finite.all():
        row = int(np.argmin(finite))
        value = bars["close"].iloc[row]
        raise BadArgument(f"bars.close is {value} in row {row} at {bars.index[row]}; accepted: a finite number")
    return opens, int(np.searchsorted(opens, start_ms))


def _open_times(name: str, index: pd.Index) -> np.ndarray:
    if not isinstance(index, pd.DatetimeIndex) or str(index.tz) != "UTC":
        raise BadArgument(f"{name} are not indexed by open times in UTC")
    opens = index_ms(index)
    backward = np.diff(opens) <= 0
    if backward.any():
        row = int(np.argmax(backward)) + 1
        raise BadArgument(f"{name} row {row} at {index[row]} does not come after the row before; accepted: ascending, unique")
    return opens


def _require_columns(name: str, frame: pd.DataFrame, needed: Sequence[str]) -> None:
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise BadArgument(f"{name} have no column {missing[0]!r}; needed: {', '.join(needed)}")
