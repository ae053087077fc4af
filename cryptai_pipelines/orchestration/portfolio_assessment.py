"""What is concluded from a portfolio: all metrics, the verdict, the intervals, the review. The formulas and rules live in
`backtest`; of a single series they are given their input in `chain.assessment`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.bootstrap import result_intervals, trade_outcomes
from cryptai_pipelines.backtest.daily import settled_days
from cryptai_pipelines.backtest.metrics import full_metrics, with_engine
from cryptai_pipelines.backtest.return_metrics import period_returns
from cryptai_pipelines.backtest.review import ReviewInputs, review
from cryptai_pipelines.backtest.verdict import beside_review, judge
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.assessment import Assessment, GateEvidence
from cryptai_pipelines.storage import market_data, quality_log
from cryptai_pipelines.storage.database import Cursor
from cryptai_pipelines.strategy.gate_rates import counted_rates


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
    equity, benchmark = settled_days(days["total_value"], evidence.metrics), days["benchmark"]
    closed, yearly = trades.drop(columns="is_open").reset_index(drop=True), evidence.timeframe.values_per_year
    exposure = days[["gross_exposure", "net_exposure"]].set_axis(["gross", "net"], axis=1)
    returns = period_returns(equity.to_numpy(), initial_capital)
    market = np.concatenate(([0.0], period_returns(benchmark.to_numpy()[1:], float(benchmark.iloc[0]))))
    inputs = ReviewInputs(
        equity,
        closed,
        initial_capital,
        yearly,
        benchmark=benchmark,
        optimistic_return=evidence.metrics["optimistic_total_return"],
        gates=evidence.gates.counts,
        filled=evidence.filled,
        gaps=evidence.gaps,
        risk_reward=evidence.gates.risk_rewards,
        universe_chosen_at=evidence.chosen_at,
        trial_sharpes=trial_sharpes,
        of_engine=evidence.metrics,
    )
    findings = review(inputs)
    verdict = judge(returns, len(closed), trial_sharpes=trial_sharpes, market=market)
    full = full_metrics(equity, closed, benchmark, initial_capital, yearly, exposure, trial_sharpes=trial_sharpes)
    pnl = closed["pnl"].to_numpy(dtype="float64")
    return Assessment(
        with_engine(full, evidence.metrics),
        benchmark,
        beside_review(verdict, findings, of_file=evidence.of_file),
        result_intervals(returns, pnl, yearly),
        trade_outcomes(pnl, initial_capital),
        findings,
        counted_rates(evidence.gates.counts, rules),
    )


def read_faults(
    cursor: Cursor, spans: Mapping[Series, Interval]
) -> tuple[dict[str, pd.DatetimeIndex], dict[str, list[Interval]]]:
    """Filled bars and gaps of each series within its span, by symbol, as they are stored now."""
    filled, gaps = {}, {}
    for series, within in spans.items():
        filled[series.symbol] = ts_index(market_data.read_filled_opens(cursor, series, within))
        gaps[series.symbol] = [gap.period for gap in quality_log.read_findings(cursor, series, "gap", within)]
    return filled, gaps
