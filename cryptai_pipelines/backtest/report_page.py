"""The HTML page of a report: one file, no network. What the charts show is in `report_charts`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape

import pandas as pd

from cryptai_pipelines.backtest.assumptions import assumptions
from cryptai_pipelines.backtest.drill_down import told_ambiguity
from cryptai_pipelines.backtest.report import Report
from cryptai_pipelines.backtest.report_charts import Figure, figures
from cryptai_pipelines.backtest.report_format import label, pairs, shown, table
from cryptai_pipelines.backtest.report_sections import (
    full_section,
    gate_section,
    interval_section,
    refused_section,
    review_section,
    table_sections,
    verdict_section,
)
from cryptai_pipelines.backtest.report_style import STYLE
from cryptai_pipelines.backtest.tables import monthly_returns

_TRADES_SHOWN = 1_000
# Nothing may be fetched, whatever stands in the page. Plotly writes styles, and some of its traces make functions from text.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"

_CHARTS = {
    "price": "Price and fills",
    "equity": "Equity",
    "drawdown": "Drawdown",
    "rolling": "Sharpe ratio of the last 90 points",
}
_HEADLINE = ("total_return", "buy_and_hold_return", "sharpe", "max_drawdown", "win_rate", "trade_count")
_ORDER = (
    *("total_return", "buy_and_hold_return", "cagr", "volatility", "sharpe", "sortino", "max_drawdown", "var_95"),
    *("trade_count", "win_rate", "profit_factor", "average_win", "average_loss", "expectancy", "exposure", "fees_paid"),
    *("final_equity", "ambiguous_count", "ambiguous_share", "periods_per_year"),
)


def render(report: Report) -> str:
    """The page as text: verdict and review where they were given, charts, metrics with their ambiguity interval, months,
    tables, assumptions, data quality, provenance, trades. Everything it needs is inside it, and everything that came from
    outside is escaped."""
    return page(report, figures(report), _CHARTS)


def page(report: Report, drawn: Mapping[str, Figure], titles: Mapping[str, str], before: str = "", after: str = "") -> str:
    """The page around figures of one's own. titles: of those that are shown where they are `drawn`, in order. before, after:
    sections, as HTML, before the verdict and behind the charts."""
    from plotly.offline import get_plotlyjs

    mark = '<p class="mark">Simulated market: these prices were never traded.</p>' if report.simulated else ""
    charts = "".join(
        f'<section><h2>{title}</h2><div class="chart {key}" id="{key}" role="img" aria-label="{title}"></div></section>'
        for key, title in titles.items()
        if key in drawn
    )
    body = (
        f"<header><h1>{escape(report.title)}</h1><p>{_span(report.equity)}</p>{mark}{_headline(report.metrics)}</header>"
        f"{before}{verdict_section(report)}{review_section(report)}{charts}{after}{refused_section(report)}"
        f"{gate_section(report)}"
        f"<section><h2>Metrics</h2>{_metrics(report)}</section>{interval_section(report)}"
        f"<section><h2>Months</h2>{_months(report.equity, report.parameters.initial_capital)}</section>"
        f"{table_sections(report)}{full_section(report)}"
        f'<div class="pair"><section><h2>Assumptions</h2>{pairs(assumptions(report.parameters))}</section>'
        f"<section><h2>Data quality</h2>{pairs(report.quality)}</section>"
        f"<section><h2>Provenance</h2>{pairs(report.provenance)}</section></div>"
        f"<section><h2>Trades</h2>{_trades(report.trades)}</section>"
    )
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report.title)}</title><style>{STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body><main>{body}</main><script>{_drawing(drawn)}</script></body></html>"
    )


def _span(equity: pd.Series) -> str:
    if not len(equity):
        return "No bars."
    first, last = (equity.index[row].strftime("%Y-%m-%d %H:%M") for row in (0, -1))
    return f"{first} to {last} UTC, {len(equity):,} points"


def _headline(metrics: Mapping[str, float]) -> str:
    cards = (f"<div><dt>{label(name)}</dt><dd>{shown(name, metrics[name])}</dd></div>" for name in _HEADLINE)
    return f'<dl class="cards">{"".join(cards)}</dl>'


def _metrics(report: Report) -> str:
    rows = ((label(name), shown(name, report.metrics[name]), shown(name, report.optimistic[name])) for name in _ORDER)
    note = (
        "A bar that touches both target and stop does not say which came first. Where finer bars do not tell, pessimistic "
        "counts it as the stop, optimistic as the target; the truth lies between them."
    )
    told = told_ambiguity(report.metrics)
    counted = f"<p>{escape(told[0].upper() + told[1:])}.</p>" if told else ""
    return table(("", "pessimistic", "optimistic"), rows) + f"<p>{note}</p>" + counted


def _months(equity: pd.Series, initial_capital: float) -> str:
    returns = monthly_returns(equity, initial_capital)
    names = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Year")
    rows = "".join(
        f"<tr><th>{year}</th>{''.join(_heat(value) for value in row)}</tr>"
        for year, row in zip(returns.index, returns.to_numpy(), strict=True)
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="scroll"><table class="heat"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _heat(value: float) -> str:
    if math.isnan(value):
        return "<td></td>"
    color = "26,127,75" if value > 0 else "179,55,47"
    return f'<td style="background:rgba({color},{min(abs(value) / 0.2, 1) * 0.6:.2f})">{value * 100:.1f}</td>'


def _trades(trades: pd.DataFrame) -> str:
    shown = trades.iloc[-_TRADES_SHOWN:]
    # Of a single series its symbol is in the title.
    several, sided = "symbol" in trades and trades["symbol"].notna().any(), "side" in trades
    rows = (
        (
            *((escape(str(trade.symbol)),) if several else ()),
            *(("long" if trade.side > 0 else "short",) if sided else ()),
            *(f"{time:%Y-%m-%d %H:%M}" for time in (trade.entry_ts, trade.exit_ts)),
            f"{trade.entry_price:,.6g}" if trade.entry_price < 1 else f"{trade.entry_price:,.2f}",
            f"{trade.exit_price:,.6g}" if trade.exit_price < 1 else f"{trade.exit_price:,.2f}",
            escape(str(trade.exit_reason).replace("_", " ")) + (" (ambiguous)" if trade.ambiguous else ""),
            f"{trade.quantity:,.6g}",
            f"{trade.fees:,.2f}",
            f"{trade.pnl:,.2f}",
            f"{trade.return_pct:.2%}",
        )
        for trade in shown.itertuples()
    )
    own = ("entry (UTC)", "exit (UTC)", "entry price", "exit price", "reason", "quantity", "fees", "profit", "return")
    head = (*(("symbol",) if several else ()), *(("side",) if sided else ()), *own)
    more = f"<p>The last {len(shown):,} of {len(trades):,} trades.</p>" if len(trades) > len(shown) else ""
    return more + (table(head, rows) if len(trades) else "<p>No trades.</p>")


def _drawing(drawn: Mapping[str, Figure]) -> str:
    # "<" never stands in the data, so nothing in it can end the script.
    data = json.dumps(drawn, allow_nan=False).replace("<", "\\u003c")
    options = '{responsive:true,displaylogo:false,modeBarButtonsToRemove:["lasso2d","select2d"]}'
    return f"for(const [id,f] of Object.entries({data}))Plotly.newPlot(id,f.data,f.layout,{options});"
