"""How much of the capital was in the market, and how often it was turned over."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.return_metrics import DAYS_PER_YEAR, LEAST_DAYS, span_of
from cryptai_pipelines.backtest.trade_statistics import closed_trades, ratio
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadInput

EXPOSURE_METRICS = (
    "exposure",
    "traded_notional",
    "turnover",
    "average_gross_exposure",
    "max_gross_exposure",
    "average_net_exposure",
    "leveraged_share",
)


def exposure_metrics(equity: pd.Series, trades: pd.DataFrame, exposure: pd.DataFrame | None) -> dict[str, float]:
    """All `EXPOSURE_METRICS`. exposure: columns `gross` and `net`, what is held as a share of equity at each time, float64;
    what needs it is NaN without it. `BadInput` where it has not the length of `equity`."""
    closed = closed_trades(trades)
    notional = float((closed["quantity"] * (closed["entry_price"] + closed["exit_price"])).sum())
    years, mean = span_of(equity.index) / DAYS_PER_YEAR, float(equity.mean()) if len(equity) else math.nan
    yearly = years >= LEAST_DAYS / DAYS_PER_YEAR
    return {
        "exposure": time_in_market(equity.index, trades),
        "traded_notional": notional,
        "turnover": notional / mean / years if yearly and mean > 0 else math.nan,
        **_held(equity, exposure),
    }


def time_in_market(index: pd.DatetimeIndex, trades: pd.DataFrame) -> float:
    """The share of the periods that begin at `index` with a position during any part of them, those of entry and exit among
    them; one that is still open (`is_open`) is held to the end. NaN without periods."""
    if not len(index):
        return math.nan
    starts = index_ms(index)
    entries, exits = (index_ms(pd.DatetimeIndex(trades[name])) for name in ("entry_ts", "exit_ts"))
    if "is_open" in trades:
        exits = np.where(trades["is_open"].to_numpy(dtype=bool), starts[-1], exits)
    first = np.maximum(np.searchsorted(starts, entries, side="right") - 1, 0)
    last = np.searchsorted(starts, exits, side="right")
    steps = np.bincount(first, minlength=len(starts) + 1) - np.bincount(last, minlength=len(starts) + 1)
    return ratio(int((np.cumsum(steps)[:-1] > 0).sum()), len(starts))


def _held(equity: pd.Series, exposure: pd.DataFrame | None) -> dict[str, float]:
    if exposure is None or not len(equity):
        return dict.fromkeys(EXPOSURE_METRICS[3:], math.nan)
    if len(exposure) != len(equity):
        raise BadInput(f"exposure of {len(exposure)} times for equity at {len(equity)}; accepted: the same times")
    gross, net = (exposure[name].to_numpy(dtype="float64") for name in ("gross", "net"))
    return {
        "average_gross_exposure": float(np.mean(gross)),
        "max_gross_exposure": float(gross.max()),
        "average_net_exposure": float(np.mean(net)),
        "leveraged_share": float(np.mean(gross > 1)),
    }
