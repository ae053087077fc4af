"""Marks on prices of one series: jumps, wicks, a first bar that cannot be, prices off the tick. What another series or venue
says of the same bars is in `market_signs`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.quality.row_rules import PRICES
from cryptai_pipelines.quality.series_view import Limits, Marks, View, adjacent, log_ratio, previous

RETURNS = 500
"""How many bars before a bar say what is usual for it."""

# What a normal distribution's median absolute deviation must be multiplied with to be its standard deviation.
_MAD_TO_SD = 1.4826
_MOST_DECIMALS = 12


def price_jump(view: View, limits: Limits) -> Marks:
    """Close to close by at least `move`, and at least `z` robust standard deviations away from the median log return of the
    `RETURNS` bars before it. Values: the robust z-score. Silent with fewer than half as many returns."""
    returns = log_ratio(view.bars["close"], previous(view.bars["close"]))
    returns[~adjacent(view)] = np.nan
    score = np.full(len(returns), np.nan)
    for row in np.flatnonzero(np.abs(returns) >= limits["move"]):
        score[row] = _robust_z(returns[row], returns[max(0, row - RETURNS) : row])
    return Marks(np.abs(score) >= limits["z"], score)


def _robust_z(value: float, before: np.ndarray) -> float:
    known = before[~np.isnan(before)]
    if len(known) < RETURNS // 2:
        return np.nan
    median = np.median(known)
    spread = _MAD_TO_SD * np.median(np.abs(known - median))
    # Where nothing moves, as in a market filled with flat bars, no move is measured in deviations.
    return (value - median) / spread if spread > 0 else np.nan


def jump_across_gap(view: View, limits: Limits) -> Marks:
    """The first bar after a gap opens `move` or more away from the close before it. Values: the log move."""
    move = log_ratio(view.bars["open"], previous(view.bars["close"]))
    move[adjacent(view)] = np.nan
    return Marks(np.abs(move) >= limits["move"], move)


def symbol_reuse(view: View, limits: Limits) -> Marks:
    """After `days` or more without bars the price is `times` what it was, or less than that part of it: another asset may be
    traded under the name. Values: the log move."""
    move = log_ratio(view.bars["open"], previous(view.bars["close"]))
    pause = np.diff(view.bars["ts"], prepend=view.bars["ts"][:1]) - view.timeframe.ms
    return Marks((pause >= limits["days"] * 86_400_000) & (np.abs(move) >= np.log(limits["times"])), move)


def wick(view: View, limits: Limits) -> Marks:
    """Low or high is `times` away from open, close and the close before. Values: the log distance, below or above zero."""
    bars = view.bars
    before = np.where(adjacent(view), previous(bars["close"]), bars["open"])
    body = np.stack((bars["open"], bars["close"], before))
    down, up = log_ratio(bars["low"], body.min(axis=0)), log_ratio(bars["high"], body.max(axis=0))
    far = np.where(-np.nan_to_num(down) > np.nan_to_num(up), down, up)
    return Marks(np.abs(far) >= np.log(limits["times"]), far)


def first_bar(view: View, limits: Limits) -> Marks:
    """A price of the series' first bar is `times` away from the median close of the `bars` after it, or not positive. Values:
    the log distance, infinite for a price that is not positive. Silent with fewer than five bars after it."""
    mask, value = np.zeros(len(view.bars["ts"]), bool), np.zeros(len(view.bars["ts"]))
    following = view.bars["close"][1 : 1 + int(limits["bars"])]
    if view.starts_series and len(following) >= 5:
        prices = np.array([view.bars[name][0] for name in PRICES])
        distance = np.where(prices > 0, log_ratio(prices, np.full(4, np.median(following))), -np.inf)
        value[0] = distance[np.argmax(np.abs(distance))]
        mask[0] = abs(value[0]) >= np.log(limits["times"])
    return Marks(mask, value)


def off_tick(view: View, limits: Limits) -> Marks:
    """A price is no multiple of the listed tick, to `part` of a tick. Values: the distance to the nearest multiple, in ticks.
    Venues change ticks: old bars of a symbol whose tick was made coarser are marked, and rightly so."""
    assert view.tick_size is not None
    ticks = np.stack([view.bars[name] for name in PRICES]) / view.tick_size
    off = np.abs(ticks - np.round(ticks)).max(axis=0, initial=0.0)
    return Marks(off > limits["part"], off)


def precision_change(view: View, limits: Limits) -> Marks:
    """The prices of a bar have more decimals than any of the `RETURNS` bars before it. Values: how many they have."""
    digits = pd.Series(decimals(np.stack([view.bars[name] for name in PRICES])).max(axis=0, initial=0).astype("float64"))
    before = digits.rolling(RETURNS, min_periods=RETURNS).max().shift(1)
    return Marks((digits - before >= limits["more"]).to_numpy(), digits.to_numpy())


def decimals(prices: np.ndarray) -> np.ndarray:
    """How many decimals each price has when it is written as short as it can be, at most 12; int64, 0 for NaN."""
    found = np.full(prices.shape, _MOST_DECIMALS, "int64")
    for digits in range(_MOST_DECIMALS - 1, -1, -1):
        found[np.round(prices, digits) == prices] = digits
    found[~np.isfinite(prices)] = 0
    return found
