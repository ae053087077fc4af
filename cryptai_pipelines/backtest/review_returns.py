"""Rules of a review that look at equity, beside the market where it is given. Each takes the inputs and gives one finding."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.drawdowns import drawdown_curve
from cryptai_pipelines.backtest.findings import Finding, ReviewInputs, at_least, below, not_judged
from cryptai_pipelines.backtest.return_metrics import DAY_MS, long_enough, period_returns, sharpe_ratio, span_of, until_ruin
from cryptai_pipelines.backtest.significance import deflated_sharpe, least_track_record, probabilistic_sharpe
from cryptai_pipelines.backtest.tables import regime_table
from cryptai_pipelines.backtest.verdict import CONFIDENCE
from cryptai_pipelines.market.bars import index_ms

LONGEST_FLAT = 0.5
MOST_OF_ONE_REGIME = 0.9
DEEPEST = -0.5
BEST_SHARPE = 5.0
_LEAST_MONTHS = 6.0
_NO_EQUITY, _NO_PROFIT, _NO_BENCHMARK = "there is no equity", "there is no profit", "no benchmark was given"


def ruin(inputs: ReviewInputs) -> Finding:
    """Nothing was left at some time."""
    lowest = float(inputs.equity.min()) if len(inputs.equity) else math.nan
    sentence = f"The lowest equity was {lowest:,.2f}; at 0 everything after it is fiction."
    return Finding("ruin", "error", lowest <= 0, lowest, 0.0, sentence)


def deep_drawdown(inputs: ReviewInputs) -> Finding:
    """Half of the capital was lost on the way."""
    if not len(inputs.equity):
        return not_judged("deep_drawdown", "warn", DEEPEST, _NO_EQUITY)
    told = inputs.of_engine.get("max_drawdown")
    deepest = float(drawdown_curve(inputs.equity.to_numpy(), inputs.initial_capital).min()) if told is None else told
    sentence = f"The maximum drawdown was {deepest:.1%}; few stay in beyond {DEEPEST:.0%}."
    return Finding("deep_drawdown", "warn", deepest <= DEEPEST, deepest, DEEPEST, sentence)


def flat_equity(inputs: ReviewInputs) -> Finding:
    """Long without a new high."""
    days = span_of(inputs.equity.index)
    if days == 0:
        return not_judged("flat_equity", "warn", LONGEST_FLAT, _NO_EQUITY)
    values = inputs.equity.to_numpy(dtype="float64")
    before = np.concatenate(([inputs.initial_capital], np.maximum(np.maximum.accumulate(values)[:-1], inputs.initial_capital)))
    highs = inputs.equity.index[values > before]
    marks = pd.DatetimeIndex([inputs.equity.index[0], *highs, inputs.equity.index[-1]])
    longest = float(np.max(np.diff(index_ms(marks)))) / DAY_MS
    sentence = (
        f"{longest:,.0f} of {days:,.0f} days passed without a new high; from {LONGEST_FLAT:.0%} on the gain is of the rest."
    )
    return at_least("flat_equity", "warn", longest / days, LONGEST_FLAT, sentence)


def halves_disagree(inputs: ReviewInputs) -> Finding:
    """Profit only before or only after the middle of the time."""
    if not _profit(inputs) > 0:
        return not_judged("halves_disagree", "warn", 0.0, _NO_PROFIT)
    index = inputs.equity.index
    middle = index[0] + (index[-1] - index[0]) / 2
    half = float(inputs.equity[index <= middle].iloc[-1])
    if half <= 0:
        return not_judged("halves_disagree", "warn", 0.0, "there was nothing left in the middle")
    first, second = half / inputs.initial_capital - 1, float(inputs.equity.iloc[-1]) / half - 1
    sentence = f"{first:.2%} until {middle:%Y-%m-%d} and {second:.2%} after it; an edge shows in both."
    return Finding("halves_disagree", "warn", min(first, second) <= 0, min(first, second), 0.0, sentence)


def worse_than_buy_and_hold(inputs: ReviewInputs) -> Finding:
    """Less than doing nothing would have brought."""
    if inputs.benchmark is None or not len(inputs.equity):
        return not_judged("worse_than_buy_and_hold", "warn", 0.0, _NO_BENCHMARK)
    ours, told = _profit(inputs) / inputs.initial_capital, inputs.of_engine.get("buy_and_hold_return")
    held = float(inputs.benchmark.iloc[-1] / inputs.benchmark.iloc[0]) - 1 if told is None else told
    return below("worse_than_buy_and_hold", "warn", ours - held, 0.0, f"{ours:.2%} where holding brought {held:.2%}.")


def regime_concentration(inputs: ReviewInputs) -> Finding:
    """Growth nearly only while the market rose, or fell, or went nowhere."""
    return _concentration(inputs, "regime_concentration", ("up", "down", "flat"), "months in which the market went")


def unrest_concentration(inputs: ReviewInputs) -> Finding:
    """Growth nearly only in calm or in wild months."""
    return _concentration(inputs, "unrest_concentration", ("calm", "wild"), "months in which the market was")


def short_sample(inputs: ReviewInputs) -> Finding:
    """Fewer returns than such a Sharpe ratio needs."""
    returns = _returns(inputs)
    needed = least_track_record(returns)
    if not math.isfinite(needed):
        return not_judged("short_sample", "warn", math.nan, "there is no Sharpe ratio above 0")
    sentence = f"{len(returns):,} returns; such a Sharpe ratio takes {math.ceil(needed):,} to be told from 0."
    return below("short_sample", "warn", len(returns), needed, sentence)


def luck_of_trials(inputs: ReviewInputs) -> Finding:
    """Significant by itself, not beside all that was tried."""
    if inputs.trial_sharpes is None:
        return not_judged("luck_of_trials", "warn", CONFIDENCE, "the trials were not given")
    alone, among = probabilistic_sharpe(_returns(inputs)), deflated_sharpe(_returns(inputs), inputs.trial_sharpes)
    if not alone >= CONFIDENCE:
        return not_judged("luck_of_trials", "warn", CONFIDENCE, "the result is not significant even as a single trial")
    if math.isnan(among):
        return not_judged("luck_of_trials", "warn", CONFIDENCE, "fewer than two different ratios of the trials are known")
    sentence = (
        f"An edge by itself with {alone:.1%}, among {len(inputs.trial_sharpes):,} trials with {among:.1%};"
        f" below {CONFIDENCE:.0%} the number of trials explains it."
    )
    return below("luck_of_trials", "warn", among, CONFIDENCE, sentence)


def sharpe_too_good(inputs: ReviewInputs) -> Finding:
    """Better than anybody is: suspect a look ahead."""
    returns = _returns(inputs)
    if not long_enough(len(returns), span_of(inputs.equity.index)):
        return not_judged("sharpe_too_good", "error", BEST_SHARPE, "fewer than 30 returns or 14 days")
    ratio = sharpe_ratio(returns, inputs.periods_per_year)
    sentence = f"The Sharpe ratio is {ratio:.2f}; from {BEST_SHARPE:g} on suspect a look ahead."
    return at_least("sharpe_too_good", "error", ratio, BEST_SHARPE, sentence)


def _concentration(inputs: ReviewInputs, code: str, kinds: tuple[str, ...], what: str) -> Finding:
    """Does one kind of month bring all of the growth, measured in logarithms, which add up?"""
    if inputs.benchmark is None or not _profit(inputs) > 0 or float(inputs.equity.min()) <= 0:
        why = _NO_BENCHMARK if inputs.benchmark is None else _NO_PROFIT
        return not_judged(code, "warn", MOST_OF_ONE_REGIME, why)
    table = regime_table(inputs.equity, inputs.benchmark, inputs.initial_capital)
    table = table[table.index.isin(kinds)]
    others = table["months"].sum() - table["months"].max()
    if table["months"].sum() < _LEAST_MONTHS or len(table) < 2 or others < 2:
        return not_judged(code, "warn", MOST_OF_ONE_REGIME, "there are too few months of more than one kind")
    growth = np.log1p(table["strategy_return"])
    share = float(growth.max() / growth.sum())
    best = growth.idxmax()
    sentence = (
        f"{share:.0%} of the growth is of the {table.loc[best, 'months']:.0f} of {table['months'].sum():.0f} {what} {best};"
        f" from {MOST_OF_ONE_REGIME:.0%} on the result rests on them."
    )
    return at_least(code, "warn", share, MOST_OF_ONE_REGIME, sentence)


def _profit(inputs: ReviewInputs) -> float:
    return float(inputs.equity.iloc[-1]) - inputs.initial_capital if len(inputs.equity) else 0.0


def _returns(inputs: ReviewInputs) -> np.ndarray:
    return period_returns(until_ruin(inputs.equity.to_numpy(dtype="float64")), inputs.initial_capital)
