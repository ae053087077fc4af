"""Which bars of a lower timeframe a bar is made of, for telling what came first in it. Telling it is done in `exits`, reading
only those that are needed in `drill_down`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.inputs import checked_bars
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.market.errors import BadArgument


def with_finer_bars(bars: BarArrays, finer: pd.DataFrame, symbol: str) -> BarArrays:
    """`bars` with the finer ones behind them. finer: a frame like bars of a shorter timeframe that divides theirs; it may cover
    a part of their time. Lengths are the most usual steps of the open times; which finer bars count is said in `parts_of`.
    """
    name = f"finer[{symbol!r}]"
    checked = checked_finer(finer, name)
    if len(bars.ts) < 2 or len(finer) < 2:
        return bars
    length, step = usual_step(bars.ts), usual_step(checked["ts"])
    if step >= length or length % step:
        raise BadArgument(f"{name} has a bar every {step} ms and bars every {length} ms; accepted: a part of their length")
    starts, rows = parts_of(bars.ts, length, checked, step)
    return replace(bars, finer_starts=starts, finer=rows)


def checked_finer(finer: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """`inputs.checked_bars` with `filled`: bool."""
    columns = checked_bars(finer, name)
    given = "is_filled" in finer.columns
    return {**columns, "filled": finer["is_filled"].to_numpy(dtype=bool) if given else np.zeros(len(finer), dtype=bool)}


def parts_of(opens: np.ndarray, length: int, finer: dict[str, np.ndarray], step: int) -> tuple[np.ndarray, np.ndarray]:
    """(where in the rows the parts of each bar begin and end, int64 (n, 2); the rows open, high and low, float64 (3, m)) of the
    bars of `length` ms that open at `opens` (int64 ms, ascending, on one grid). finer: of `checked_finer`, one every `step` ms.

    The finer bars of a bar count when they are complete: one for every step of its length, none of them filled. Of these, the
    ones without volume reach nothing and are left out. A bar without any begins where it ends.
    """
    edges = np.searchsorted(finer["ts"], np.stack((opens, opens + length), axis=1))
    good_before = np.concatenate(([0], np.cumsum(~finer["filled"] & ((finer["ts"] - opens[0]) % step == 0))))
    complete = good_before[edges[:, 1]] - good_before[edges[:, 0]] == length // step
    traded_before = np.concatenate(([0], np.cumsum(finer["tradable"])))
    starts = traded_before[edges] * complete[:, None]
    return starts.astype(np.int64), np.stack([finer[column][finer["tradable"]] for column in ("open", "high", "low")])


def usual_step(ts: np.ndarray) -> int:
    """The most frequent distance of open times, in ms; of several the shortest."""
    steps, counts = np.unique(np.diff(ts), return_counts=True)
    return int(steps[np.argmax(counts)])
