"""The metrics of a backtest gathered: `summary` from the totals that the engine carries, `full_metrics` from equity and trades.
Every formula, its source and its edge cases stand in docs/metrics.md; a change of one raises `METRICS_VERSION`.

The formulas are in `return_metrics`, `drawdowns`, `benchmark_metrics`, `trade_statistics`, `exposure_metrics` and
`significance`, tables in `tables`, rows per day in `daily`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.benchmark_metrics import BENCHMARK_METRICS, benchmark_metrics
from cryptai_pipelines.backtest.drawdowns import DRAWDOWN_METRICS, drawdown_metrics
from cryptai_pipelines.backtest.engine import EngineState
from cryptai_pipelines.backtest.exposure_metrics import EXPOSURE_METRICS, exposure_metrics
from cryptai_pipelines.backtest.return_metrics import (
    DAY_MS,
    DAYS_PER_YEAR,
    EQUITY_METRICS,
    bars_per_year,
    equity_metrics,
    period_returns,
    return_metrics,
    span_of,
    until_ruin,
)
from cryptai_pipelines.backtest.significance import SIGNIFICANCE_METRICS, significance_metrics
from cryptai_pipelines.backtest.trade_statistics import TRADE_METRICS, profit_factor, ratio, trade_statistics
from cryptai_pipelines.market.errors import BadInput

__all__ = [
    "DAYS_PER_YEAR",
    "FULL_METRICS",
    "METRICS",
    "METRICS_VERSION",
    "bars_per_year",
    "full_metrics",
    "summary",
    "trade_metrics",
    "with_engine",
]

METRICS_VERSION = 2

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

FULL_METRICS = (
    *EQUITY_METRICS,
    *DRAWDOWN_METRICS,
    *BENCHMARK_METRICS,
    *SIGNIFICANCE_METRICS,
    *TRADE_METRICS,
    *EXPOSURE_METRICS,
    "metrics_version",
)
"""The keys of `full_metrics`, in the order they are shown."""


def full_metrics(
    equity: pd.Series,
    trades: pd.DataFrame,
    benchmark: pd.Series | None,
    initial_capital: float,
    periods_per_year: float,
    exposure: pd.DataFrame | None = None,
    *,
    trial_sharpes: np.ndarray | None = None,
) -> dict[str, float]:
    """All `FULL_METRICS` of a backtest, float64.

    equity: at the end of each period, indexed by UTC time, ascending, the start capital not among them. trades: the columns
    of `trade_statistics`. benchmark: prices or values at the same times, None for none. periods_per_year: how many such
    periods a 365-day year has. exposure: `gross` and `net`, what is held at these times as a share of equity.
    trial_sharpes: the per-period Sharpe ratios of all trials that were made, this one among them, for `dsr`.

    NaN where a metric is not defined or what it needs is not given; infinity is a value. `BadInput` names the argument and
    the time or row that is not accepted.
    """
    _check(equity, initial_capital)
    values = until_ruin(equity.to_numpy(dtype="float64"))
    span_days = span_of(equity.index)
    result = {
        **equity_metrics(equity, initial_capital, periods_per_year),
        **drawdown_metrics(equity, initial_capital, periods_per_year),
        **benchmark_metrics(equity, benchmark, initial_capital, periods_per_year),
        **significance_metrics(period_returns(values, initial_capital), span_days, trial_sharpes),
        **trade_statistics(trades, initial_capital, span_days),
        **exposure_metrics(equity, trades, exposure),
        "metrics_version": METRICS_VERSION,
    }
    return {name: float(result[name]) for name in FULL_METRICS}


def with_engine(full: Mapping[str, float], of_engine: Mapping[str, float | None]) -> dict[str, float]:
    """`full_metrics` over days with the engine's own number under every name that it has too: the engine has seen each bar.
    What is made of `max_drawdown` is made of that one. of_engine: None stands for NaN."""
    own = {name: math.nan if of_engine[name] is None else float(of_engine[name]) for name in full if name in of_engine}
    told = {**full, **own}
    deepest = told["max_drawdown"]
    return told | {"calmar": told["cagr"] / -deepest if deepest < 0 else math.nan}


def summary(settled: EngineState, values: np.ndarray, periods_per_year: float, *, optimistic: bool = False) -> dict[str, float]:
    """All `METRICS` of a settled state (`engine.settle`), float64.

    values: equity at the end of each period, one value per period, the start capital not among them: bars in `simulate`,
    days in the scheduled backtest. The last one is taken from the settled book. periods_per_year: how many such periods a
    365-day year has. `optimistic` reads the other book, `values` must then be its equity. NaN where a metric is not defined.
    """
    book = settled.books[1 if optimistic else 0]
    capital = settled.parameters.initial_capital
    span_days = (int(book["last_ts"]) - int(book["first_ts"])) / DAY_MS
    benchmark = book["last_close"] / book["first_open"] * settled.parameters.round_trip - 1 if book["bars"] else math.nan
    result = {
        "total_return": book["cash"] / capital - 1,
        **return_metrics(np.append(values[:-1], book["cash"]) if len(values) else values, capital, periods_per_year, span_days),
        "max_drawdown": book["max_drawdown"],
        **trade_metrics(book),
        "exposure": ratio(book["bars_in_market"], book["bars"]),
        "buy_and_hold_return": benchmark,
        "final_equity": book["cash"],
        "periods_per_year": periods_per_year,
        "metrics_version": METRICS_VERSION,
    }
    return {name: float(result[name]) for name in METRICS}


def trade_metrics(book: np.void) -> dict[str, float]:
    """Statistics of the closed trades from the totals of a book; NaN where there is nothing to divide by."""
    wins, losses, trades = int(book["wins"]), int(book["losses"]), int(book["trades"])
    gross_profit, gross_loss = float(book["gross_profit"]), float(book["gross_loss"])
    return {
        "win_rate": ratio(wins, trades),
        "profit_factor": profit_factor(gross_profit, gross_loss),
        "average_win": ratio(gross_profit, wins),
        "average_loss": ratio(gross_loss, losses),
        "expectancy": ratio(gross_profit + gross_loss, trades),
        "fees_paid": float(book["fees"]),
        "trade_count": trades,
        "ambiguous_count": int(book["ambiguous"]),
        "ambiguous_share": ratio(int(book["ambiguous"]), trades),
    }


def _check(equity: pd.Series, initial_capital: float) -> None:
    if not 0 < initial_capital < math.inf:
        raise BadInput(f"initial_capital {initial_capital} is not accepted; accepted: a finite amount above 0")
    if not isinstance(equity.index, pd.DatetimeIndex) or equity.index.tz is None:
        raise BadInput(f"equity is indexed by {type(equity.index).__name__}; accepted: times with a zone")
    backwards = np.flatnonzero(np.diff(equity.index.asi8) <= 0)
    if len(backwards):
        raise BadInput(f"equity at {equity.index[backwards[0] + 1]} is not after the time before it; accepted: ascending")
    wrong = np.flatnonzero(~np.isfinite(equity.to_numpy(dtype="float64")))
    if len(wrong):
        raise BadInput(f"equity at {equity.index[wrong[0]]} is {equity.iloc[wrong[0]]}; accepted: finite")
