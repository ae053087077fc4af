"""Metrics of a finished backtest. Every formula, its source and its edge cases stand in `docs/metrics.md`; a change of one
raises `METRICS_VERSION`. Rows per day live in `daily`."""

from __future__ import annotations

import math

import numpy as np

from cryptai_pipelines.backtest.engine import EngineState

METRICS_VERSION = 1
DAYS_PER_YEAR = 365.0
_DAY_MS = 86_400_000
_YEAR_MS = DAYS_PER_YEAR * _DAY_MS
_LEAST_RETURNS = 30
_LEAST_DAYS = 14.0

METRICS = (
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
    "ambiguous_share",
    "buy_and_hold_return",
    "final_equity",
    "periods_per_year",
    "metrics_version",
)
"""The keys of `summary`, in the order they are shown."""


def summary(settled: EngineState, values: np.ndarray, periods_per_year: float, *, optimistic: bool = False) -> dict[str, float]:
    """All `METRICS` of a settled state (`engine.settle`), float64.

    values: equity at the end of each period, one value per period, the start capital not among them: bars in `simulate`,
    days in the scheduled backtest. The last one is taken from the settled book. periods_per_year: how many such periods a
    365-day year has. `optimistic` reads the other book, `values` must then be its equity. NaN where a metric is not defined.
    """
    book = settled.books[1 if optimistic else 0]
    capital = settled.parameters.initial_capital
    span_days = (int(book["last_ts"]) - int(book["first_ts"])) / _DAY_MS
    benchmark = book["last_close"] / book["first_open"] * settled.parameters.round_trip - 1 if book["bars"] else math.nan
    result = {
        "total_return": book["cash"] / capital - 1,
        **return_metrics(np.append(values[:-1], book["cash"]) if len(values) else values, capital, periods_per_year, span_days),
        "max_drawdown": book["max_drawdown"],
        **trade_metrics(book),
        "exposure": _ratio(book["bars_in_market"], book["bars"]),
        "buy_and_hold_return": benchmark,
        "final_equity": book["cash"],
        "periods_per_year": periods_per_year,
        "metrics_version": METRICS_VERSION,
    }
    return {name: float(result[name]) for name in METRICS}


def period_returns(values: np.ndarray, start_value: float) -> np.ndarray:
    """Simple returns of consecutive values, the first one from `start_value`: as many as values, float64."""
    values = np.asarray(values, dtype="float64")
    before = np.concatenate(([start_value], values[:-1])) if len(values) else values
    return values / before - 1


def return_metrics(values: np.ndarray, start_value: float, periods_per_year: float, span_days: float) -> dict[str, float]:
    """cagr, volatility, sharpe, sortino (all NaN below 30 returns or 14 days) and var_95 (NaN without a return).

    values: equity at the end of equal periods, positive; start_value: before the first. The risk-free rate and the least
    acceptable return are 0.
    """
    returns = period_returns(values, start_value)
    annualised = dict.fromkeys(("cagr", "volatility", "sharpe", "sortino"), math.nan)
    if len(returns) >= _LEAST_RETURNS and span_days >= _LEAST_DAYS:
        annualised = {
            "cagr": compound_growth(float(values[-1]) / start_value, len(returns), periods_per_year),
            "volatility": float(np.std(returns, ddof=1)) * math.sqrt(periods_per_year),
            "sharpe": sharpe_ratio(returns, periods_per_year),
            "sortino": sortino_ratio(returns, periods_per_year),
        }
    return {**annualised, "var_95": value_at_risk(returns)}


def compound_growth(growth: float, periods: int, periods_per_year: float) -> float:
    """Yearly growth of a factor `growth` made in `periods`, as a share; -1 after ruin, NaN without a period."""
    if periods == 0:
        return math.nan
    with np.errstate(over="ignore"):  # a fortnight of madness may well extrapolate to infinity
        return float(np.float64(max(growth, 0.0)) ** (periods_per_year / periods)) - 1


def sharpe_ratio(returns: np.ndarray, periods_per_year: float) -> float:
    """Mean over sample standard deviation, annualised; NaN below two returns or when all are equal."""
    if len(returns) < 2 or returns.min() == returns.max():
        return math.nan
    return float(np.mean(returns) / np.std(returns, ddof=1)) * math.sqrt(periods_per_year)


def sortino_ratio(returns: np.ndarray, periods_per_year: float) -> float:
    """Mean over the root mean square of the losses among all returns, annualised; without a loss infinite when the mean is
    above 0, else NaN."""
    if not len(returns):
        return math.nan
    mean = float(np.mean(returns))
    losses = np.minimum(returns, 0.0)
    downside = math.sqrt(float(np.mean(losses * losses)))
    if downside == 0:
        return math.inf if mean > 0 else math.nan
    return mean / downside * math.sqrt(periods_per_year)


def value_at_risk(returns: np.ndarray) -> float:
    """The empirical 5 % quantile of the returns with linear interpolation, negative for a loss; NaN without returns."""
    return float(np.percentile(returns, 5)) if len(returns) else math.nan


def trade_metrics(book: np.void) -> dict[str, float]:
    """Statistics of the closed trades from the totals of a book; NaN where there is nothing to divide by."""
    wins, losses, trades = int(book["wins"]), int(book["losses"]), int(book["trades"])
    gross_profit, gross_loss = float(book["gross_profit"]), float(book["gross_loss"])
    unbeaten = math.inf if gross_profit > 0 else math.nan
    return {
        "win_rate": _ratio(wins, trades),
        "profit_factor": gross_profit / -gross_loss if gross_loss < 0 else unbeaten,
        "average_win": _ratio(gross_profit, wins),
        "average_loss": _ratio(gross_loss, losses),
        "expectancy": _ratio(gross_profit + gross_loss, trades),
        "fees_paid": float(book["fees"]),
        "trade_count": trades,
        "ambiguous_count": int(book["ambiguous"]),
        "ambiguous_share": _ratio(int(book["ambiguous"]), trades),
    }


def bars_per_year(ts_ms: np.ndarray) -> float:
    """Bars in a 365-day year at the most usual spacing (the median step) of open times; NaN below two bars."""
    if len(ts_ms) < 2:
        return math.nan
    steps = np.diff(ts_ms)
    usual = steps[0]
    if np.count_nonzero(steps == usual) * 2 <= len(steps):
        usual = np.median(steps)
    return float(_YEAR_MS / usual)


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator else math.nan
