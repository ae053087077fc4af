"""`market_structure`, one row per bar: the readings as they are stored and read back. What they mean is not said here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage import derived
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.copy_rows import Value
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.tables import STRUCTURE_COLUMNS

TABLE = "market_structure"
_DTYPES = {"int2": "int16", "timestamptz": "int64"}


def upsert(cursor: Cursor, series: Series, readings: pd.DataFrame, *, code_version: str, coverage_revision: int) -> Change:
    """Insert or replace the rows of one series, as `derived.upsert` does.

    readings: indexed by `ts`, a float64 column per name of `STRUCTURE_COLUMNS`: times in epoch ms, NaN for NULL. ValueError for
    a column that is missing; `BadInput` for NaN where the table has no NULL.
    """
    rows: dict[str, Value] = {"ts": index_ms(readings.index)}
    rows |= {name: _typed(readings[name].to_numpy(), kind) for name, kind in STRUCTURE_COLUMNS.items()}
    return derived.upsert(cursor, TABLE, keys_of(series), rows, code_version=code_version, coverage_revision=coverage_revision)


def read(
    db: Database,
    series: Series,
    start_ms: int | None = None,
    end_ms: int | None = None,
    columns: Sequence[str] = tuple(STRUCTURE_COLUMNS),
) -> pd.DataFrame:
    """The readings of the bars with `start_ms <= ts < end_ms` (all without bounds), as they were given to `upsert`."""
    found = derived.read(db, TABLE, keys_of(series), start_ms, end_ms, columns)
    return pd.DataFrame({name: _plain(found[name]) for name in columns}, index=found.index)


def keys_of(series: Series) -> dict[str, str]:
    """The key columns of the rows of a series."""
    return {"symbol": series.symbol, "timeframe": series.timeframe.code}


def _typed(values: np.ndarray, kind: str) -> np.ndarray:
    dtype = _DTYPES.get(kind.rstrip("?"))
    if dtype is None:
        return values
    missing = np.isnan(values)
    return np.ma.array(np.where(missing, 0, values).astype(dtype), mask=missing)


def _plain(column: pd.Series) -> np.ndarray:
    if column.dtype.kind != "M":
        return column.to_numpy(dtype="float64")
    times = column.to_numpy().astype("datetime64[ms]")
    return np.where(np.isnat(times), np.nan, times.astype("int64").astype("float64"))
