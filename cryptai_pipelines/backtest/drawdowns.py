"""Drawdowns: the curve, every single one as a table, and the metrics of all. The start capital counts as the first peak."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.return_metrics import (
    annual_volatility,
    compound_growth,
    conditional_value_at_risk,
    long_enough,
    period_returns,
    span_of,
    until_ruin,
)

DRAWDOWN_METRICS = (
    "max_drawdown",
    "max_drawdown_amount",
    "average_drawdown",
    "current_drawdown",
    "drawdown_count",
    "max_drawdown_days",
    "average_drawdown_days",
    "recovery_days",
    "current_underwater_days",
    "underwater_share",
    "ulcer_index",
    "conditional_drawdown_95",
    "recovery_factor",
    "calmar",
    "martin_ratio",
    "serenity",
)


def drawdown_curve(values: np.ndarray, initial_capital: float) -> np.ndarray:
    """Each value over the highest of the start capital and all values to date, minus 1; float64, at most 0."""
    values = np.asarray(values, dtype="float64")
    return values / np.maximum(np.maximum.accumulate(values), initial_capital) - 1 if len(values) else values


def drawdown_table(equity: pd.Series, initial_capital: float) -> pd.DataFrame:
    """Every drawdown in order of time, one row each.

    peak: time of the last value at the peak, the first time of `equity` where that is the start capital. trough: time of the
    lowest value; end: time of the first value back at the peak, NaT while there is none. depth: a share below 0. days: from
    peak to end, or to the last time; days_to_trough, days_to_recover (NaN while there is none). recovered: bool.
    """
    depth = drawdown_curve(equity.to_numpy(), initial_capital)
    under = depth < 0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], under, [False])).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2]  # a run of rows below a peak: from begin to before end
    troughs = np.array([begin + int(np.argmin(depth[begin:end])) for begin, end in zip(begins, ends, strict=True)], dtype=int)
    recovered = ends < len(depth)
    time = equity.index
    peak, trough = time[np.maximum(begins - 1, 0)], time[troughs]
    until = time[np.minimum(ends, len(depth) - 1)]
    return pd.DataFrame(
        {
            "peak": peak,
            "trough": trough,
            "end": until.where(recovered),
            "depth": depth[troughs],
            "days": _days(until - peak),
            "days_to_trough": _days(trough - peak),
            "days_to_recover": np.where(recovered, _days(until - trough), np.nan),
            "recovered": recovered,
        }
    )


def drawdown_metrics(equity: pd.Series, initial_capital: float, periods_per_year: float) -> dict[str, float]:
    """All `DRAWDOWN_METRICS`. equity: at the end of each period, indexed by UTC time, ascending."""
    values = until_ruin(equity.to_numpy(dtype="float64"))
    depth = drawdown_curve(values, initial_capital)
    table = drawdown_table(pd.Series(values, index=equity.index), initial_capital)
    deepest = table.loc[table["depth"].idxmin()] if len(table) else None
    below = len(table) > 0 and not table["recovered"].iloc[-1]
    amount = _deepest_amount(values, initial_capital)
    return {
        "max_drawdown": float(depth.min(initial=0.0)),
        "max_drawdown_amount": amount,
        "average_drawdown": float(table["depth"].mean()) if len(table) else 0.0,
        "current_drawdown": float(depth[-1]) if len(depth) else 0.0,
        "drawdown_count": float(len(table)),
        "max_drawdown_days": float(table["days"].max()) if len(table) else 0.0,
        "average_drawdown_days": float(table["days"].mean()) if len(table) else 0.0,
        "recovery_days": math.nan if deepest is None else float(deepest["days_to_recover"]),
        "current_underwater_days": float(table["days"].iloc[-1]) if below else 0.0,
        "underwater_share": float(np.mean(depth < 0)) if len(depth) else math.nan,
        "ulcer_index": ulcer_index(depth),
        "conditional_drawdown_95": conditional_value_at_risk(depth),
        "recovery_factor": (values[-1] - initial_capital) / -amount if amount < 0 else math.nan,
        **_ratios(values, depth, initial_capital, periods_per_year, span_of(equity.index)),
    }


def ulcer_index(depth: np.ndarray) -> float:
    """Root mean square of a drawdown curve; NaN without one."""
    return math.sqrt(float(np.mean(depth * depth))) if len(depth) else math.nan


def _ratios(
    values: np.ndarray, depth: np.ndarray, initial_capital: float, periods_per_year: float, span_days: float
) -> dict[str, float]:
    """Growth over three measures of depth; NaN below 30 returns or 14 days, or without a drawdown."""
    if not long_enough(len(values), span_days) or depth.min() == 0:
        return dict.fromkeys(("calmar", "martin_ratio", "serenity"), math.nan)
    growth = compound_growth(float(values[-1]) / initial_capital, len(values), periods_per_year)
    ulcer, volatility = ulcer_index(depth), annual_volatility(period_returns(values, initial_capital), periods_per_year)
    pitfall = -conditional_value_at_risk(depth) / volatility if volatility > 0 else math.nan
    return {
        "calmar": growth / -float(depth.min()),
        "martin_ratio": growth / ulcer,
        "serenity": growth / (ulcer * pitfall),
    }


def _deepest_amount(values: np.ndarray, initial_capital: float) -> float:
    peaks = np.maximum(np.maximum.accumulate(values), initial_capital) if len(values) else values
    return float((values - peaks).min(initial=0.0))


def _days(spans: pd.TimedeltaIndex) -> np.ndarray:
    return spans.total_seconds().to_numpy(dtype="float64") / 86_400
