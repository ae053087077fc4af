"""Which bars of a lower timeframe a bar is made of, for telling what came first in it. Telling it is done in `exits`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.inputs import checked_bars
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.market.errors import BadArgument


def with_finer_bars(bars: BarArrays, finer: pd.DataFrame, symbol: str) -> BarArrays:
    """`bars` with the finer ones behind them. finer: a frame like bars of a shorter timeframe that divides theirs; it may cover
    a part of their time.

    Lengths are the most usual steps of the open times. The finer bars of a bar count when they are complete: one for every
    step of its length, none of them filled. Of these, the ones without volume reach nothing and are left out.
    """
    name = f"finer[{symbol!r}]"
    checked = checked_bars(finer, name)
    if len(bars.ts) < 2 or len(finer) < 2:
        return bars
    length, step = usual_step(bars.ts), usual_step(checked["ts"])
    if step >= length or length % step:
        raise BadArgument(f"{name} has a bar every {step} ms and bars every {length} ms; accepted: a part of their length")
    filled = finer["is_filled"].to_numpy(dtype=bool) if "is_filled" in finer.columns else np.zeros(len(finer), dtype=bool)
    edges = np.searchsorted(checked["ts"], np.stack((bars.ts, bars.ts + length), axis=1))
    good_before = np.concatenate(([0], np.cumsum(~filled & ((checked["ts"] - bars.ts[0]) % step == 0))))
    complete = good_before[edges[:, 1]] - good_before[edges[:, 0]] == length // step
    traded_before = np.concatenate(([0], np.cumsum(checked["tradable"])))
    starts = traded_before[edges] * complete[:, None]
    rows = np.stack([checked[column][checked["tradable"]] for column in ("open", "high", "low")])
    return replace(bars, finer_starts=starts.astype(np.int64), finer=rows)


def usual_step(ts: np.ndarray) -> int:
    """The most frequent distance of open times, in ms; of several the shortest."""
    steps, counts = np.unique(np.diff(ts), return_counts=True)
    return int(steps[np.argmax(counts)])
