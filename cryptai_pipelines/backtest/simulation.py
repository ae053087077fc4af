"""One backtest in one call, for people and for tests. The resumable form is `engine`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.engine import advance, settle, start
from cryptai_pipelines.backtest.fingerprint import trades_sha256
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.metrics import bars_per_year, summary
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.records import refused_counts, trades_frame


@dataclass(frozen=True)
class SimulationResult:
    """What a backtest gave.

    trades: one row per position, columns of `records.trades_frame`. equity: float64 per bar, at its close; an open position
    counts at the market price, and the last value is after the position open there was closed. metrics: the names of
    docs/metrics.md, with bars that touch both levels counted as the stop; optimistic: the same with them counted as the
    target, equal to `metrics` when no bar is ambiguous. trades_sha256: the fingerprint of the trades. refused: entries that did
    not happen, by reason (`records.refused_counts`).
    """

    trades: pd.DataFrame
    equity: pd.Series
    metrics: dict[str, float]
    optimistic: dict[str, float]
    trades_sha256: str
    refused: pd.Series


def simulate(
    bars: pd.DataFrame,
    entries: pd.Series,
    take_profit: float = 0.15,
    stop_loss: float = 0.08,
    fee_rate: float = 0.001,
    slippage_bps: float = 0.0,
    initial_capital: float = 10_000.0,
    size: float = 1.0,
) -> SimulationResult:
    """Simulate long positions, one at a time, from entry signals.

    bars: frame indexed by UTC open time (ascending, unique) with open, high, low, close, volume, and optionally a bool
    `is_filled`. entries: bool Series of the same index, known at the close of its bar. The rules of a fill are listed in
    docs/backtest.md, the ranges of the other arguments in `parameters.EngineParameters`. A signal while in a position is
    ignored; one on the bar of an exit may enter at the next open; a position open at the last bar is closed at its close
    (`end`).

    Pure and deterministic: the same input gives the same bytes. `BadArgument`, a `ValueError`, names the argument and the row
    or value that is wrong.
    """
    return simulate_entries(
        bars, entries, EngineParameters(take_profit, stop_loss, fee_rate, slippage_bps, initial_capital, size)
    )


def simulate_entries(bars: pd.DataFrame, entries: pd.Series, parameters: EngineParameters) -> SimulationResult:
    """`simulate` with everything that the engine may be told."""
    arrays = bar_arrays(bars, entries)
    run = advance(start(parameters), arrays)
    final, last_trade, _ = settle(run.state)
    trades = np.concatenate((run.trades, last_trade))
    periods = bars_per_year(arrays.ts)
    metrics = summary(final, run.equity, periods)
    optimistic = dict(metrics)
    if final.books[0] != final.books[1]:
        optimistic = summary(final, run.optimistic_equity, periods, optimistic=True)
    equity = np.append(run.equity[:-1], final.book["cash"]) if len(last_trade) else run.equity
    series = pd.Series(equity, index=bars.index, name="equity")
    refused = refused_counts(final.refused[0])
    return SimulationResult(trades_frame(trades), series, metrics, optimistic, trades_sha256(trades), refused)
