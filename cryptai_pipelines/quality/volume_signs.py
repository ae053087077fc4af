"""Marks on what was traded: nothing for long, the same price for long, amounts that contradict each other."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.quality.row_rules import PRICES
from cryptai_pipelines.quality.series_view import Limits, Marks, View, adjacent, previous


def zero_volume_run(view: View, limits: Limits) -> Marks:
    """Bars in which nothing was traded."""
    return Marks(view.bars["volume"] == 0)


def flat_run(view: View, limits: Limits) -> Marks:
    """Bars whose four prices are one, and the same as the close of the bar before."""
    bars = view.bars
    still = [bars[name] == bars["close"] for name in PRICES]
    return Marks(np.logical_and.reduce([*still, bars["close"] == previous(bars["close"])]))


def volume_unit(view: View, limits: Limits) -> Marks:
    """Quote volume divided by volume, the average price paid, lies outside of low and high by more than the share `rounding`:
    the two are not in the units they claim. Only bars that were traded and report both. Values: how far outside, as a share."""
    bars = view.bars
    if "quote_volume" not in bars:
        return Marks(np.zeros(len(bars["ts"]), bool))
    with np.errstate(divide="ignore", invalid="ignore"):
        average = np.where(bars["volume"] > 0, bars["quote_volume"], np.nan) / bars["volume"]
        outside = np.fmax(average / bars["high"] - 1, 1 - average / bars["low"])
    reported = (bars["volume"] > 0) & (bars["quote_volume"] > 0)
    return Marks(reported & (outside > limits["rounding"]), outside)


def taker_exceeds_volume(view: View, limits: Limits) -> Marks:
    """Buyers took more from the book than was traded, by more than the share `rounding`. Values: the excess as a share of what
    was traded, infinite where nothing was."""
    bars, worst = view.bars, np.full(len(view.bars["ts"]), -np.inf)
    for part, whole in (("taker_buy_base", "volume"), ("taker_buy_quote", "quote_volume")):
        if part in bars and whole in bars:
            with np.errstate(divide="ignore", invalid="ignore"):
                excess = np.where(bars[part] > 0, bars[part] / bars[whole] - 1, np.nan)
            worst = np.fmax(worst, excess)
    return Marks(worst > limits["rounding"], worst)


def trades_without_volume(view: View, limits: Limits) -> Marks:
    """Trades were counted in a bar without volume. Values: how many."""
    trades = view.bars.get("trades", np.zeros(len(view.bars["ts"])))
    return Marks((view.bars["volume"] == 0) & (trades > 0), trades)


def made_up_opens(view: View, limits: Limits) -> Marks:
    """Every open is the close before it, for as long as no market does that: the opens were made, not observed."""
    return Marks(adjacent(view) & (view.bars["open"] == previous(view.bars["close"])))
