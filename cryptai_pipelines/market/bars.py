"""The shape of bars in memory: column names, dtypes, and the two forms (numpy columns on the wire, a frame afterwards).
Rules about what makes a bar good live in `quality`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

Columns = dict[str, np.ndarray]
"""Equal-length numpy arrays by column name. Times are int64 epoch milliseconds, UTC; `ts` is the open time."""

OHLCV = ("open", "high", "low", "close", "volume")

BAR_COLUMNS = (*OHLCV, "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
"""Value columns of a validated bar. float64; NaN only in the last four and means that the venue did not report it."""

WIRE_DTYPES: dict[str, str] = {
    "ts": "int64",
    "open": "float64",
    "high": "float64",
    "low": "float64",
    "close": "float64",
    "volume": "float64",
    "close_ts": "int64",
    "quote_volume": "float64",
    "trades": "int64",
    "taker_buy_base": "float64",
    "taker_buy_quote": "float64",
    "unused": "float32",
}
"""The 12 fields of a Binance kline in wire order, as a source hands them over and `raw_ohlcv` keeps them."""


def empty_columns() -> Columns:
    """Zero wire rows with the right dtypes."""
    return {name: np.empty(0, dtype=dtype) for name, dtype in WIRE_DTYPES.items()}


def concat_columns(parts: Sequence[Columns]) -> Columns:
    """Wire rows of all `parts`, in order; the empty sequence gives zero rows."""
    if not parts:
        return empty_columns()
    return {name: np.concatenate([part[name] for part in parts]) for name in WIRE_DTYPES}


def take_rows(columns: Columns, rows: np.ndarray) -> Columns:
    """The rows that a boolean mask or an index array selects, every column."""
    return {name: values[rows] for name, values in columns.items()}


def row_count(columns: Columns) -> int:
    """Number of rows."""
    return len(columns["ts"])


def ts_index(ts_ms: np.ndarray) -> pd.DatetimeIndex:
    """Epoch milliseconds as the index of a bars frame: datetime64[ms, UTC], named `ts`."""
    return pd.DatetimeIndex(np.asarray(ts_ms, dtype="int64").view("datetime64[ms]"), tz="UTC", name="ts")


def index_ms(index: pd.DatetimeIndex) -> np.ndarray:
    """Epoch milliseconds (int64) of a UTC index of any resolution."""
    return index.as_unit("ms").asi8


def bars_frame(columns: Columns) -> pd.DataFrame:
    """A bars frame: index `ts` (datetime64[ms, UTC]), the columns of `BAR_COLUMNS` that are present, float64."""
    data = {name: columns[name].astype("float64", copy=False) for name in BAR_COLUMNS if name in columns}
    return pd.DataFrame(data, index=ts_index(columns["ts"]))
