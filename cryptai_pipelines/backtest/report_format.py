"""Numbers and tables of a report as HTML. What is shown where is decided in `report_page` and `report_sections`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

import numpy as np
import pandas as pd

_LABELS = {
    "total_return": "Total return",
    "buy_and_hold_return": "Buy and hold",
    "cagr": "CAGR",
    "volatility": "Volatility, yearly",
    "max_drawdown": "Maximum drawdown",
    "var_95": "Value at risk 95 %, per period",
    "var_99": "Value at risk 99 %, per period",
    "cvar_95": "Expected shortfall 95 %, per period",
    "cvar_99": "Expected shortfall 99 %, per period",
    "win_rate": "Win rate",
    "ambiguous_share": "Ambiguous trades, share",
    "sharpe": "Sharpe ratio",
    "sortino": "Sortino ratio",
    "calmar": "Calmar ratio",
    "omega": "Omega ratio",
    "expectancy": "Expectancy per trade",
    "trade_count": "Trades",
    "ambiguous_count": "Ambiguous trades",
    "psr": "Probabilistic Sharpe ratio",
    "dsr": "Deflated Sharpe ratio",
    "t_test_p": "p-value of the t-test",
    "sqn": "System quality number",
    "start_ms": "Start",
    "end_ms": "End",
}

_SHARES = frozenset(
    """total_return buy_and_hold_return benchmark_return excess_return long_return short_return cagr annualised_mean_return
    volatility downside_volatility tracking_error alpha max_drawdown average_drawdown current_drawdown conditional_drawdown_95
    ulcer_index underwater_share var_95 var_99 cvar_95 cvar_99 best_period worst_period best_day worst_day best_month
    worst_month winning_days_share winning_months_share win_rate long_win_rate short_win_rate long_share short_share
    average_win_pct average_loss_pct median_trade_pct best_trade worst_trade expectancy_pct kelly average_mae worst_mae
    average_mfe best_mfe average_end_trade_drawdown max_end_trade_drawdown max_intratrade_drawdown ambiguous_share
    tainted_share exposure average_gross_exposure max_gross_exposure average_net_exposure leveraged_share psr dsr
    depth strategy_return strategy_drawdown winning_share share average_return filled_share pass_rate""".split()
)
_COUNTS = frozenset(
    """trade_count long_count short_count ambiguous_count tainted_count win_streak loss_streak drawdown_count periods
    periods_per_year min_track_record metrics_version trades months passed rejected unknown""".split()
)


def label(name: str) -> str:
    """What a metric is called in words, escaped."""
    return escape(_LABELS.get(name) or name.replace("_", " ").capitalize())


def shown(name: str, value: float) -> str:
    """A metric's value in words: shares in percent, counts whole, moments as such."""
    if np.isnan(value):
        return "not defined"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    if name in ("start_ms", "end_ms"):
        return f"{pd.Timestamp(int(value), unit='ms'):%Y-%m-%d %H:%M}"
    if name in _SHARES:
        return f"{value:.2%}"
    return f"{value:,.0f}" if name in _COUNTS else f"{value:,.2f}" if name != "t_test_p" else f"{value:.4g}"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'


def frame_table(frame: pd.DataFrame, *, index: bool = False) -> str:
    """A frame as a table: times to the minute, numbers as `shown` has them by the name of their column; its index in front
    where asked for."""
    names = [str(name) for name in frame.columns]
    head = [*([label(str(frame.index.name))] if index else []), *map(label, names)]
    rows = (
        [*([escape(str(key))] if index else []), *(_cell(name, value) for name, value in zip(names, row, strict=True))]
        for key, row in zip(frame.index, frame.itertuples(index=False, name=None), strict=True)
    )
    return table(head, rows)


def pairs(values: Mapping[str, object]) -> str:
    """Labels and values, both escaped."""
    return "<dl>" + "".join(f"<dt>{escape(str(k))}</dt><dd>{escape(str(v))}</dd>" for k, v in values.items()) + "</dl>"


def _cell(name: str, value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return shown(name, float(value))
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    return "not yet" if value is pd.NaT else escape(str(value))
