"""Checking what a caller hands to the engine: bars, entry signals, decisions, funding. Ranges of parameters are checked in
`parameters`; finer bars are laid out in `finer_bars`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.kernel import LONG_FLAG, SHORT_FLAG
from cryptai_pipelines.backtest.market_arrays import ORDER_COLUMNS, BarArrays
from cryptai_pipelines.market.bars import OHLCV, index_ms
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.quality.filling import refuse_interpolated

_PRICES = ("stop_level", "target_level", "limit_price")
_KNOWN = ("side", "exit_long", "exit_short", *ORDER_COLUMNS)


def bar_arrays(bars: pd.DataFrame, entries: pd.Series) -> BarArrays:
    """The columns that the engine reads; `BadArgument` names the argument, the row and the value that is wrong.

    bars: index UTC, ascending, unique; open, high, low, close finite and above 0; volume finite and at least 0; an optional
    bool `is_filled`. entries: bool, of the same index. A bar is tradable when it has volume and is not filled.
    """
    checked = checked_bars(bars, "bars")
    _same_index(entries, bars.index, "entries", "a bool Series indexed like bars", pd.Series)
    return BarArrays(**checked, entries=_flags(entries, "entries"))


def decision_arrays(bars: pd.DataFrame, decisions: pd.DataFrame, symbol: str) -> BarArrays:
    """`bar_arrays` of one symbol of a portfolio, with all that its decisions may ask for.

    decisions: indexed like bars. side: whole numbers 1, -1 or 0, the only mandatory column. exit_long, exit_short: bool.
    stop_level, target_level, limit_price: prices above 0 or NaN. volatility: at least 0 or NaN. priority: finite where a side
    is asked for. Other columns are not read."""
    checked = checked_bars(bars, f"bars[{symbol!r}]")
    name = f"decisions[{symbol!r}]"
    _same_index(decisions, bars.index, name, "a DataFrame indexed like the bars", pd.DataFrame)
    sides = _sides(decisions, name)
    return BarArrays(**checked, entries=sides, leave=_leave(decisions, name), orders=_orders(decisions, sides != 0, name))


def checked_bars(bars: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """The columns of `BarArrays` that come from bars; `name` is what an error calls them."""
    if not isinstance(bars, pd.DataFrame):
        raise BadArgument(f"{name} is a {type(bars).__name__}; accepted: a DataFrame indexed by UTC open time")
    refuse_interpolated(bars)
    ts = open_times(bars.index, name)
    columns = {column: _values(bars, column, name) for column in OHLCV}
    _require_order(columns, bars.index, name)
    tradable = columns["volume"] > 0
    if "is_filled" in bars.columns:
        tradable &= ~_flags(bars["is_filled"], f"{name}.is_filled")
    return {"ts": ts, **columns, "tradable": tradable}


def funding_arrays(rates: pd.Series, symbol: str) -> tuple[np.ndarray, np.ndarray]:
    """Times (int64 ms) and rates (float64) of a funding Series indexed by ascending, unique UTC times; rates finite."""
    name = f"funding[{symbol!r}]"
    if not isinstance(rates, pd.Series):
        raise BadArgument(f"{name} is a {type(rates).__name__}; accepted: a Series of rates indexed by UTC time")
    times = open_times(rates.index, name)
    values = _numbers(rates, name)
    _require_rows(np.isfinite(values), values, rates.index, name, "a finite rate, such as 0.0001")
    return times, values


def same_symbols(given: Mapping[str, object], symbols: Iterable[str], name: str, *, all_of_them: bool = False) -> None:
    """`BadArgument` when the mapping `name` has a symbol that bars have not, or lacks one that it needs."""
    if not isinstance(given, Mapping):
        raise BadArgument(f"{name} is a {type(given).__name__}; accepted: a mapping by symbol")
    strange = [symbol for symbol in given if symbol not in set(symbols)]
    if strange:
        raise BadArgument(f"{name} has {strange[0]!r}, of which there are no bars; accepted: the symbols of bars")
    missing = [symbol for symbol in symbols if symbol not in given] if all_of_them else []
    if missing:
        raise BadArgument(f"{name} has no {missing[0]!r}; accepted: the symbols of bars")


def open_times(index: pd.Index, name: str) -> np.ndarray:
    """The times of a UTC index in ms, ascending and unique; `name` is what an error calls the argument."""
    if not isinstance(index, pd.DatetimeIndex):
        raise BadArgument(f"{name} index is a {type(index).__name__}; accepted: a DatetimeIndex in UTC")
    if index.tz is None:
        raise BadArgument(f"{name} index has no time zone; accepted: UTC, as by {name}.tz_localize('UTC')")
    if str(index.tz) != "UTC":
        raise BadArgument(f"{name} index is in {index.tz}; accepted: UTC, as by {name}.tz_convert('UTC')")
    if index.hasnans:
        raise BadArgument(f"{name} index has no time in row {int(np.argmax(index.isna()))}")
    ts = index_ms(index)
    steps = np.diff(ts)
    if len(steps) and steps.min() <= 0:
        row = int(np.argmax(steps <= 0)) + 1
        fault = "a duplicate of the row before" if steps[row - 1] == 0 else "before the row before it"
        raise BadArgument(f"{name} row {row} at {index[row].isoformat()} is {fault}; accepted: ascending, unique open times")
    return ts


def _values(bars: pd.DataFrame, column: str, name: str) -> np.ndarray:
    if column not in bars.columns:
        raise BadArgument(f"{name} has no column {column!r}; needed: {', '.join(OHLCV)}")
    values = _numbers(bars[column], f"{name}.{column}")
    least = 0.0 if column == "volume" else np.nextafter(0.0, 1.0)
    # A comparison with NaN is false, so one pass of min and max answers for the whole column.
    if len(values) and not (values.min() >= least and values.max() < np.inf):
        accepted = "a finite number of at least 0" if column == "volume" else "a finite number above 0"
        _require_rows((values >= least) & (values < np.inf), values, bars.index, f"{name}.{column}", accepted)
    return values


def _require_order(columns: dict[str, np.ndarray], index: pd.DatetimeIndex, name: str) -> None:
    good = columns["low"] <= columns["high"]
    if not good.all():
        row = int(np.argmin(good))
        low, high = columns["low"][row], columns["high"][row]
        at = index[row].isoformat()
        raise BadArgument(f"{name} has the low {low} above the high {high} in row {row} at {at}; accepted: low <= high")


def _numbers(column: pd.Series, name: str) -> np.ndarray:
    try:
        return np.ascontiguousarray(column.to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError):
        raise BadArgument(f"{name} of type {column.dtype} is not numeric") from None


def _require_rows(good: np.ndarray, values: np.ndarray, index: pd.DatetimeIndex, name: str, accepted: str) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise BadArgument(f"{name} is {values[row]} in row {row} at {index[row].isoformat()}; accepted: {accepted}")


def _same_index(given: pd.Series | pd.DataFrame, index: pd.DatetimeIndex, name: str, wanted: str, kind: type) -> None:
    if not isinstance(given, kind):
        raise BadArgument(f"{name} is a {type(given).__name__}; accepted: {wanted}")
    if len(given) != len(index):
        raise BadArgument(f"{name} has {len(given)} rows and bars has {len(index)}; accepted: one row per bar")
    if given.index is not index and not given.index.equals(index):
        row = int(np.argmax(np.asarray(given.index != index)))
        here, there = given.index[row], index[row]
        raise BadArgument(f"{name} row {row} is at {here} and bars row {row} at {there}; accepted: the index of bars")


def _flags(flags: pd.Series, name: str) -> np.ndarray:
    if not pd.api.types.is_bool_dtype(flags.dtype):
        raise BadArgument(f"{name} is of type {flags.dtype}; accepted: bool")
    missing = flags.isna().to_numpy()
    if missing.any():
        raise BadArgument(f"{name} is missing in row {int(np.argmax(missing))}; accepted: True or False")
    return np.ascontiguousarray(flags.to_numpy(dtype=bool))


def _sides(decisions: pd.DataFrame, name: str) -> np.ndarray:
    if "side" not in decisions.columns:
        raise BadArgument(f"{name} has no column 'side'; known: {', '.join(_KNOWN)}")
    sides = decisions["side"]
    if not pd.api.types.is_integer_dtype(sides.dtype):
        raise BadArgument(f"{name}.side is of type {sides.dtype}; accepted: whole numbers, 1, -1 or 0")
    values = sides.to_numpy(dtype="float64", na_value=np.nan)
    _require_rows(np.isin(values, (-1.0, 0.0, 1.0)), values, decisions.index, f"{name}.side", "1, -1 or 0")
    return values.astype(np.int8)


def _leave(decisions: pd.DataFrame, name: str) -> np.ndarray | None:
    leave = np.zeros(len(decisions), dtype=np.int8)
    for column, flag in (("exit_long", LONG_FLAG), ("exit_short", SHORT_FLAG)):
        if column in decisions.columns:
            leave[_flags(decisions[column], f"{name}.{column}")] |= flag
    return leave if leave.any() else None


def _orders(decisions: pd.DataFrame, asked: np.ndarray, name: str) -> np.ndarray | None:
    """A row of `ORDER_COLUMNS` per row that asks for a side; None when none of them says anything."""
    if not any(column in decisions.columns for column in ORDER_COLUMNS):
        return None
    index = decisions.index[asked]
    orders = np.full((len(index), len(ORDER_COLUMNS)), np.nan)
    orders[:, ORDER_COLUMNS.index("priority")] = 0.0
    for place, column in enumerate(ORDER_COLUMNS):
        if column not in decisions.columns:
            continue
        values = _numbers(decisions[column], f"{name}.{column}")[asked]
        if column == "priority":
            good, accepted = np.isfinite(values), "a finite number"
        else:
            least = np.nextafter(0.0, 1.0) if column in _PRICES else 0.0
            good = np.isnan(values) | ((values >= least) & (values < np.inf))
            accepted = "a finite price above 0, or NaN" if column in _PRICES else "a finite number of at least 0, or NaN"
        if not good.all():
            row = int(np.flatnonzero(asked)[np.argmin(good)])
            value, at = values[np.argmin(good)], decisions.index[row].isoformat()
            raise BadArgument(f"{name}.{column} is {value} in row {row} at {at}; accepted: {accepted}")
        orders[:, place] = values
    return orders
