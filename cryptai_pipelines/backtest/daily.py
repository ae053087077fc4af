"""Portfolio rows per UTC day, from equity per bar. Metrics over those rows are in `metrics`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms, ts_index

_DAY_MS = 86_400_000


def daily_rows(
    equity: pd.Series,
    initial_capital: float,
    previous_value: float | None = None,
    previous_peak: float | None = None,
) -> pd.DataFrame:
    """One row per UTC day that has a bar: index `day` (datetime64[ms, UTC], midnight), float64 columns total_value,
    daily_return, cumulative_return, drawdown.

    equity: per bar, indexed by UTC open time, ascending. The value of a day is the equity at its last bar, with an open
    position at the market price. A day without bars has no row; the return of the next one spans it.
    previous_value, previous_peak: total_value of the last row before the first day of `equity`, and the highest one so far;
    both None at the start of the history. A day that later bars continue is computed again from all its rows' last bar, so
    any split of the history gives the same rows to the last bit.
    drawdown: total_value over the highest of the start capital and all total_value to date, minus 1 (daily closes; the
    metric max_drawdown is taken over bars).
    """
    days = index_ms(equity.index) // _DAY_MS
    last_of_day = np.flatnonzero(np.append(days[1:] != days[:-1], True)) if len(days) else np.empty(0, dtype=int)
    values = equity.to_numpy(dtype="float64")[last_of_day]
    first = initial_capital if previous_value is None else previous_value
    before = np.concatenate(([first], values[:-1])) if len(values) else values
    start_peak = max(initial_capital, initial_capital if previous_peak is None else previous_peak)
    peak = np.maximum.accumulate(np.maximum(values, start_peak))
    rows = {
        "total_value": values,
        "daily_return": values / before - 1,
        "cumulative_return": values / initial_capital - 1,
        "drawdown": values / peak - 1,
    }
    return pd.DataFrame(rows, index=ts_index(days[last_of_day] * _DAY_MS).rename("day"))
