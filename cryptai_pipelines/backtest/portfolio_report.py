"""The page of a backtest of many symbols: what the page of a single one has, and what there is to say of the symbols."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pandas as pd

from cryptai_pipelines.backtest.daily import ROLLING_ROWS
from cryptai_pipelines.backtest.report import Report, replace_file
from cryptai_pipelines.backtest.report_charts import (
    Figure,
    drawdown_figure,
    equity_figure,
    figure_of,
    line_trace,
    rolling_figure,
)
from cryptai_pipelines.backtest.report_format import frame_table
from cryptai_pipelines.backtest.report_page import page
from cryptai_pipelines.backtest.symbol_shares import correlations
from cryptai_pipelines.backtest.thinning import last_of_buckets

_MOST_CORRELATED = 60
_POINTS = 3_000
_CHARTS = {
    "equity": "Equity, and the same capital in equal parts bought and held",
    "drawdown": "Drawdown",
    "exposure": "Exposure, gross and net",
    "rolling": "Sharpe ratio of the last 90 points",
    "correlation": "Correlation of what the symbols brought per day",
}


@dataclass(frozen=True)
class PortfolioReport(Report):
    """`Report` of a portfolio: `prices` and `benchmark` are of the symbols in equal parts (`symbol_shares.equal_weight`).

    exposure: float64 columns gross and net by time, shares of equity. profits: `symbol_shares.profit_by_symbol`. by_symbol:
    `symbol_shares.symbol_table`. failures: why a symbol has no part in the result.
    """

    exposure: pd.DataFrame = field(default_factory=pd.DataFrame)
    profits: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_symbol: pd.DataFrame = field(default_factory=pd.DataFrame)
    failures: Mapping[str, str] = field(default_factory=dict)


def write_portfolio_report(report: PortfolioReport, path: Path) -> None:
    """Write the page to `path`, as `report.write_report` does."""
    replace_file(path, render_portfolio(report).encode())


def render_portfolio(report: PortfolioReport) -> str:
    """The page as text; as self-contained and escaped as that of `report_page.render`."""
    drawn = {
        "equity": equity_figure(report),
        "drawdown": drawdown_figure(report),
        "exposure": _exposure_figure(report.exposure),
    }
    if len(report.equity) >= 2 * ROLLING_ROWS:
        drawn["rolling"] = rolling_figure(report)
    if 1 < len(report.profits.columns) <= _MOST_CORRELATED:
        drawn["correlation"] = _correlation_figure(report.profits)
    return page(report, drawn, _CHARTS, _symbols_section(report), _by_symbol_section(report))


def _symbols_section(report: PortfolioReport) -> str:
    symbols = sorted(report.by_symbol.index)
    names = f"<p>{escape(', '.join(symbols))}</p>"
    failed = "".join(
        f'<li class="finding error"><code>{escape(symbol)}</code> {escape(why)}</li>' for symbol, why in report.failures.items()
    )
    told = f"<p>{len(report.failures)} without a part in the result:</p><ul>{failed}</ul>" if failed else ""
    return f"<section><h2>{len(symbols)} symbols on one capital</h2>{names}{told}</section>"


def _by_symbol_section(report: PortfolioReport) -> str:
    note = (
        "Profit of open positions included, at the market price. Correlation: of what a symbol brought per day with what each"
        " other one did, on average."
    )
    return f"<section><h2>Profit by symbol</h2>{frame_table(report.by_symbol, index=True)}<p>{note}</p></section>"


def _exposure_figure(exposure: pd.DataFrame) -> Figure:
    colors = {"gross": "#1f5fa8", "net": "#8a94a0"}
    traces = [line_trace(last_of_buckets(exposure[name] * 100, _POINTS), name, color) for name, color in colors.items()]
    traces[1]["line"] |= {"dash": "dot"}  # it hides the other one where there are no shorts
    return figure_of(traces, "% of equity")


def _correlation_figure(profits: pd.DataFrame) -> Figure:
    matrix = correlations(profits)
    names = [str(name) for name in matrix.columns]
    cells = [[round(value, 3) if math.isfinite(value) else None for value in row] for row in matrix.to_numpy().tolist()]
    figure = figure_of([{"type": "heatmap", "x": names, "y": names, "z": cells, "zmin": -1, "zmax": 1}], "")
    figure["data"][0]["colorscale"] = [[0, "#b3372f"], [0.5, "#ffffff"], [1, "#1f5fa8"]]
    for axis in ("xaxis", "yaxis"):
        figure["layout"][axis] |= {"type": "category", "automargin": True}
    figure["layout"]["hovermode"] = "closest"
    figure["layout"]["yaxis"]["autorange"] = "reversed"
    return figure
