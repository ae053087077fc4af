"""Binance's spellings on the wire: decimal strings, kline rows, error bodies. Choosing what to answer is in `endpoints`."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.venue import UNIT, bar_ends

_DECIMALS = ("open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base", "taker_buy_quote")
_ZERO = "0.00000000"
# Below it the eighth decimal of a double is certain, and plain formatting gives the shortest decimal's digits.
_EXACT_BELOW = 2**52 / UNIT


def to_json(value: Any) -> bytes:
    """Compact JSON, as the venue writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


def decimal_text(value: Any) -> str:
    """A number with 8 decimals; an integer (Python's or numpy's) is fixed point in units of 1e-8."""
    if isinstance(value, int | np.integer):
        sign = "-" if value < 0 else ""
        return f"{sign}{abs(int(value)) // UNIT}.{abs(int(value)) % UNIT:08d}"
    return _float_text(float(value))


def real_numbers(values: np.ndarray) -> list[float]:
    """Plain numbers, as the protocols have it that do not write decimals as text; integers are units of 1e-8."""
    return (values / UNIT if values.dtype.kind == "i" else values).tolist()


def kline_rows(bars: Columns, timeframe: Timeframe, time_factor: int = 1) -> bytes:
    """The JSON array of 12-field kline rows. Columns that are absent were not recorded and are written as 0.

    `time_factor` 1000 writes times in microseconds. Fixed-point columns are written exactly, floats as the shortest
    decimal that reads back as the same double, rounded to 8 decimals.
    """
    opens = bars["ts"] * time_factor
    closes = bar_ends(bars["ts"], timeframe) * time_factor - 1
    texts, numbers = {}, {}
    for name in _DECIMALS:
        texts[name], numbers[name] = _decimal_cells(bars.get(name))
    trades = bars.get("trades")
    count_text, counts = ("0", []) if trades is None else ("%d", [trades.tolist()])
    prices = '","'.join(texts[name] for name in _DECIMALS[:5])
    template = (
        f'[%d,"{prices}",%d,"{texts["quote_volume"]}",{count_text},'
        f'"{texts["taker_buy_base"]}","{texts["taker_buy_quote"]}","0"]'
    )
    cells = [opens.tolist(), *(cell for name in _DECIMALS[:5] for cell in numbers[name]), closes.tolist()]
    cells += [*numbers["quote_volume"], *counts, *numbers["taker_buy_base"], *numbers["taker_buy_quote"]]
    return ("[" + ",".join([template % row for row in zip(*cells, strict=True)]) + "]").encode()


def _decimal_cells(values: np.ndarray | None) -> tuple[str, list[list[Any]]]:
    """The format of one decimal field and the lists of numbers it takes per row."""
    if values is None:
        return _ZERO, []
    if values.dtype.kind == "i":
        return "%d.%08d", [(values // UNIT).tolist(), (values % UNIT).tolist()]
    if values.max(initial=0.0) < _EXACT_BELOW:
        return "%.8f", [values.tolist()]
    return "%s", [[_float_text(value) for value in values.tolist()]]


def _float_text(value: float) -> str:
    """Eight decimals of the shortest decimal that reads back as `value`: a recording's doubles give back what was sent."""
    if value < _EXACT_BELOW:
        return f"{value:.8f}"
    shortest = repr(value)
    whole, _, part = shortest.partition(".")
    return f"{whole}.{part:0<8}" if len(part) <= 8 and "e" not in shortest else f"{Decimal(shortest):.8f}"
