"""Many combinations of target and stop on the same bars and entries in one call. The arithmetic is in `exit_grid_kernel`, one
backtest in `simulation`; which combinations are worth a try is the affair of `search`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.exit_grid_kernel import POSITION_DTYPE, TOTALS_DTYPE, Charges, Market, compiled
from cryptai_pipelines.backtest.extremes import Extremes, extremes
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.kernel import LONG_FLAG
from cryptai_pipelines.backtest.market_arrays import ORDER_COLUMNS, BarArrays
from cryptai_pipelines.backtest.parameters import ALWAYS_TOLD, NO_RULES, EngineParameters, MarketRules
from cryptai_pipelines.backtest.point_metrics import POINT_METRICS, daily_returns, return_columns, trade_columns
from cryptai_pipelines.backtest.return_metrics import DAYS_PER_YEAR, bars_per_year
from cryptai_pipelines.market.errors import BadArgument

_DAY_MS = 86_400_000
_STOP_LEVEL, _TARGET_LEVEL, _LIMIT = (ORDER_COLUMNS.index(name) for name in ("stop_level", "target_level", "limit_price"))
# What one thread works on at a time: enough to be worth a call, little enough to keep the days of it in memory.
_PAIRS_AT_A_TIME = 128


@dataclass(frozen=True)
class ExitGrid:
    """metrics: one row per combination in the order given, columns `point_metrics.POINT_METRICS`, float64. daily_returns: a row
    per combination and a column per UTC day that has a bar, float64; None where they were not asked for."""

    metrics: pd.DataFrame
    daily_returns: np.ndarray | None


def exit_grid(
    bars: pd.DataFrame,
    entries: pd.Series,
    take_profits: Sequence[float] | np.ndarray,
    stop_losses: Sequence[float] | np.ndarray,
    fee_rate: float = 0.001,
    slippage_bps: float = 0.0,
    initial_capital: float = 10_000.0,
    size: float = 1.0,
    *,
    keep_returns: bool = False,
    threads: int | None = None,
) -> ExitGrid:
    """What `simulate` gives for each pair of `take_profits` and `stop_losses` (of one length), with the same trades to the last
    bit, at the cost of the positions instead of the bars.

    The other arguments are those of `simulate`, and so are the errors. Metrics of returns are over daily values, as in the
    scheduled backtest; the drawdown is over bars. `threads`: None for one per core; results do not depend on it.
    """
    pairs = _pairs(take_profits, stop_losses)
    parameters = EngineParameters(fee_rate=fee_rate, slippage_bps=slippage_bps, initial_capital=initial_capital, size=size)
    arrays = bar_arrays(bars, entries)
    yearly = min(DAYS_PER_YEAR, bars_per_year(arrays.ts))
    return run_grid(arrays, pairs, parameters, periods_per_year=yearly, keep_returns=keep_returns, threads=threads)


def run_grid(
    arrays: BarArrays,
    pairs: np.ndarray,
    parameters: EngineParameters,
    rules: MarketRules = NO_RULES,
    periods_per_year: float = DAYS_PER_YEAR,
    *,
    keep_returns: bool = False,
    threads: int | None = None,
) -> ExitGrid:
    """`exit_grid` over checked bars and orders: `pairs` float64 of two columns, target and stop; costs, capital and size of
    `parameters`, the `rules` of the market, and how many daily values a year has (`Timeframe.values_per_year`). What is ordered
    and what else is asked for must be known to the grid (see the two functions of that name)."""
    market, charges = market_of(arrays), charges_of(parameters, rules)
    columns = {name: np.full(len(pairs), math.nan) for name in POINT_METRICS}
    returns = np.empty((len(pairs), len(market.day_ends))) if keep_returns else None

    def work(part: slice) -> None:
        totals, optimistic, values = _run(market, charges, pairs[part])
        for name, found in _columns(market, charges, totals, optimistic, values, periods_per_year).items():
            columns[name][part] = found
        if returns is not None:
            returns[part] = daily_returns(values, charges.initial_capital)

    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for _ in pool.map(work, _parts(len(pairs))):
            pass
    return ExitGrid(pd.DataFrame(columns), returns)


def known_to_grid(parameters: EngineParameters) -> bool:
    """Whether these ask of the engine nothing but target, stop, fees, fixed slippage and a share of the capital. Without limit
    orders no fee is a maker's."""
    return set(parameters.told) - {"maker_fee_rate"} == set(ALWAYS_TOLD)


