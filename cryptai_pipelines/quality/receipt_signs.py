"""Marks on how and when bars were received: before they were over, while still forming, restated too often.

Receipts are columns along `ts`: `known_at` (int64, epoch ms: when the bar was first received), `revisions` (int64: how often it
was restated), and `first_high`, `first_low`, `first_volume`, `high`, `low`, `volume` (float64: as first and as last received).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.quality.series_view import Limits, Marks, View, beside

RECEIPTS = 200
"""Over how many bars the share of restated ones is taken."""


def future_bar(view: View, limits: Limits) -> Marks:
    """The bar was received more than `skew_s` seconds before its end; less may be a clock that is slow. Values: how long
    before, in bar lengths."""
    told = _receipts(view)
    early = view.bars["ts"] + view.timeframe.ms - told["known_at"]
    return Marks(told["found"] & (early > limits["skew_s"] * 1_000), early / view.timeframe.ms)


def forming_bar(view: View, limits: Limits) -> Marks:
    """The bar was received within one bar length of its end, and later its volume had grown by the share `grown` or more while
    its range had not shrunk: what was first stored was a part of it. Values: the share by which it grew."""
    told = _receipts(view)
    late = (told["known_at"] - view.bars["ts"] - view.timeframe.ms) / view.timeframe.ms
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = told["volume"] / told["first_volume"] - 1
    wider = (told["high"] >= told["first_high"]) & (told["low"] <= told["first_low"])
    return Marks(told["found"] & (told["revisions"] > 0) & wider & (late <= 1) & (grown >= limits["grown"]), grown)


def restatement_share(view: View, limits: Limits) -> Marks:
    """Of the `RECEIPTS` bars up to this one, the share `share` or more was restated. Values: the share."""
    told = _receipts(view)
    restated = pd.Series((told["found"] & (told["revisions"] > 0)).astype("float64"))
    share = restated.rolling(RECEIPTS, min_periods=RECEIPTS).mean().to_numpy()
    return Marks(share >= limits["share"], share)


def _receipts(view: View) -> Columns:
    """The receipts of each bar, and whether there are any (`found`)."""
    assert view.receipts is not None
    row, found = beside(view, view.receipts)
    if not len(view.receipts["ts"]):
        return {"found": found, **{name: np.zeros(len(row)) for name in view.receipts if name != "ts"}}
    return {"found": found, **{name: values[row] for name, values in view.receipts.items() if name != "ts"}}
