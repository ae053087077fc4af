"""Checking what a caller hands to the engine: bars and entry signals. Ranges of parameters are checked in `parameters`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.engine import BarArrays
from cryptai_pipelines.market.bars import OHLCV, index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.quality.filling import refuse_interpolated


def bar_arrays(bars: pd.DataFrame, entries: pd.Series) -> BarArrays:
    """The columns that the engine reads; `BadArgument` names the argument, the row and the value that is wrong.

    bars: index UTC, ascending, unique; open, high, low, close finite and above 0; volume finite and at least 0; an optional
    bool `is_filled`. entries: bool, of the same index. A bar is tradable when it has volume and is not filled.
    """
    if not isinstance(bars, pd.DataFrame):
        raise BadArgument(f"bars is a {type(bars).__name__}; accepted: a DataFrame indexed by UTC open time")
    refuse_interpolated(bars)
    ts = _open_times(bars.index)
    columns = {name: _values(bars, name) for name in OHLCV}
    tradable = columns["volume"] > 0
    if "is_filled" in bars.columns:
        tradable &= ~_flags(bars["is_filled"], "bars.is_filled")
    prices = (columns[name] for name in ("open", "high", "low", "close"))
    return BarArrays(ts, *prices, tradable, _entry_flags(entries, bars.index))


def _open_times(index: pd.Index) -> np.ndarray:
    if not isinstance(index, pd.DatetimeIndex):
        raise BadArgument(f"bars index is a {type(index).__name__}; accepted: a DatetimeIndex in UTC")
    if index.tz is None:
        raise BadArgument("bars index has no time zone; accepted: UTC, as by bars.tz_localize('UTC')")
    if str(index.tz) != "UTC":
        raise BadArgument(f"bars index is in {index.tz}; accepted: UTC, as by bars.tz_convert('UTC')")
    if index.hasnans:
        raise BadArgument(f"bars index has no time in row {int(np.argmax(index.isna()))}")
    ts = index_ms(index)
    steps = np.diff(ts)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        fault = "a duplicate of the row before" if steps[row - 1] == 0 else "before the row before it"
        raise BadArgument(f"bars row {row} at {index[row].isoformat()} is {fault}; accepted: ascending, unique open times")
    return ts


def _values(bars: pd.DataFrame, name: str) -> np.ndarray:
    if name not in bars.columns:
        raise BadArgument(f"bars has no column {name!r}; needed: {', '.join(OHLCV)}")
    try:
        values = np.ascontiguousarray(bars[name].to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError):
        raise BadArgument(f"bars.{name} of type {bars[name].dtype} is not numeric") from None
    least = 0.0 if name == "volume" else np.nextafter(0.0, 1.0)
    # A comparison with NaN is false, so one pass of min and max answers for the whole column.
    if len(values) and not (values.min() >= least and values.max() < np.inf):
        row = int(np.argmin((values >= least) & (values < np.inf)))
        accepted = "a finite number of at least 0" if name == "volume" else "a finite number above 0"
        raise BadArgument(f"bars.{name} is {values[row]} in row {row} at {bars.index[row].isoformat()}; accepted: {accepted}")
    return values


def _entry_flags(entries: pd.Series, index: pd.DatetimeIndex) -> np.ndarray:
    if not isinstance(entries, pd.Series):
        raise BadArgument(f"entries is a {type(entries).__name__}; accepted: a bool Series indexed like bars")
    if len(entries) != len(index):
        raise BadArgument(f"entries has {len(entries)} rows and bars has {len(index)}; accepted: one entry flag per bar")
    if entries.index is not index and not entries.index.equals(index):
        row = int(np.argmax(np.asarray(entries.index != index)))
        here, there = entries.index[row], index[row]
        raise BadArgument(f"entries row {row} is at {here} and bars row {row} at {there}; accepted: the index of bars")
    return _flags(entries, "entries")


def _flags(flags: pd.Series, name: str) -> np.ndarray:
    if not pd.api.types.is_bool_dtype(flags.dtype):
        raise BadArgument(f"{name} is of type {flags.dtype}; accepted: bool")
    missing = flags.isna().to_numpy()
    if missing.any():
        raise BadArgument(f"{name} is missing in row {int(np.argmax(missing))}; accepted: True or False")
    return np.ascontiguousarray(flags.to_numpy(dtype=bool))