def orders_known_to_grid(arrays: BarArrays) -> bool:
    """Whether these are orders for longs at the next open, with levels and exits but without a limit."""
    return bool((arrays.sides >= 0).all()) and (arrays.orders is None or bool(np.isnan(arrays.orders[:, _LIMIT]).all()))


def grid_trades(
    bars: pd.DataFrame, entries: pd.Series, parameters: EngineParameters, *, target_first: bool = False
) -> np.ndarray:
    """The trades of one combination, the position open at the end closed, as `POSITION_DTYPE` records; `target_first` for the
    optimistic book. `parameters` may ask for what the grid knows only, see `exit_grid`."""
    return pair_trades(bar_arrays(bars, entries), parameters, target_first=target_first)


def pair_trades(
    arrays: BarArrays, parameters: EngineParameters, rules: MarketRules = NO_RULES, *, target_first: bool = False
) -> np.ndarray:
    """`grid_trades` over checked bars and orders."""
    market = market_of(arrays)
    positions = np.zeros(np.count_nonzero(arrays.entries) + 1, dtype=POSITION_DTYPE)
    totals, pair = np.zeros(1, dtype=TOTALS_DTYPE), (parameters.take_profit, parameters.stop_loss)
    levels = [np.array([level]) for level in pair]
    compiled()(market, charges_of(parameters, rules), *levels, target_first, totals, np.empty((0, 0)), positions)
    return positions[: totals[0]["trades"]]


def market_of(arrays: BarArrays) -> Market:
    """Bars and orders as the kernel reads them, with both indexes."""
    bars = len(arrays.ts)
    leaving = np.zeros(0, dtype=bool) if arrays.leave is None else (arrays.leave & LONG_FLAG) != 0
    # A bar that orders to leave a position orders none.
    asked = (arrays.sides > 0) & ~leaving if len(leaving) else arrays.sides > 0
    at_open = np.zeros(bars, dtype=bool)
    at_open[1:] = asked[:-1] & arrays.tradable[1:]
    next_entry = _next_where(at_open)
    leave_at = np.empty(0, dtype=np.int64)
    if leaving.any():
        # From the first order to leave on, the first open after it that can be traded.
        leave_at = np.append(_next_where(arrays.tradable)[1:], bars)[_next_where(leaving)[:-1]]
    levels = [np.empty(0), np.empty(0)]
    if arrays.orders is not None:
        signals = np.flatnonzero(arrays.sides)
        levels = [_at_entry(bars, signals, arrays.orders[:, place]) for place in (_STOP_LEVEL, _TARGET_LEVEL)]
    days = arrays.ts // _DAY_MS
    day_ends = np.flatnonzero(np.append(days[1:] != days[:-1], True)) if bars else np.empty(0, dtype=np.int64)
    lowest = np.where(arrays.tradable, np.minimum(arrays.open, arrays.low), math.inf)
    highest = np.where(arrays.tradable, np.maximum(arrays.open, arrays.high), -math.inf)
    prices = (arrays.open, arrays.high, arrays.low, arrays.close)
    index, closes = _index(lowest, highest), _index(arrays.close, arrays.close)
    return Market(arrays.ts, *prices, index, closes, next_entry, day_ends, leave_at, *levels)


def _next_where(holds: np.ndarray) -> np.ndarray:
    """For every row and one after the last the first row from there on that holds; their number where none does. int64."""
    rows = np.append(np.where(holds, np.arange(len(holds)), len(holds)), len(holds)).astype(np.int64)
    return np.minimum.accumulate(rows[::-1])[::-1].copy()


