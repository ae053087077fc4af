"""The review of a backtest: what a careful reader would complain of, as findings. What is a finding is in `findings`; the rules
and their thresholds are in `review_trades`, `review_returns` and `review_setup`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cryptai_pipelines.backtest import review_returns, review_setup, review_trades
from cryptai_pipelines.backtest.findings import Finding, ReviewInputs
from cryptai_pipelines.backtest.trade_statistics import closed_trades

__all__ = ["REVIEW_VERSION", "RULES", "Finding", "ReviewInputs", "review"]

REVIEW_VERSION = 1
"""A change of a rule, of a threshold, of the verdict or of a sentence raises it: results are judged again then."""

RULES: tuple[Callable[[ReviewInputs], Finding], ...] = (
    review_trades.few_trades,
    review_trades.one_trade_makes_profit,
    review_trades.top_trades_make_profit,
    review_trades.one_symbol_makes_profit,
    review_trades.costs_eat_edge,
    review_trades.no_costs,
    review_trades.ambiguous_trades,
    review_trades.exits_within_entry_bar,
    review_trades.same_bar_order_decides,
    review_trades.trades_on_filled_bars,
    review_trades.trades_across_gaps,
    review_trades.profit_at_the_end,
    review_trades.win_rate_too_good,
    review_trades.too_large_for_the_market,
    review_returns.ruin,
    review_returns.deep_drawdown,
    review_returns.flat_equity,
    review_returns.halves_disagree,
    review_returns.worse_than_buy_and_hold,
    review_returns.regime_concentration,
    review_returns.unrest_concentration,
    review_returns.short_sample,
    review_returns.luck_of_trials,
    review_returns.sharpe_too_good,
    review_setup.gate_never_rejects,
    review_setup.gate_always_rejects,
    review_setup.gate_seldom_known,
    review_setup.constant_risk_reward,
    review_setup.parameter_on_edge,
    review_setup.in_sample,
    review_setup.symbols_chosen_afterwards,
)
"""Every rule gives the finding of its own name, whatever the inputs."""


def review(inputs: ReviewInputs) -> tuple[Finding, ...]:
    """One finding per rule, in the order of `RULES`, those that do not hold or could not be judged among them. `BadInput` for
    trades that `trade_statistics` does not take."""
    prepared = replace(inputs, trades=closed_trades(inputs.trades))
    return tuple(rule(prepared) for rule in RULES)
