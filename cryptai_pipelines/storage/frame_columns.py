"""Columns of a frame as `copy_rows` takes them, and plain data as jsonb takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.storage.copy_rows import Value


def columns_of(frame: pd.DataFrame, names: tuple[str, ...], what: str) -> dict[str, Value]:
    """The named columns, times as epoch milliseconds and masked where there is none. `BadInput` names the first that `what`,
    such as `trades`, has not."""
    absent = [name for name in names if name not in frame]
    if absent:
        raise BadInput(f"{what} have no column {absent[0]!r}; needed: {' '.join(names)}")
    return {name: _values(frame[name]) for name in names}


def finite(value: Any) -> Any:
    """Plain data without what JSON has not: numbers that are not finite become None, numpy's become Python's."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain


def _values(column: pd.Series) -> np.ndarray:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        return np.ma.array(column.array.as_unit("ms").asi8, mask=column.isna().to_numpy())
    if column.dtype.kind in "OUT" or isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):
        return column.astype(object).to_numpy()
    return column.to_numpy()
