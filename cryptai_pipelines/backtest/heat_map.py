"""The surface of a search as a page: one file, no network. What is on it is told by `surface`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from cryptai_pipelines.backtest.report_style import STYLE
from cryptai_pipelines.backtest.surface import Surface

# Nothing may be fetched, whatever stands in the page. Plotly writes styles, and some of its traces make functions from text.
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
_INK, _BEST = "#24292f", "#b3372f"
_COLORS = [[0.0, "#f3e9d8"], [0.5, "#7fb0a8"], [1.0, "#123a5c"]]


def heat_map_page(surface: Surface, title: str, objective: str, facts: Mapping[str, object]) -> str:
    """The page as text: the map with the best cell and its neighbours marked, and `facts` by label. What came from outside is
    escaped."""
    from plotly.offline import get_plotlyjs

    rows = "".join(f"<dt>{escape(label)}</dt><dd>{escape(str(value))}</dd>" for label, value in facts.items())
    drawing = json.dumps(figure(surface, objective)).replace("</", "<\\/")
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}.chart.map{{height:620px}}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>"
        f"<header><h1>{escape(title)}</h1><p>{escape(_sentence(surface, objective))}</p></header>"
        '<section><div class="chart map" id="map" role="img" aria-label="Surface of the search"></div></section>'
        f"<section><h2>The search</h2><dl>{rows}</dl></section></main>"
        f'<script>const f={drawing};Plotly.newPlot("map",f.data,f.layout,{{responsive:true,displaylogo:false}})</script>'
        "</body></html>"
    )


def figure(surface: Surface, objective: str) -> dict[str, Any]:
    """The map as a Plotly figure in plain data."""
    # JSON has no NaN and no infinity; a cell without a value stays empty.
    values = [[value if math.isfinite(value) else None for value in row] for row in surface.values.tolist()]
    x, y = list(surface.x_labels), list(surface.y_labels)
    cells = {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": values,
        "colorscale": _COLORS,
        "colorbar": {"title": {"text": objective}},
        "hovertemplate": f"{surface.x} %{{x}}<br>{surface.y} %{{y}}<br>{objective} %{{z:.4f}}<extra></extra>",
        "hoverongaps": False,
    }
    axis = {"type": "category", "gridcolor": "rgba(0,0,0,0)"}
    layout = {
        "margin": {"l": 90, "r": 16, "t": 8, "b": 60},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": _INK},
        "xaxis": {**axis, "title": {"text": surface.x}, "categoryarray": x},
        "yaxis": {**axis, "title": {"text": surface.y}, "categoryarray": y},
        "legend": {"orientation": "h", "y": 1.06, "x": 0},
    }
    marks = [("neighbours", list(surface.neighbours), "square-open", _INK)]
    marks.append(("best", [] if surface.best is None else [surface.best], "star", _BEST))
    points = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [x[column] for _, column in chosen],
            "y": [y[row] for row, _ in chosen],
            "marker": {"symbol": symbol, "size": 14, "color": color, "line": {"width": 2}},
            "hoverinfo": "skip",
        }
        for name, chosen, symbol, color in marks
    ]
    return {"data": [cells, *points], "layout": layout}


def _sentence(surface: Surface, objective: str) -> str:
    if surface.best is None:
        return f"No point has a {objective}."
    row, column = surface.best
    where = f"{surface.x} {surface.x_labels[column]}, {surface.y} {surface.y_labels[row]}"
    around = f"; the {len(surface.neighbours)} cells around it have {surface.neighbours_mean:.4f} on average"
    return f"Best {objective} {surface.best_value:.4f} at {where}{around if surface.neighbours else ''}."
