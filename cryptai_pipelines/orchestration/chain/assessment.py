"""What is concluded from a stored result: all metrics, the verdict, the intervals, the review. The formulas and rules live in
`backtest`; here they are given what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.bootstrap import Spread, result_intervals, trade_outcomes
from cryptai_pipelines.backtest.daily import settled_days
from cryptai_pipelines.backtest.metrics import full_metrics, with_engine
from cryptai_pipelines.backtest.return_metrics import period_returns
from cryptai_pipelines.backtest.review import Finding, ReviewInputs, review
from cryptai_pipelines.backtest.tables import gate_table
from cryptai_pipelines.backtest.valuation import exposure_at_closes
from cryptai_pipelines.backtest.verdict import Verdict, beside_review, judge
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.entry_volumes import traded_at_entries
from cryptai_pipelines.storage import backtests, market_data, quality_log, signal_counts, sweeps
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.strategy.gate_rates import counted_rates
from cryptai_pipelines.strategy.protocol import Strategy
from cryptai_pipelines.strategy.signals import is_of_file


@dataclass(frozen=True)
class GateEvidence:
    """What is known of the gates of a strategy over a result. `counts`: a row per gate, columns passed, rejected, unknown.
    `risk_rewards`: the ratio at each entry, None for a strategy without one."""

    counts: pd.DataFrame
    risk_rewards: np.ndarray | None


@dataclass(frozen=True)
class Assessment:
    """`full`: of `metrics.full_metrics` over days, `with_engine`. `benchmark`: closes of the market on the days of the result.
    The others are what `backtest.report` shows; all fields are called as those of a report are."""

    full: Mapping[str, float]
    benchmark: pd.Series
    verdict: Verdict
    intervals: Mapping[str, Spread]
    outcomes: pd.DataFrame
    findings: Sequence[Finding]
    gates: Sequence[Mapping[str, Any]]

    @property
    def told(self) -> tuple[dict[str, Any], list[dict[str, Any]], Sequence[Mapping[str, Any]]]:
        """Verdict, findings and gates as plain data, as they are stored."""
        verdict = {name: value for name, value in asdict(self.verdict).items() if name != "interval"}
        return verdict | {"interval": self.verdict.interval._asdict()}, [asdict(one) for one in self.findings], self.gates


def stored_gates(database: Database, trial: Trial, series: Series) -> GateEvidence:
    """Of the signals that are stored."""
    keys = {"strategy": trial.strategy.name, "symbol": series.symbol, "timeframe": series.timeframe.code}
    ratios = "risk_reward" in {column.name for column in trial.strategy.columns}
    return GateEvidence(
        signal_counts.count_verdicts(database, keys, trial.strategy.gates),
        signal_counts.entry_values(database, keys, "risk_reward") if ratios else None,
    )


def gates_of(rows: pd.DataFrame, strategy: Strategy) -> GateEvidence:
    """Of a strategy's rows in memory."""
    counts = gate_table(rows[list(strategy.gates)])[["passed", "rejected", "unknown"]]
    asked = rows["side"].to_numpy() != 0
    return GateEvidence(counts, rows["risk_reward"].to_numpy()[asked] if "risk_reward" in rows else None)


def together(parts: Sequence[GateEvidence]) -> GateEvidence:
    """That of consecutive parts, of which there is at least one."""
    ratios = [part.risk_rewards for part in parts if part.risk_rewards is not None]
    counts = sum((part.counts for part in parts[1:]), parts[0].counts)
    return GateEvidence(counts, np.concatenate(ratios) if ratios else None)


def assess(
    database: Database, identity: int, header: backtests.BacktestHeader, prices: pd.Series, gates: GateEvidence
) -> Assessment:
    """The assessment of a result whose days and trades are stored. prices: a close a day, by day, over what was simulated."""
    equity = settled_days(backtests.read_daily(database, identity)["total_value"], header.metrics)
    trades = backtests.read_trades(database, identity).reset_index(drop=True)
    trades = trades.assign(entry_volume=traded_at_entries(database, identity, header, trades))
    benchmark = prices.reindex(equity.index)
    within = Interval(header.first_ts or 0, (header.last_ts or 0) + header.series.timeframe.ms)
    with database.transaction() as cursor:
        filled, gaps = read_faults(cursor, header.series, within)
    inputs = ReviewInputs(
        equity,
        # A position that is open counts as the engine settled it, so that all that is told of a result is of the same trades.
        trades.drop(columns="is_open"),
        float(header.config["engine"]["initial_capital"]),
        header.series.timeframe.values_per_year,
        benchmark=benchmark,
        optimistic_return=header.metrics.get("optimistic_total_return"),
        gates=gates.counts,
        filled=filled,
        gaps=gaps,
        risk_reward=gates.risk_rewards,
        trial_sharpes=sweeps.trial_sharpes(database, header.strategy, header.series),
        of_engine=header.metrics,
    )
    rules = SimpleNamespace(**header.config["rules"])
    return conclude(inputs, _exposure(trades, benchmark, equity), rules, of_file=is_of_file(header.strategy))


def conclude(inputs: ReviewInputs, exposure: pd.DataFrame, rules: Any, *, of_file: bool) -> Assessment:
    """What follows from a result. inputs: with benchmark, gates and the engine's metrics. exposure: gross and net, at the times
    of its equity. rules: the strategy's parameters. of_file: is the strategy a person's file?"""
    equity, trades, capital, yearly = inputs.equity, inputs.trades, inputs.initial_capital, inputs.periods_per_year
    benchmark, sharpes = inputs.benchmark, inputs.trial_sharpes
    returns = period_returns(equity.to_numpy(), capital)
    market = np.concatenate(([0.0], period_returns(benchmark.to_numpy()[1:], float(benchmark.iloc[0]))))
    findings = review(inputs)
    verdict = judge(returns, len(trades), trial_sharpes=sharpes, market=market)
    full = full_metrics(equity, trades, benchmark, capital, yearly, exposure, trial_sharpes=sharpes)
    pnl = trades["pnl"].to_numpy(dtype="float64")
    return Assessment(
        with_engine(full, inputs.of_engine),
        benchmark,
        beside_review(verdict, findings, of_file=of_file),
        result_intervals(returns, pnl, yearly),
        trade_outcomes(pnl, capital),
        findings,
        counted_rates(inputs.gates, rules),
    )


def _exposure(trades: pd.DataFrame, prices: pd.Series, equity: pd.Series) -> pd.DataFrame:
    """At the ends of days: whatever was entered on a day is held then, unless it was closed on it."""
    ends = prices.set_axis(prices.index + pd.Timedelta(Timeframe.D1.ms - 1, "ms"))
    return exposure_at_closes(trades, ends, equity.to_numpy())


def read_faults(cursor: Cursor, series: Series, within: Interval) -> tuple[pd.DatetimeIndex, list[Interval]]:
    """Filled bars and gaps of a part of a series, as they are stored now."""
    filled = market_data.read_filled_opens(cursor, series, within)
    gaps = quality_log.read_findings(cursor, series, "gap", within)
    return ts_index(filled), [gap.period for gap in gaps]
