"""What a bar looks like before it has ended: a deterministic part of the final bar. Which bar is forming is decided by the
venue's clock in `recorded` and `simulated`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.venue import UNIT, bar_ends

_AMOUNTS = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote")


def as_known_at(bars: Columns, timeframe: Timeframe, now_ms: int, tick_places: int) -> Columns:
    """`bars` (venue columns, none opening after `now_ms`) with every bar that has not ended by `now_ms` made partial."""
    ends = bar_ends(bars["ts"], timeframe)
    unfinished = np.flatnonzero(ends > now_ms)
    if not len(unfinished):
        return bars
    known = {name: values.copy() for name, values in bars.items()}
    for row in unfinished:
        opened = int(bars["ts"][row])
        final = {name: values[row] for name, values in bars.items()}
        part = partial_bar(final, now_ms - opened, int(ends[row]) - opened, tick_places)
        for name, value in part.items():
            known[name][row] = value
    return known


def partial_bar(final: dict[str, Any], elapsed_ms: int, length_ms: int, tick_places: int) -> dict[str, Any]:
    """The values of a bar after `elapsed_ms` of its `length_ms` (0 <= elapsed < length).

    The price walks open, one extreme, the other extreme, close, in equal times, the low first in a rising bar. High and
    low are those of the walk so far, amounts and trades the elapsed share rounded down: every value is within the final
    one's range and only approaches it. Fixed-point values stay exact, floats are rounded to `tick_places`.
    """
    walk = [final["open"], final["low"], final["high"], final["close"]]
    if final["close"] < final["open"]:
        walk[1], walk[2] = walk[2], walk[1]
    leg, within = divmod(3 * elapsed_ms, length_ms)
    price = _between(walk[leg], walk[leg + 1], within, length_ms, tick_places)
    seen = [*walk[: leg + 1], price]
    part = {"close": price, "high": max(seen), "low": min(seen)}
    if "trades" in final:
        part["trades"] = int(final["trades"]) * elapsed_ms // length_ms
    for name in _AMOUNTS:
        if name in final:
            part[name] = _share(final[name], elapsed_ms, length_ms)
    return part


def _between(start: Any, end: Any, step: int, steps: int, tick_places: int) -> Any:
    if isinstance(start, np.integer):
        tick = UNIT // 10**tick_places
        return int(start) + (int(end) - int(start)) * step // (steps * tick) * tick
    price = round(float(start + (end - start) * (step / steps)), tick_places)
    return min(max(price, min(start, end)), max(start, end))


def _share(amount: Any, elapsed: int, length: int) -> Any:
    if isinstance(amount, np.integer):
        return int(amount) * elapsed // length
    return math.floor(float(amount) * (elapsed / length) * UNIT) / UNIT
