"""Rules of a review that look at trades: their number, where their profit comes from, costs, fills and size. Each takes the
inputs, their trades prepared by `trade_statistics.closed_trades`, and gives one finding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.findings import Finding, ReviewInputs, at_least, below, not_judged
from cryptai_pipelines.backtest.trade_statistics import CAPACITY_SHARE, entry_notionals
from cryptai_pipelines.backtest.verdict import LEAST_TRADES
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval

MOST_OF_ONE_TRADE = 0.5
TOP_SHARE = 0.05
MOST_OF_TOP = 1.0
MOST_OF_ONE_SYMBOL = 1.0
MOST_COSTS = 0.5
MOST_AMBIGUOUS = 0.05
MOST_TOUCHED = 0.05
MOST_WITHIN_A_BAR = 0.5
MOST_AT_END = 0.5
MOST_WINS = 0.95
_ENOUGH_TRADES = 20
_NO_TRADES, _NO_PROFIT = "there are no closed trades", "the trades made no profit"


def few_trades(inputs: ReviewInputs) -> Finding:
    """Fewer than 30 closed trades."""
    count = len(inputs.trades)
    return below("few_trades", "warn", count, LEAST_TRADES, f"{count} closed trades; below {LEAST_TRADES} luck decides.")


def one_trade_makes_profit(inputs: ReviewInputs) -> Finding:
    """The best trade brought half of the profit or more."""
    pnl = _pnl(inputs)
    if not pnl.sum() > 0:
        return not_judged("one_trade_makes_profit", "warn", MOST_OF_ONE_TRADE, _NO_PROFIT)
    share = pnl.max() / pnl.sum()
    sentence = f"The best trade made {share:.0%} of the profit; {MOST_OF_ONE_TRADE:.0%} or more is one lucky trade."
    return at_least("one_trade_makes_profit", "warn", share, MOST_OF_ONE_TRADE, sentence)


def top_trades_make_profit(inputs: ReviewInputs) -> Finding:
    """Without the best 5 % of the trades nothing is left."""
    pnl = _pnl(inputs)
    if not pnl.sum() > 0 or len(pnl) < _ENOUGH_TRADES:
        why = _NO_PROFIT if len(pnl) >= _ENOUGH_TRADES else f"fewer than {_ENOUGH_TRADES} trades"
        return not_judged("top_trades_make_profit", "warn", MOST_OF_TOP, why)
    top = math.ceil(TOP_SHARE * len(pnl))
    share = np.sort(pnl)[-top:].sum() / pnl.sum()
    sentence = f"The best {top} of {len(pnl)} trades made {share:.0%} of the profit; from {MOST_OF_TOP:.0%} on the rest lost."
    return at_least("top_trades_make_profit", "warn", share, MOST_OF_TOP, sentence)


def one_symbol_makes_profit(inputs: ReviewInputs) -> Finding:
    """All other symbols together made nothing."""
    if "symbol" not in inputs.trades or inputs.trades["symbol"].nunique() < 2:
        return not_judged("one_symbol_makes_profit", "warn", MOST_OF_ONE_SYMBOL, "the trades are not of several symbols")
    profits = inputs.trades.groupby("symbol", observed=True)["pnl"].sum()
    if not profits.sum() > 0:
        return not_judged("one_symbol_makes_profit", "warn", MOST_OF_ONE_SYMBOL, _NO_PROFIT)
    share = profits.max() / profits.sum()
    others = f"from {MOST_OF_ONE_SYMBOL:.0%} on the others made none"
    sentence = f"{profits.idxmax()} made {share:.0%} of the profit of {len(profits)} symbols; {others}."
    return at_least("one_symbol_makes_profit", "warn", share, MOST_OF_ONE_SYMBOL, sentence)


def costs_eat_edge(inputs: ReviewInputs) -> Finding:
    """Half of what was earned before costs went into them."""
    costs = _costs(inputs.trades)
    before = _pnl(inputs).sum() + costs
    if not before > 0:
        return not_judged("costs_eat_edge", "warn", MOST_COSTS, "nothing was earned before costs")
    share = costs / before
    sentence = (
        f"Costs of {costs:,.2f} took {share:.0%} of the {before:,.2f} earned before them; {MOST_COSTS:.0%} is a thin edge."
    )
    return at_least("costs_eat_edge", "warn", share, MOST_COSTS, sentence)


def no_costs(inputs: ReviewInputs) -> Finding:
    """No trade paid fees, slippage or funding."""
    if not len(inputs.trades):
        return not_judged("no_costs", "error", 1.0, "there are no trades")
    free = _costs(inputs.trades) == 0
    sentence = f"{'No' if free else 'Some'} fees or slippage were charged; no market trades for nothing."
    return at_least("no_costs", "error", float(free), 1.0, sentence)


def ambiguous_trades(inputs: ReviewInputs) -> Finding:
    """Bars too coarse for the levels."""
    return _share_of_trades(
        "ambiguous_trades",
        inputs.trades["ambiguous"].to_numpy(dtype=bool),
        MOST_AMBIGUOUS,
        "closed in a bar that touched both target and stop",
    )


def exits_within_entry_bar(inputs: ReviewInputs) -> Finding:
    """Levels nearer than a bar can resolve."""
    within = (inputs.trades["exit_ts"] == inputs.trades["entry_ts"]).to_numpy()
    return _share_of_trades("exits_within_entry_bar", within, MOST_WITHIN_A_BAR, "ended in the bar of their entry")


def same_bar_order_decides(inputs: ReviewInputs) -> Finding:
    """The sign of the result depends on what was touched first."""
    told = inputs.optimistic_return
    if told is None or not len(inputs.equity):
        return not_judged("same_bar_order_decides", "error", 0.0, "no optimistic result was given")
    pessimistic = float(inputs.equity.iloc[-1]) / inputs.initial_capital - 1
    sentence = f"Between {pessimistic:.2%} and {told:.2%}, depending on what was touched first in ambiguous bars."
    return Finding("same_bar_order_decides", "error", pessimistic <= 0 < told, told, 0.0, sentence)


def trades_on_filled_bars(inputs: ReviewInputs) -> Finding:
    """Positions held over bars that nobody traded."""
    if inputs.filled is None:
        return not_judged("trades_on_filled_bars", "warn", MOST_TOUCHED, "no filled bars were given")
    touched = _touched(inputs.trades, inputs.filled, _over_filled_bars)
    return _share_of_trades("trades_on_filled_bars", touched, MOST_TOUCHED, "were held over filled bars")


def trades_across_gaps(inputs: ReviewInputs) -> Finding:
    """Positions held over missing bars: what happened there is unknown."""
    if inputs.gaps is None:
        return not_judged("trades_across_gaps", "warn", MOST_TOUCHED, "no gaps were given")
    touched = _touched(inputs.trades, inputs.gaps, _across_gaps)
    return _share_of_trades("trades_across_gaps", touched, MOST_TOUCHED, "were held across missing bars")


def profit_at_the_end(inputs: ReviewInputs) -> Finding:
    """The profit is that of positions which no rule closed."""
    pnl = _pnl(inputs)
    if not pnl.sum() > 0:
        return not_judged("profit_at_the_end", "warn", MOST_AT_END, _NO_PROFIT)
    share = pnl[(inputs.trades["exit_reason"] == "end").to_numpy()].sum() / pnl.sum()
    sentence = (
        f"{share:.0%} of the profit is of positions closed because the data ended; {MOST_AT_END:.0%} or more is no rule's."
    )
    return at_least("profit_at_the_end", "warn", share, MOST_AT_END, sentence)


def win_rate_too_good(inputs: ReviewInputs) -> Finding:
    """Nearly every trade won: suspect a look ahead."""
    pnl = _pnl(inputs)
    if len(pnl) < _ENOUGH_TRADES:
        return not_judged("win_rate_too_good", "error", MOST_WINS, f"fewer than {_ENOUGH_TRADES} trades")
    rate = float(np.mean(pnl > 0))
    sentence = f"{rate:.1%} of {len(pnl)} trades won; from {MOST_WINS:.0%} on suspect a look ahead."
    return at_least("win_rate_too_good", "error", rate, MOST_WINS, sentence)


def too_large_for_the_market(inputs: ReviewInputs) -> Finding:
    """Entries take more of their bar than could be had at its price."""
    if not len(inputs.trades) or "entry_volume" not in inputs.trades:
        return not_judged("too_large_for_the_market", "warn", CAPACITY_SHARE, "the volume in the bars of entry was not given")
    volume = inputs.trades["entry_volume"].to_numpy(dtype="float64")
    notional = entry_notionals(inputs.trades)
    taken = np.divide(notional, volume, out=np.full(len(volume), np.inf), where=volume > 0)
    share = float(np.quantile(taken, 0.95, method="higher"))
    sentence = f"One entry in twenty takes {share:.2%} or more of what its bar trades; above {CAPACITY_SHARE:.0%} prices move."
    return Finding("too_large_for_the_market", "warn", share > CAPACITY_SHARE, share, CAPACITY_SHARE, sentence)


def _touched(trades: pd.DataFrame, faults: Any, touches: Callable[[pd.DataFrame, Any], np.ndarray]) -> np.ndarray:
    """Whether each trade was held over one of the faults, of its own symbol where they are by symbol."""
    if not isinstance(faults, Mapping):
        return touches(trades, faults)
    touched = np.zeros(len(trades), dtype=bool)
    for symbol, own in faults.items():
        rows = (trades["symbol"] == symbol).to_numpy()
        touched[rows] = touches(trades[rows], own)
    return touched


def _over_filled_bars(trades: pd.DataFrame, times: pd.DatetimeIndex) -> np.ndarray:
    entries, exits = _span(trades)
    filled = np.sort(index_ms(times))
    return np.searchsorted(filled, exits, side="right") > np.searchsorted(filled, entries, side="left")


def _across_gaps(trades: pd.DataFrame, gaps: Sequence[Interval]) -> np.ndarray:
    entries, exits = _span(trades)
    touched = np.zeros(len(entries), dtype=bool)
    for start, end in gaps:
        touched |= (entries < end) & (exits >= start)
    return touched


def _share_of_trades(code: str, touched: np.ndarray, threshold: float, what: str) -> Finding:
    if not len(touched):
        return not_judged(code, "warn", threshold, _NO_TRADES)
    count, share = int(touched.sum()), float(np.mean(touched))
    sentence = f"{count} of {len(touched)} trades ({share:.1%}) {what}; from {threshold:.0%} on the result rests on them."
    return at_least(code, "warn", share, threshold, sentence)


def _pnl(inputs: ReviewInputs) -> np.ndarray:
    return inputs.trades["pnl"].to_numpy(dtype="float64")


def _costs(trades: pd.DataFrame) -> float:
    slippage = float(trades["slippage_cost"].sum()) if "slippage_cost" in trades else 0.0
    funding = float(trades["funding"].sum()) if "funding" in trades else 0.0
    return float(trades["fees"].sum()) + slippage + max(0.0, -funding)


def _span(trades: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return index_ms(pd.DatetimeIndex(trades["entry_ts"])), index_ms(pd.DatetimeIndex(trades["exit_ts"]))
