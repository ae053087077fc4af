"""How much of what a search found may be luck, and what a careful reader would complain of in its best point. How each is
computed is in `backtest`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import daily_rows
from cryptai_pipelines.backtest.evaluation import Evaluator
from cryptai_pipelines.backtest.return_metrics import period_returns
from cryptai_pipelines.backtest.review import Finding, ReviewInputs, review
from cryptai_pipelines.backtest.search import Found, Plan, best, first_refused
from cryptai_pipelines.backtest.search_space import Dimension
from cryptai_pipelines.backtest.significance import BLOCKS, backtest_overfitting
from cryptai_pipelines.backtest.subject import Span, Subject, parameters_of
from cryptai_pipelines.backtest.trade_statistics import entry_volumes
from cryptai_pipelines.backtest.verdict import Verdict, beside_review, judge
from cryptai_pipelines.strategy.signals import is_of_file

# Cross-validation holds matrices of this width; of more points every so manieth stands for all.
POINTS_CROSS_VALIDATED = 1_000


def judged(subject: Subject, plan: Plan, found: Sequence[Found], span: Span | None, trials: np.ndarray) -> dict[str, Any]:
    """The verdict on the best point and the findings that hold for it. `trials`: per-day Sharpe ratios of all trials that were
    ever made of the strategy on the series. None for what cannot be told."""
    refused = sum(isinstance(one.result, str) for one in found)
    first = first_refused(found)
    why = None if first is None else {"point": first.point, "reason": first.result}
    told: dict[str, Any] = {"objective": plan.objective, "points_refused": refused, "first_refused": why, "trials": len(trials)}
    told |= dict.fromkeys(("better_than_market", "dsr", "verdict", "findings"))
    chosen = best(found, plan.objective)
    if chosen is None:
        return told
    result = Evaluator(subject).simulate(chosen.point, span)
    closes = subject.bars["close"].reindex(result.equity.index)
    equity, market = _day_ends(result.equity), _day_ends(closes)
    capital = parameters_of(subject, chosen.point)[1].initial_capital
    returns = daily_rows(result.equity, capital)["daily_return"].to_numpy()
    of_market = period_returns(market.to_numpy(), float(subject.bars["open"].loc[result.equity.index[0]]))
    inputs = ReviewInputs(
        equity,
        result.trades.assign(entry_volume=entry_volumes(result.trades, subject.bars)),
        capital,
        subject.timeframe.values_per_year,
        benchmark=market,
        optimistic_return=result.optimistic.metrics["total_return"],
        filled=subject.bars.index[subject.bars["is_filled"].to_numpy()],
        grid=_grid(plan.space, chosen),
        trial_sharpes=trials,
        of_engine=result.metrics,
    )
    reviewed = review(inputs)
    verdict = judge(returns, len(result.trades), trial_sharpes=trials, market=of_market)
    verdict = beside_review(verdict, reviewed, of_file=is_of_file(subject.strategy))
    return {**told, **told_plainly(verdict, reviewed)}


def told_plainly(verdict: Verdict, reviewed: Sequence[Finding]) -> dict[str, Any]:
    """A verdict and the findings that hold, as plain data."""
    return {
        "better_than_market": verdict.better_than_market,
        "dsr": verdict.dsr,
        "verdict": {"answer": verdict.answer, "reasons": list(verdict.reasons)},
        "findings": [{"code": one.code, "severity": one.severity, "sentence": one.sentence} for one in reviewed if one.holds],
    }


def overfitting(
    found: Sequence[Found], kept: dict[int, np.ndarray], evaluate: Callable[[list[Found]], np.ndarray]
) -> float | None:
    """The probability of backtest overfitting among the points that can be; None for fewer than two, or too few days.

    kept: daily returns by number that are known already. evaluate: gives those of other points, a row each."""
    possible = [one for one in found if not isinstance(one.result, str)]
    sample = possible[:: -(-len(possible) // POINTS_CROSS_VALIDATED) or 1]
    missing = [one for one in sample if one.number not in kept]
    rows = dict(kept)
    if missing:
        rows.update(zip((one.number for one in missing), evaluate(missing), strict=True))
    if len(sample) < 2 or len(rows[sample[0].number]) < 2 * BLOCKS:
        return None
    return backtest_overfitting(np.array([rows[one.number] for one in sample], dtype="float64").T).probability


def _grid(space: Sequence[Dimension], chosen: Found) -> dict[str, tuple[float, Sequence[float]]]:
    """By name the chosen value and all that were tried, of the parameters whose values have an order."""
    told = {}
    for dimension in space:
        value, tried = chosen.point[dimension.name], dimension.values or (dimension.low, dimension.high)
        if dimension.ordered and len(tried) > 1 and not isinstance(value, str | bool):
            told[dimension.name] = (float(value), [float(one) for one in tried])
    return told


def _day_ends(values: pd.Series) -> pd.Series:
    return values.groupby(values.index.floor("D")).tail(1)
