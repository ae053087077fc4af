"""Metrics of a series of returns, and of the equity they come from. Drawdowns are in `drawdowns`, comparisons with a benchmark
in `benchmark_metrics`; every formula, its source and its edge cases stand in docs/metrics.md.

Returns are simple, one per period, float64. A metric that is scaled to a year is NaN below 30 returns or 14 days, whichever
function is called with `span_days`; the plain functions beneath know no such rule. Risk-free rate and least acceptable return
are 0.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms

DAYS_PER_YEAR = 365.0
DAY_MS = 86_400_000
LEAST_RETURNS = 30
LEAST_DAYS = 14.0
_YEAR_MS = DAYS_PER_YEAR * DAY_MS

EQUITY_METRICS = (
    "start_ms",
    "end_ms",
    "duration_days",
    "periods",
    "initial_capital",
    "final_equity",
    "peak_equity",
    "lowest_equity",
    "total_return",
    "cagr",
    "annualised_mean_return",
    "volatility",
    "downside_volatility",
    "sharpe",
    "sortino",
    "smart_sharpe",
    "smart_sortino",
    "omega",
    "tail_ratio",
    "var_95",
    "var_99",
    "cvar_95",
    "cvar_99",
    "skewness",
    "kurtosis",
    "autocorrelation",
    "best_period",
    "worst_period",
    "best_day",
    "worst_day",
    "winning_days_share",
    "best_month",
    "worst_month",
    "winning_months_share",
    "periods_per_year",
)


def equity_metrics(equity: pd.Series, initial_capital: float, periods_per_year: float) -> dict[str, float]:
    """All `EQUITY_METRICS`. equity: at the end of each period, indexed by UTC time, ascending; nothing comes after ruin."""
    values = until_ruin(equity.to_numpy(dtype="float64"))
    returns = period_returns(values, initial_capital)
    times = index_ms(equity.index)
    start, end = (float(times[row]) if len(times) else math.nan for row in (0, -1))
    span_days = span_of(equity.index)
    solvent = pd.Series(values, index=equity.index)
    return {
        "start_ms": start,
        "end_ms": end,
        "duration_days": span_days,
        "periods": float(len(values)),
        "initial_capital": initial_capital,
        "final_equity": float(values[-1]) if len(values) else initial_capital,
        "peak_equity": max(initial_capital, float(values.max(initial=initial_capital))),
        "lowest_equity": float(values.min(initial=initial_capital)),
        "total_return": float(values[-1]) / initial_capital - 1 if len(values) else 0.0,
        **return_metrics(values, initial_capital, periods_per_year, span_days),
        **_annualised_shape(returns, periods_per_year, span_days),
        **distribution(returns),
        **_calendar(solvent, initial_capital),
        "periods_per_year": periods_per_year,
    }


def until_ruin(values: np.ndarray) -> np.ndarray:
    """The values, and 0 from the first one on that is not above 0: whoever has lost everything takes no further part."""
    values = np.asarray(values, dtype="float64")
    lost = np.flatnonzero(values <= 0)
    return np.where(np.arange(len(values)) < lost[0], values, 0.0) if len(lost) else values


def span_of(index: pd.DatetimeIndex) -> float:
    """Days from the first to the last time; 0 without any."""
    return (index[-1] - index[0]).total_seconds() / 86_400 if len(index) else 0.0


def long_enough(periods: int, span_days: float) -> bool:
    """May anything be scaled to a year? From 30 returns and 14 days on."""
    return periods >= LEAST_RETURNS and span_days >= LEAST_DAYS


def period_returns(values: np.ndarray, start_value: float) -> np.ndarray:
    """Simple returns of consecutive values, the first one from `start_value`: as many as values, float64. A period that begins
    with nothing has the return 0."""
    values = np.asarray(values, dtype="float64")
    before = np.concatenate(([start_value], values[:-1])) if len(values) else values
    if before.all():
        return values / before - 1
    return np.divide(values, before, out=np.ones(len(values)), where=before != 0) - 1


def return_metrics(values: np.ndarray, start_value: float, periods_per_year: float, span_days: float) -> dict[str, float]:
    """cagr, volatility, sharpe, sortino (all NaN below 30 returns or 14 days) and var_95 (NaN without a return).

    values: equity at the end of equal periods, not negative; start_value: before the first.
    """
    returns = period_returns(values, start_value)
    annualised = dict.fromkeys(("cagr", "volatility", "sharpe", "sortino"), math.nan)
    if long_enough(len(returns), span_days):
        annualised = {
            "cagr": compound_growth(float(values[-1]) / start_value, len(returns), periods_per_year),
            "volatility": annual_volatility(returns, periods_per_year),
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


def annual_volatility(returns: np.ndarray, periods_per_year: float) -> float:
    """Sample standard deviation, annualised; NaN below two returns."""
    return float(np.std(returns, ddof=1)) * math.sqrt(periods_per_year) if len(returns) > 1 else math.nan


def sharpe_ratio(returns: np.ndarray, periods_per_year: float) -> float:
    """Mean over sample standard deviation, annualised; NaN below two returns or when all are equal."""
    if len(returns) < 2 or returns.min() == returns.max():
        return math.nan
    return float(np.mean(returns) / np.std(returns, ddof=1)) * math.sqrt(periods_per_year)


def downside_deviation(returns: np.ndarray) -> float:
    """Root mean square of the losses among all returns, of one period; NaN without returns."""
    losses = np.minimum(returns, 0.0)
    return math.sqrt(float(np.mean(losses * losses))) if len(returns) else math.nan


def sortino_ratio(returns: np.ndarray, periods_per_year: float) -> float:
    """Mean over the root mean square of the losses among all returns, annualised; without a loss infinite when the mean is
    above 0, else NaN."""
    if not len(returns):
        return math.nan
    mean, downside = float(np.mean(returns)), downside_deviation(returns)
    if downside == 0:
        return math.inf if mean > 0 else math.nan
    return mean / downside * math.sqrt(periods_per_year)


def autocorrelation(returns: np.ndarray) -> float:
    """Correlation of each return with the one before; NaN below three returns or where one side is constant."""
    if len(returns) < 3:
        return math.nan
    earlier, later = returns[:-1] - np.mean(returns[:-1]), returns[1:] - np.mean(returns[1:])
    scale = math.sqrt(float(earlier @ earlier) * float(later @ later))
    return float(earlier @ later) / scale if scale > 0 else math.nan


def memory_penalty(returns: np.ndarray) -> float:
    """By what returns that follow each other understate their risk: sqrt(1 + 2 sum over k of (1 - k/n) |rho|^k), rho being the
    `autocorrelation`; NaN where that is."""
    rho, count = abs(autocorrelation(returns)), len(returns)
    if math.isnan(rho):
        return math.nan
    lags = np.arange(1, count)
    return math.sqrt(1 + 2 * float(np.sum((1 - lags / count) * rho**lags)))


def omega_ratio(returns: np.ndarray) -> float:
    """Sum of the gains over the sum of the losses; infinite without a loss, NaN without either."""
    gains, losses = float(returns[returns > 0].sum()), -float(returns[returns < 0].sum())
    if losses == 0:
        return math.inf if gains > 0 else math.nan
    return gains / losses


def tail_ratio(returns: np.ndarray) -> float:
    """|95 % quantile| over |5 % quantile|; NaN without returns or when the latter is 0."""
    if not len(returns):
        return math.nan
    low, high = np.abs(np.percentile(returns, (5, 95)))
    return float(high / low) if low > 0 else math.nan


def value_at_risk(returns: np.ndarray, share: float = 0.05) -> float:
    """The empirical quantile `share` of the returns with linear interpolation, negative for a loss; NaN without returns."""
    return float(np.percentile(returns, 100 * share)) if len(returns) else math.nan


def conditional_value_at_risk(returns: np.ndarray, share: float = 0.05) -> float:
    """Mean of the int((n - 1) share) + 1 worst returns; NaN without returns."""
    if not len(returns):
        return math.nan
    last = int((len(returns) - 1) * share)
    return float(np.mean(np.partition(returns, last)[: last + 1]))


def moments(returns: np.ndarray) -> tuple[float, float]:
    """Population skewness and kurtosis (3 for a normal); NaN below two returns or when all are equal."""
    if len(returns) < 2 or returns.min() == returns.max():
        return math.nan, math.nan
    centred = returns - np.mean(returns)
    squares = centred * centred
    variance = float(np.mean(squares))
    if variance == 0:  # returns too small to have a deviation
        return math.nan, math.nan
    return float(np.mean(squares * centred)) / variance**1.5, float(np.mean(squares * squares)) / variance**2


def distribution(returns: np.ndarray) -> dict[str, float]:
    """What of the returns needs neither a year nor an order, but for the autocorrelation. NaN where a value is not defined."""
    skewness, kurtosis = moments(returns)
    return {
        "omega": omega_ratio(returns),
        "tail_ratio": tail_ratio(returns),
        "var_95": value_at_risk(returns),
        "var_99": value_at_risk(returns, 0.01),
        "cvar_95": conditional_value_at_risk(returns),
        "cvar_99": conditional_value_at_risk(returns, 0.01),
        "skewness": skewness,
        "kurtosis": kurtosis,
        "autocorrelation": autocorrelation(returns),
        "best_period": float(returns.max()) if len(returns) else math.nan,
        "worst_period": float(returns.min()) if len(returns) else math.nan,
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


def _annualised_shape(returns: np.ndarray, periods_per_year: float, span_days: float) -> dict[str, float]:
    names = ("annualised_mean_return", "downside_volatility", "smart_sharpe", "smart_sortino")
    if not long_enough(len(returns), span_days):
        return dict.fromkeys(names, math.nan)
    penalty = memory_penalty(returns)
    return {
        "annualised_mean_return": float(np.mean(returns)) * periods_per_year,
        "downside_volatility": downside_deviation(returns) * math.sqrt(periods_per_year),
        "smart_sharpe": sharpe_ratio(returns, periods_per_year) / penalty,
        "smart_sortino": sortino_ratio(returns, periods_per_year) / penalty,
    }


def _calendar(equity: pd.Series, initial_capital: float) -> dict[str, float]:
    """Best, worst and winning UTC days and months; NaN without equity."""
    result: dict[str, float] = {}
    days = index_ms(equity.index) // DAY_MS
    months = equity.index.year.to_numpy() * 12 + equity.index.month.to_numpy()
    for name, keys in (("day", days), ("month", months)):
        last = np.flatnonzero(np.append(keys[1:] != keys[:-1], True)) if len(keys) else np.empty(0, dtype=int)
        returns = period_returns(equity.to_numpy()[last], initial_capital)
        known = len(returns) > 0
        result[f"best_{name}"] = float(returns.max()) if known else math.nan
        result[f"worst_{name}"] = float(returns.min()) if known else math.nan
        result[f"winning_{name}s_share"] = float(np.mean(returns > 0)) if known else math.nan
    return result
