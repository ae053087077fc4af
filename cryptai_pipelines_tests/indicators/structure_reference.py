"""Market structure by its definition, over plain lists, slow and without a state: what `market_structure` must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

Bar = tuple[int, float, float, float]
"""Open time, high, low, close."""


def legs(bars: Sequence[Bar], length: int) -> list[tuple[int, int, int]]:
    """`(confirming bar, pivot bar, side)` of every swing pivot: a candidate counts when it turns the leg."""
    found: list[tuple[int, int, int]] = []
    for i in range(length, len(bars)):
        after = bars[i - length + 1 : i + 1]
        _, high, low, _ = bars[i - length]
        side = 1 if high > max(bar[1] for bar in after) else -1 if low < min(bar[2] for bar in after) else 0
        if side and (not found or found[-1][2] != side):
            found.append((i, i - length, side))
    return found


def reading(bars: Sequence[Bar], length: int, step_ms: int) -> dict[str, float]:
    """What is known at the close of the last of `bars`, made of nothing but them."""
    pivots = legs(bars, length)
    told = {"leg": -pivots[-1][2] if pivots else 0}
    for side, name, column in ((1, "swing_high", 1), (-1, "swing_low", 2)):
        own = [pivot for _, pivot, which in pivots if which == side]
        confirmed = [bars[at][0] + step_ms for at, _, which in pivots if which == side]
        prices = [bars[pivot][column] for pivot in own]
        told[name] = prices[-1] if own else math.nan
        told[f"{name}_ts"] = bars[own[-1]][0] if own else math.nan
        told[f"{name}_confirmed_at"] = confirmed[-1] if own else math.nan
        told[f"{name}_order"] = _sign(prices[-1] - prices[-2]) if len(own) > 1 else 0
    return told | _breaks(bars, pivots) | _gaps(bars, step_ms)


def _breaks(bars: Sequence[Bar], pivots: Sequence[tuple[int, int, int]]) -> dict[str, float]:
    bias, standing = 0, {1: math.nan, -1: math.nan}
    confirmed = {at: (pivot, side) for at, pivot, side in pivots}
    last = {"bos": 0, "choch": 0, "broken_level": math.nan}
    for i, (_, _, _, close) in enumerate(bars):
        if i in confirmed:
            pivot, side = confirmed[i]
            standing[side] = bars[pivot][1 if side == 1 else 2]
        last = {"bos": 0, "choch": 0, "broken_level": math.nan}
        for side in (1, -1):
            if side * close > side * standing[side]:
                last = {"bos": 0, "choch": 0, "broken_level": standing[side], "choch" if bias == -side else "bos": side}
                bias, standing[side] = side, math.nan
                break
    return {"bias": bias} | last


def _gaps(bars: Sequence[Bar], step_ms: int) -> dict[str, float]:
    """The last gap that was left on either side, unless a later bar has traded through all of it."""
    told = {"fair_value_gap": 0, "gap_above": math.nan, "gap_below": math.nan}
    for i in range(2, len(bars)):
        (first, first_high, first_low, _), (third, third_high, third_low, _) = bars[i - 2], bars[i]
        left = 0 if third - first != 2 * step_ms else 1 if third_low > first_high else -1 if third_high < first_low else 0
        if left == 1:
            filled = any(low <= first_high for _, _, low, _ in bars[i + 1 :])
            told["gap_below"] = math.nan if filled else third_low
        if left == -1:
            filled = any(high >= first_low for _, high, _, _ in bars[i + 1 :])
            told["gap_above"] = math.nan if filled else third_high
        told["fair_value_gap"] = left
    return told


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
