"""Portfolio rows per UTC day, from equity per bar and from trades. Metrics over those rows are in `metrics`.

Any split of the history into steps gives the same rows to the last bit: a row is made of its own bars, of the rows before it
that its window reaches, and of trades, whose totals are added up one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.return_metrics import (
    DAY_MS,
    DAYS_PER_YEAR,
    LEAST_RETURNS,
    annual_volatility,
    sharpe_ratio,
    value_at_risk,
)
from cryptai_pipelines.backtest.trade_statistics import closed_trades
from cryptai_pipelines.market.bars import index_ms, ts_index

ROLLING_ROWS = 90
"""How many of the last rows, the day's own among them, a rolling metric is made of."""

DAILY_COLUMNS = (
    "total_value",
    "daily_return",
    "cumulative_return",
    "drawdown",
    "rolling_volatility",
    "rolling_sharpe",
    "var_95",
    "trade_count",
    "win_rate",
    "profit_factor",
    "expectancy",
    "fees_paid",
)


def settled_days(values: pd.Series, of_engine: Mapping[str, float | None]) -> pd.Series:
    """`total_value` by day with the engine's `final_equity` as the last: the position open there is closed, with costs."""
    settled = values.astype("float64")
    if len(settled):
        settled.iloc[-1] = of_engine["final_equity"]
    return settled


def performance_rows(
    equity: pd.Series,
    trades: pd.DataFrame,
    initial_capital: float,
    before: pd.DataFrame | None = None,
    previous_peak: float | None = None,
    *,
    periods_per_year: float = DAYS_PER_YEAR,
) -> pd.DataFrame:
    """`daily_rows` with the rolling metrics and the trade statistics to date: float64 columns `DAILY_COLUMNS`.

    equity: as in `daily_rows`, from the first bar of a day on. trades: all of the history up to the last bar (columns of
    `trade_statistics`), in any order; those with `is_open` are left out, a closed one counts from the day of its exit on.
    before: the stored rows before the first day of `equity` with total_value and daily_return, the last `ROLLING_ROWS` - 1
    at least; None or empty at the start of the history. previous_peak: the highest total_value of all rows before, needed
    where `before` has not all of them.

    rolling_volatility, rolling_sharpe (annualised with `periods_per_year`, how many rows a year has) and var_95: over the daily
    returns of the last `ROLLING_ROWS` rows, NaN below 30 of them. trade_count, fees_paid: 0 before the first exit; win_rate,
    profit_factor and expectancy: NaN until then, profit_factor infinite while nothing was lost.
    """
    known = before is not None and len(before) > 0
    value = float(before["total_value"].iloc[-1]) if known else None
    peak = float(before["total_value"].max()) if known and previous_peak is None else previous_peak
    rows = daily_rows(equity, initial_capital, value, peak)
    earlier = before["daily_return"].to_numpy(dtype="float64")[-(ROLLING_ROWS - 1) :] if known else np.empty(0)
    columns = _rolling(np.concatenate((earlier, rows["daily_return"].to_numpy())), len(rows), periods_per_year)
    return rows.assign(**columns, **_to_date(trades, rows.index))[list(DAILY_COLUMNS)]


def daily_rows(
    equity: pd.Series,
    initial_capital: float,
    previous_value: float | None = None,
    previous_peak: float | None = None,
) -> pd.DataFrame:
    """One row per UTC day that has a bar: index `day` (datetime64[ms, UTC], midnight), float64 columns total_value,
    daily_return, cumulative_return, drawdown.

    equity: per bar, indexed by UTC open time, ascending. The value of a day is the equity at its last bar, with an open
    position at the market price. A day without bars has no row; the return of the next one spans it.
    previous_value, previous_peak: total_value of the last row before the first day of `equity`, and the highest one so far;
    both None at the start of the history. A day that later bars continue is computed again from all its rows' last bar, so
    any split of the history gives the same rows to the last bit.
    drawdown: total_value over the highest of the start capital and all total_value to date, minus 1 (daily closes; the
    metric max_drawdown is taken over bars).
    """
    days = index_ms(equity.index) // DAY_MS
    last_of_day = np.flatnonzero(np.append(days[1:] != days[:-1], True)) if len(days) else np.empty(0, dtype=int)
    values = equity.to_numpy(dtype="float64")[last_of_day]
    first = initial_capital if previous_value is None else previous_value
    before = np.concatenate(([first], values[:-1])) if len(values) else values
    start_peak = max(initial_capital, initial_capital if previous_peak is None else previous_peak)
    peak = np.maximum.accumulate(np.maximum(values, start_peak))
    rows = {
        "total_value": values,
        "daily_return": values / before - 1,
        "cumulative_return": values / initial_capital - 1,
        "drawdown": values / peak - 1,
    }
    return pd.DataFrame(rows, index=ts_index(days[last_of_day] * DAY_MS).rename("day"))


def _rolling(returns: np.ndarray, rows: int, periods_per_year: float) -> dict[str, np.ndarray]:
    """Metrics of the window that ends at each of the last `rows` returns. Each window is computed for itself: sums that are
    carried on would depend on where they began."""
    metrics: dict[str, Callable[[np.ndarray], float]] = {
        "rolling_volatility": lambda window: annual_volatility(window, periods_per_year),
        "rolling_sharpe": lambda window: sharpe_ratio(window, periods_per_year),
        "var_95": value_at_risk,
    }
    told = {name: np.full(rows, np.nan) for name in metrics}
    for row in range(rows):
        end = len(returns) - rows + row + 1
        window = returns[max(0, end - ROLLING_ROWS) : end]
        if len(window) >= LEAST_RETURNS:
            for name, metric in metrics.items():
                told[name][row] = metric(window)
    return told


def _to_date(trades: pd.DataFrame, days: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    """Statistics of the trades that were closed by the end of each day."""
    closed = closed_trades(trades)
    exits = index_ms(pd.DatetimeIndex(closed["exit_ts"])) // DAY_MS
    by_then = np.searchsorted(exits, index_ms(days) // DAY_MS, side="right")
    pnl = closed["pnl"].to_numpy(dtype="float64")
    count, wins, gain, loss, fees = (
        _totals(values)[by_then]
        for values in (np.ones(len(pnl)), pnl > 0, np.maximum(pnl, 0.0), np.maximum(-pnl, 0.0), closed["fees"].to_numpy())
    )
    unbeaten = np.where(gain > 0, np.inf, np.nan)
    return {
        "trade_count": count,
        "win_rate": _over(wins, count),
        "profit_factor": np.divide(gain, loss, out=unbeaten, where=loss > 0),
        "expectancy": _over(gain - loss, count),
        "fees_paid": fees,
    }


def _totals(values: np.ndarray) -> np.ndarray:
    """Of the first 0, 1, 2 ... values."""
    return np.concatenate(([0.0], np.cumsum(values, dtype="float64")))


def _over(numerator: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(numerator, count, out=np.full(len(count), np.nan), where=count > 0)
