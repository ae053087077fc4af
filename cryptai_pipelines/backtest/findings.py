"""What a review is made of: its inputs, and a finding. The rules are in `review_trades`, `review_returns` and `review_setup`,
their list is in `review`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from cryptai_pipelines.market.intervals import Interval

Severity = Literal["warn", "error"]


@dataclass(frozen=True)
class Finding:
    """One complaint, and whether it holds.

    code: stable, snake case. severity: how bad it is when it holds; `error` means that the result says nothing as it stands.
    holds: True when there is something to complain of. value: what was measured, NaN when it could not be; threshold: from
    where on it is a complaint. sentence: one plain sentence with the numbers, true whether it holds or not.
    """

    code: str
    severity: Severity
    holds: bool
    value: float
    threshold: float
    sentence: str


@dataclass(frozen=True)
class ReviewInputs:
    """What a backtest is reviewed by. What is None or empty was not given, and what needs it is not judged.

    equity: at the end of each period, indexed by UTC time, ascending. trades: the columns of `trade_statistics`; a position
    that was open at the end as it was settled.
    benchmark: prices or values of the market at the times of `equity`. optimistic_return: total return where ambiguous bars
    count as the target. gates: `tables.gate_table`. filled: open times of filled bars; gaps: where bars are missing; each by
    symbol where the trades are of several.
    grid: by parameter the value that was chosen and all values that were tried. risk_reward: its ratio at each signal.
    trained_until: the last time that a model whose predictions were used had seen, labels included. universe_chosen_at: when
    the symbols were chosen. trial_sharpes: per-period Sharpe ratios of all trials, this one among them. of_engine: its metrics,
    where `equity` sees fewer times than the engine did, such as days; `max_drawdown` and `buy_and_hold_return` are taken from
    there.
    """

    equity: pd.Series
    trades: pd.DataFrame
    initial_capital: float
    periods_per_year: float
    benchmark: pd.Series | None = None
    optimistic_return: float | None = None
    gates: pd.DataFrame | None = None
    filled: pd.DatetimeIndex | Mapping[str, pd.DatetimeIndex] | None = None
    gaps: Sequence[Interval] | Mapping[str, Sequence[Interval]] | None = None
    grid: Mapping[str, tuple[float, Sequence[float]]] | None = None
    risk_reward: np.ndarray | None = None
    trained_until: pd.Timestamp | None = None
    universe_chosen_at: pd.Timestamp | None = None
    trial_sharpes: np.ndarray | None = None
    of_engine: Mapping[str, float | None] = field(default_factory=dict)


def at_least(code: str, severity: Severity, value: float, threshold: float, sentence: str) -> Finding:
    """A finding that holds from `threshold` on upwards; not where the value is NaN."""
    return Finding(code, severity, bool(value >= threshold), float(value), float(threshold), sentence)


def below(code: str, severity: Severity, value: float, threshold: float, sentence: str) -> Finding:
    """A finding that holds below `threshold`; not where the value is NaN."""
    return Finding(code, severity, bool(value < threshold), float(value), float(threshold), sentence)


def not_judged(code: str, severity: Severity, threshold: float, why: str) -> Finding:
    """A finding that nothing was known for. why: such as `no gates were given`."""
    return Finding(code, severity, False, math.nan, float(threshold), f"Not judged: {why}.")