def _at_entry(bars: int, signals: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Levels by the bar at whose open their signal is filled, NaN elsewhere; of no length where there is none."""
    known = ~np.isnan(levels) & (signals + 1 < bars)
    if not known.any():
        return np.empty(0)
    placed = np.full(bars, math.nan)
    placed[signals[known] + 1] = levels[known]
    return placed


def charges_of(parameters: EngineParameters, rules: MarketRules = NO_RULES) -> Charges:
    """The part of the parameters that every pair shares, and the rules of the market."""
    slippage = float(parameters.record()[0]["slippage"])
    return Charges(parameters.fee_rate, slippage, parameters.initial_capital, parameters.size, *astuple(rules))


def _index(lowest: np.ndarray, highest: np.ndarray) -> Extremes:
    return extremes(lowest, highest) if len(lowest) else Extremes(lowest, highest, np.zeros(2, dtype=np.int64))


def _run(market: Market, charges: Charges, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Totals, final cash of the optimistic book and equity per day of each pair."""
    targets, stops = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    totals = np.zeros(len(pairs), dtype=TOTALS_DTYPE)
    values, no_days = np.empty((len(pairs), len(market.day_ends))), np.empty((0, 0))
    positions = np.zeros(0, dtype=POSITION_DTYPE)
    compiled()(market, charges, targets, stops, False, totals, values, positions)
    optimistic = totals["cash"].copy()
    # Without an ambiguous bar the two books are one.
    doubted = np.flatnonzero(totals["ambiguous"])
    if len(doubted):
        others = np.zeros(len(doubted), dtype=TOTALS_DTYPE)
        compiled()(market, charges, targets[doubted], stops[doubted], True, others, no_days, positions)
        optimistic[doubted] = others["cash"]
    return totals, optimistic, values


def _columns(
    market: Market,
    charges: Charges,
    totals: np.ndarray,
    optimistic: np.ndarray,
    values: np.ndarray,
    periods_per_year: float,
) -> dict[str, np.ndarray]:
    bars, capital = len(market.ts), charges.initial_capital
    span_days = (int(market.ts[-1]) - int(market.ts[0])) / _DAY_MS if bars else 0.0
    found = {
        "total_return": totals["cash"] / capital - 1,
        **return_columns(values, capital, span_days, periods_per_year),
        "max_drawdown": totals["max_drawdown"],
        **trade_columns(totals),
        "exposure": totals["bars_in_market"] / bars if bars else np.full(len(totals), math.nan),
        "fees_paid": totals["fees"],
        "trade_count": totals["trades"],
        "ambiguous_count": totals["ambiguous"],
        "final_equity": totals["cash"],
        "optimistic_total_return": optimistic / capital - 1,
    }
    return {name: found[name].astype("float64") for name in POINT_METRICS}


def _parts(count: int) -> Iterator[slice]:
    return (slice(begin, min(begin + _PAIRS_AT_A_TIME, count)) for begin in range(0, count, _PAIRS_AT_A_TIME))


def _pairs(take_profits: Sequence[float] | np.ndarray, stop_losses: Sequence[float] | np.ndarray) -> np.ndarray:
    columns = []
    for name, given in (("take_profits", take_profits), ("stop_losses", stop_losses)):
        try:
            columns.append(np.asarray(given, dtype="float64").reshape(-1))
        except (TypeError, ValueError):
            raise BadArgument(f"{name} {given!r:.60} is not a list of numbers") from None
    targets, stops = columns
    if len(targets) != len(stops) or not len(targets):
        raise BadArgument(f"take_profits has {len(targets)} values and stop_losses {len(stops)}; accepted: as many, at least 1")
    for name, values, holds, accepted in (
        ("take_profits", targets, targets > 0, "a share above 0, such as 0.15"),
        (
            "stop_losses",
            stops,
            (stops > 0) & ((stops < 1) | np.isinf(stops)),
            "a share above 0 and below 1, or infinity for none",
        ),
    ):
        if not holds.all():
            row = int(np.argmin(holds))
            raise BadArgument(f"{name} is {values[row]} in row {row}; accepted: {accepted}")
    return np.column_stack((targets, stops))
