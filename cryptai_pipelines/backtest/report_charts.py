"""The charts of a report as Plotly figures in plain data: lists of traces and a layout. Words and tables are in
`report_page`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from cryptai_pipelines.backtest.daily import ROLLING_ROWS
from cryptai_pipelines.backtest.report import Report
from cryptai_pipelines.backtest.return_metrics import period_returns, until_ruin
from cryptai_pipelines.backtest.rolling import rolling_sharpe
from cryptai_pipelines.backtest.tables import worst_drawdowns
from cryptai_pipelines.backtest.thinning import drawdowns, last_of_buckets, lowest_of_buckets

_POINTS = 3_000
_TRADES_SHOWN = 4_000
_STRATEGY, _MARKET, _GAIN, _LOSS = "#1f5fa8", "#8a94a0", "#1a7f4b", "#b3372f"

Figure = dict[str, Any]


def figures(report: Report) -> dict[str, Figure]:
    """The figures of a report by the id of the element that shows them; `rolling` where there are points enough for it."""
    drawn = {"price": price_figure(report), "equity": equity_figure(report), "drawdown": drawdown_figure(report)}
    return drawn | {"rolling": rolling_figure(report)} if len(report.equity) >= 2 * ROLLING_ROWS else drawn


def price_figure(report: Report) -> Figure:
    """Closes, with a marker at every fill; at most the last 4,000 trades."""
    trades = report.trades.iloc[-_TRADES_SHOWN:]
    won = trades[trades["pnl"] > 0]
    lost = trades[trades["pnl"] <= 0]
    return figure_of(
        [
            line_trace(last_of_buckets(report.prices, _POINTS), "close", _MARKET),
            _markers(trades["entry_ts"], trades["entry_price"], "entry", "triangle-up", _STRATEGY),
            _markers(won["exit_ts"], won["exit_price"], "exit with profit", "circle", _GAIN, won["exit_reason"]),
            _markers(lost["exit_ts"], lost["exit_price"], "exit with loss", "x", _LOSS, lost["exit_reason"]),
        ],
        "price",
    )


def equity_figure(report: Report) -> Figure:
    """Equity, beside the same capital bought at the first price and held, costs of buying and selling included."""
    capital = report.parameters.initial_capital
    traces = [line_trace(last_of_buckets(report.equity, _POINTS), "strategy", _STRATEGY)]
    if len(report.prices):
        held = report.prices / report.prices.iloc[0] * (capital * report.parameters.round_trip)
        traces.append(line_trace(last_of_buckets(held, _POINTS), "buy and hold", _MARKET))
    return figure_of(traces, "equity")


def drawdown_figure(report: Report) -> Figure:
    """Drawdown in percent, the lowest of each bucket; the five deepest are shaded from peak to recovery."""
    capital = report.parameters.initial_capital
    trough = lowest_of_buckets(drawdowns(report.equity, capital), _POINTS) * 100
    figure = figure_of([line_trace(trough, "drawdown", _LOSS) | {"fill": "tozeroy"}], "drawdown %")
    ends = worst_drawdowns(report.equity, capital)
    figure["layout"]["shapes"] = [
        _shade(one.peak, one.end if one.recovered else report.equity.index[-1]) for one in ends.itertuples()
    ]
    return figure


def rolling_figure(report: Report) -> Figure:
    """Sharpe ratio over the last `ROLLING_ROWS` points, annualised."""
    returns = period_returns(until_ruin(report.equity.to_numpy()), report.parameters.initial_capital)
    series = pd.Series(returns, index=report.equity.index)
    ratio = rolling_sharpe(series, ROLLING_ROWS, report.metrics["periods_per_year"])
    return figure_of([line_trace(last_of_buckets(ratio, _POINTS), "Sharpe ratio", _STRATEGY)], "Sharpe ratio")


def figure_of(traces: list[Figure], label: str) -> Figure:
    """Traces over time with an axis that is called `label`."""
    layout = {
        "margin": {"l": 64, "r": 16, "t": 8, "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#24292f"},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.08, "x": 0},
        "xaxis": {"type": "date", "gridcolor": "#e4e7eb"},
        "yaxis": {"title": {"text": label}, "gridcolor": "#e4e7eb", "zerolinecolor": "#c9ced6"},
    }
    return {"data": traces, "layout": layout}


def _shade(start: pd.Timestamp, end: pd.Timestamp) -> Figure:
    first, last = _times(pd.DatetimeIndex([start, end]))
    area = {"type": "rect", "xref": "x", "yref": "paper", "x0": first, "x1": last, "y0": 0, "y1": 1}
    return area | {"fillcolor": _MARKET, "opacity": 0.12, "line": {"width": 0}}


def line_trace(series: pd.Series, name: str, color: str) -> Figure:
    """A series by UTC time as a line; a value that is not finite is a break in it."""
    line = {"color": color, "width": 1.4}
    return {"type": "scatter", "mode": "lines", "name": name, "x": _times(series.index), "y": _numbers(series), "line": line}


def _markers(
    times: pd.Series, prices: pd.Series, name: str, symbol: str, color: str, text: Sequence[str] | None = None
) -> Figure:
    trace = {"type": "scatter", "mode": "markers", "name": name, "x": _times(pd.DatetimeIndex(times)), "y": _numbers(prices)}
    trace["marker"] = {"symbol": symbol, "size": 8, "color": color}
    return trace if text is None else trace | {"text": list(text)}


def _times(index: pd.DatetimeIndex) -> list[str]:
    return index.strftime("%Y-%m-%dT%H:%M:%SZ").tolist()


def _numbers(values: pd.Series) -> list[float | None]:
    # JSON has no NaN and no infinity; a missing point is a break in the line.
    return [round(value, 8) if math.isfinite(value) else None for value in values.tolist()]
