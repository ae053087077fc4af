"""The metrics by which the points of a search are compared: those of a scheduled backtest, over daily values, for many points
at once. What each means and its edge cases stand in `docs/metrics.md`; one backtest's metrics are in `metrics` and
`return_metrics`."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cryptai_pipelines.backtest.return_metrics import compound_growth, long_enough

POINT_METRICS = (
    "total_return",
    "cagr",
    "volatility",
    "sharpe",
    "sortino",
    "max_drawdown",
    "var_95",
    "win_rate",
    "profit_factor",
    "average_win",
    "average_loss",
    "expectancy",
    "exposure",
    "fees_paid",
    "trade_count",
    "ambiguous_count",
    "final_equity",
    "optimistic_total_return",
)
"""What is known of every point of a search, in the order it is shown."""


def daily_returns(values: np.ndarray, initial_capital: float) -> np.ndarray:
    """Simple returns of equity at the ends of consecutive days, one row per point; the first from the capital, and 0 on a day
    that begins with nothing. float64."""
    before = np.empty_like(values)
    before[:, 1:] = values[:, :-1]
    before[:, :1] = initial_capital
    return np.divide(values, before, out=np.ones_like(values), where=before != 0) - 1


def return_columns(
    values: np.ndarray, initial_capital: float, span_days: float, periods_per_year: float
) -> dict[str, np.ndarray]:
    """cagr, volatility, sharpe, sortino and var_95 as in `return_metrics`, one value per row of `values`: equity at the ends of
    days, float64, positive. A row's results do not depend on the other rows."""
    rows, days = values.shape
    unknown = np.full(rows, math.nan)
    if not days:
        return dict.fromkeys(("cagr", "volatility", "sharpe", "sortino", "var_95"), unknown)
    returns = daily_returns(values, initial_capital)
    columns = dict.fromkeys(("cagr", "volatility", "sharpe", "sortino"), unknown)
    if long_enough(days, span_days):
        mean, deviation = returns.mean(axis=1), returns.std(axis=1, ddof=1)
        losses = np.minimum(returns, 0.0)
        downside = np.sqrt((losses * losses).mean(axis=1))
        yearly = math.sqrt(periods_per_year)
        varies = returns.min(axis=1) != returns.max(axis=1)
        unbeaten = np.where(mean > 0, math.inf, math.nan)
        columns = {
            "cagr": np.array(
                [compound_growth(end / initial_capital, days, periods_per_year) for end in values[:, -1].tolist()]
            ),
            "volatility": deviation * yearly,
            "sharpe": divided(mean, deviation, varies, unknown) * yearly,
            "sortino": divided(mean, downside, downside > 0, unbeaten) * yearly,
        }
    return {**columns, "var_95": np.percentile(returns, 5, axis=1)}


def trade_columns(totals: Mapping[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
    """The statistics of the trades as in `metrics.trade_metrics`, from their totals by name: one value per point each."""
    names = ("trades", "wins", "losses", "gross_profit", "gross_loss")
    trades, wins, losses, profit, loss = (totals[name].astype("float64") for name in names)
    unknown = np.full(trades.shape, math.nan)
    unbeaten = np.where(profit > 0, math.inf, math.nan)
    return {
        "win_rate": divided(wins, trades, trades > 0, unknown),
        "profit_factor": divided(profit, -loss, loss < 0, unbeaten),
        "average_win": divided(profit, wins, wins > 0, unknown),
        "average_loss": divided(loss, losses, losses > 0, unknown),
        "expectancy": divided(profit + loss, trades, trades > 0, unknown),
    }


def divided(numerator: np.ndarray, denominator: np.ndarray, where: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """The quotient where it is defined, elsewhere another value."""
    return np.divide(numerator, denominator, out=otherwise.copy(), where=where)
