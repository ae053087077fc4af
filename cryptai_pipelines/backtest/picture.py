"""The equity curve with its drawdown as a small PNG, for where a page cannot be shown. The full account is `report`."""

from __future__ import annotations

import io

import pandas as pd

from cryptai_pipelines.backtest.thinning import drawdowns, last_of_buckets, lowest_of_buckets

_POINTS = 800
_INK, _LINE, _LOSS, _GRID = "#24292f", "#1f5fa8", "#b3372f", "#e4e7eb"


def equity_png(equity: pd.Series, initial_capital: float, title: str, *, simulated: bool = False) -> bytes:
    """A PNG below 100 KB, 900 x 450 pixels, the same bytes for the same input.

    equity: by UTC time, ascending, at any spacing; may be empty. Long series are drawn at the last value of each run of rows,
    drawdowns at the lowest. `simulated` marks the picture as not being of a real market.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    curve = last_of_buckets(equity, _POINTS)
    trough = lowest_of_buckets(drawdowns(equity, initial_capital), _POINTS) * 100
    # Matplotlib draws times without a zone; the axis says which one it is.
    upper.plot(curve.index.tz_localize(None), curve.to_numpy(), color=_LINE, linewidth=1.2)
    upper.axhline(initial_capital, color=_INK, linewidth=0.6, linestyle=":")
    upper.set_title(title + (" (simulated market)" if simulated else ""), loc="left", fontsize=10, color=_INK, parse_math=False)
    upper.set_ylabel("equity", fontsize=8)
    lower.fill_between(trough.index.tz_localize(None), trough.to_numpy(), 0, color=_LOSS, alpha=0.55, linewidth=0)
    lower.set_ylabel("drawdown %", fontsize=8)
    lower.set_xlabel("UTC", fontsize=8)
    for axes in (upper, lower):
        axes.grid(color=_GRID, linewidth=0.6)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    if simulated:
        middle = {"transform": upper.transAxes, "ha": "center", "va": "center"}
        upper.text(0.5, 0.5, "simulated", fontsize=44, alpha=0.1, rotation=12, **middle)
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
