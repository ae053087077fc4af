"""Tables of a backtest: months and years, worst windows, and trades and returns grouped by what they have in common. Single
numbers are in `metrics`.

A grouped table has one row per group and the columns of `GROUP_COLUMNS`; a group without trades has no row.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.drawdowns import drawdown_table
from cryptai_pipelines.backtest.return_metrics import period_returns, until_ruin
from cryptai_pipelines.backtest.trade_statistics import closed_trades, profit_factor, ratio
from cryptai_pipelines.market.errors import BadInput

GROUP_COLUMNS = ("trades", "share", "win_rate", "profit", "average_return", "profit_factor", "average_hours")
FLAT_MONTH = 0.05
"""Months in which the benchmark moves less than this are flat."""


def monthly_returns(equity: pd.Series, initial_capital: float) -> pd.DataFrame:
    """Return of each UTC month as a share: a row per year, columns 1 to 12 and `year`; NaN for months without a row."""
    if not len(equity):
        return pd.DataFrame(columns=[*range(1, 13), "year"], dtype="float64")
    months = equity.groupby([equity.index.year, equity.index.month]).last()
    table = (months / months.shift(1, fill_value=initial_capital) - 1).unstack().reindex(columns=range(1, 13))
    years = equity.groupby(equity.index.year).last()
    return table.assign(year=years / years.shift(1, fill_value=initial_capital) - 1)


def worst_drawdowns(
    equity: pd.Series, initial_capital: float, benchmark: pd.Series | None = None, most: int = 5
) -> pd.DataFrame:
    """The `most` deepest rows of `drawdown_table`, deepest first, and in `benchmark_return` what the benchmark (values at the
    times of `equity`) did from peak to trough; no such column without one."""
    table = drawdown_table(equity, initial_capital).nsmallest(most, "depth").reset_index(drop=True)
    if benchmark is None:
        return table
    prices = benchmark.to_numpy(dtype="float64")
    peak, trough = (benchmark.index.get_indexer(pd.DatetimeIndex(table[name])) for name in ("peak", "trough"))
    return table.assign(benchmark_return=prices[trough] / prices[peak] - 1)


def crisis_windows(equity: pd.Series, benchmark: pd.Series, initial_capital: float, most: int = 5) -> pd.DataFrame:
    """What the strategy did while the market fell most: the `most` deepest drawdowns of the benchmark, from peak to trough,
    deepest first. Columns start, end, benchmark_return, strategy_return, strategy_drawdown (the deepest within the window,
    from its own highest value there)."""
    falls = drawdown_table(benchmark, float(benchmark.iloc[0])).nsmallest(most, "depth") if len(benchmark) else pd.DataFrame()
    rows = []
    for fall in falls.itertuples():
        begin, end = benchmark.index.get_indexer([fall.peak, fall.trough])
        before = float(equity.iloc[begin])
        part = equity.iloc[begin : end + 1].to_numpy()
        lowest = float((part / np.maximum.accumulate(part) - 1).min()) if before > 0 else math.nan
        rows.append((fall.peak, fall.trough, fall.depth, ratio(part[-1], before) - 1, lowest))
    return pd.DataFrame(rows, columns=["start", "end", "benchmark_return", "strategy_return", "strategy_drawdown"])


def exit_reason_table(trades: pd.DataFrame) -> pd.DataFrame:
    """Grouped by `exit_reason`."""
    return group_table(trades, "exit_reason")


def group_table(trades: pd.DataFrame, by: str) -> pd.DataFrame:
    """Closed trades grouped by the column `by`, such as symbol, side, tag or timeframe: `GROUP_COLUMNS`, most trades first.
    profit: money; average_return: mean `return_pct`. `BadInput` where there is no such column."""
    closed = closed_trades(trades)
    if by not in closed:
        raise BadInput(f"trades have no column {by!r}; there are: {' '.join(map(str, closed.columns))}")
    rows = {key: _group(part, len(closed)) for key, part in closed.groupby(by, sort=True, observed=True)}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(GROUP_COLUMNS), dtype="float64").rename_axis(by)
    return table.sort_values("trades", ascending=False, kind="stable")


def regime_table(equity: pd.Series, benchmark: pd.Series, initial_capital: float) -> pd.DataFrame:
    """What was earned in which kind of month. Rows: up, down and flat by the benchmark's return in the month (flat: less than
    `FLAT_MONTH` either way), calm and wild by whether the deviation of its returns is above the median of all months; kinds
    that never were have none. Columns: months, strategy_return and benchmark_return (compounded over those months),
    winning_share (of those months).

    Descriptive: a month's kind is known only when it is over. The first month counts from the first value of `benchmark`.
    """
    if not len(equity):
        return pd.DataFrame(columns=["months", "strategy_return", "benchmark_return", "winning_share"], dtype="float64")
    months = equity.index.year * 12 + equity.index.month
    last = np.flatnonzero(np.append(months[1:] != months[:-1], True))
    ours = period_returns(until_ruin(equity.to_numpy())[last], initial_capital)
    market = period_returns(benchmark.to_numpy()[last], float(benchmark.iloc[0]))
    unrest = (benchmark / benchmark.shift(1) - 1).groupby(months).std(ddof=0).to_numpy()
    kinds = {
        "up": market >= FLAT_MONTH,
        "down": market <= -FLAT_MONTH,
        "flat": np.abs(market) < FLAT_MONTH,
        "calm": unrest <= np.nanmedian(unrest) if np.isfinite(unrest).any() else np.zeros(len(last), dtype=bool),
        "wild": unrest > np.nanmedian(unrest) if np.isfinite(unrest).any() else np.zeros(len(last), dtype=bool),
    }
    rows = {kind: _months(ours[inside], market[inside]) for kind, inside in kinds.items() if inside.any()}
    columns = ["months", "strategy_return", "benchmark_return", "winning_share"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype="float64").rename_axis("regime")


def gate_table(gates: pd.DataFrame) -> pd.DataFrame:
    """How often each gate let pass. gates: one nullable boolean column per gate, one row per bar. Rows: gates; columns passed,
    rejected, unknown, pass_rate (of the known ones; NaN without any), rejected_alone (bars that no other gate rejected)."""
    rejects = pd.DataFrame({name: (~gates[name].astype("boolean")).fillna(False).astype(bool) for name in gates})
    alone = rejects.sum(axis=1) == 1
    rows = {}
    for name in gates:
        verdict = gates[name].astype("boolean")
        passed, rejected = int(verdict.sum()), int(rejects[name].sum())
        unknown, only = int(verdict.isna().sum()), int((rejects[name] & alone).sum())
        rows[name] = (passed, rejected, unknown, ratio(passed, passed + rejected), only)
    columns = ["passed", "rejected", "unknown", "pass_rate", "rejected_alone"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("gate")


def _group(part: pd.DataFrame, total: int) -> tuple[float, ...]:
    pnl = part["pnl"].to_numpy(dtype="float64")
    hours = (part["exit_ts"] - part["entry_ts"]).dt.total_seconds() / 3_600
    factor = profit_factor(float(pnl[pnl > 0].sum()), float(pnl[pnl < 0].sum()))
    average = float(part["return_pct"].mean())
    return len(pnl), len(pnl) / total, float(np.mean(pnl > 0)), float(pnl.sum()), average, factor, float(hours.mean())


def _months(ours: np.ndarray, market: np.ndarray) -> tuple[float, ...]:
    return len(ours), float(np.prod(1 + ours)) - 1, float(np.prod(1 + market)) - 1, float(np.mean(ours > 0))
