"""What is concluded from a portfolio: all metrics, the verdict, the intervals, the review. The formulas and rules live in
`backtest`; of a single series they are given their input in `chain.assessment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import settled_days
from cryptai_pipelines.backtest.review import ReviewInputs
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.assessment import Assessment, GateEvidence, conclude, read_faults
from cryptai_pipelines.storage.database import Cursor


@dataclass(frozen=True)
class Evidence:
    """What a portfolio is judged by beside its days and trades. `timeframe`: of its bars. `filled`, `gaps`: of each symbol, as
    stored. `chosen_at`: when the symbols were chosen, as far as that is known. `metrics`: of the engine. `of_file`: is the
    strategy a person's file?"""

    timeframe: Timeframe
    gates: GateEvidence
    filled: Mapping[str, pd.DatetimeIndex]
    gaps: Mapping[str, list[Interval]]
    chosen_at: pd.Timestamp | None
    metrics: Mapping[str, float | None]
    of_file: bool


def assess_portfolio(
    days: pd.DataFrame, trades: pd.DataFrame, initial_capital: float, evidence: Evidence, trial_sharpes: np.ndarray, rules: Any
) -> Assessment:
    """The assessment of days (`backtest.portfolio_days.day_rows`) and trades with `is_open` and `entry_volume`. trial_sharpes:
    of all trials that were made on the way, this one among them. rules: the strategy's parameters."""
    inputs = ReviewInputs(
        settled_days(days["total_value"], evidence.metrics),
        trades.drop(columns="is_open").reset_index(drop=True),
        initial_capital,
        evidence.timeframe.values_per_year,
        benchmark=days["benchmark"],
        optimistic_return=evidence.metrics["optimistic_total_return"],
        gates=evidence.gates.counts,
        filled=evidence.filled,
        gaps=evidence.gaps,
        risk_reward=evidence.gates.risk_rewards,
        universe_chosen_at=evidence.chosen_at,
        trial_sharpes=trial_sharpes,
        of_engine=evidence.metrics,
    )
    exposure = days[["gross_exposure", "net_exposure"]].set_axis(["gross", "net"], axis=1)
    return conclude(inputs, exposure, rules, of_file=evidence.of_file)


def read_faults_together(
    cursor: Cursor, spans: Mapping[Series, Interval]
) -> tuple[dict[str, pd.DatetimeIndex], dict[str, list[Interval]]]:
    """`read_faults` of each series within its span, by symbol."""
    filled, gaps = {}, {}
    for series, within in spans.items():
        filled[series.symbol], gaps[series.symbol] = read_faults(cursor, series, within)
    return filled, gaps
