"""Epoch milliseconds as Postgres and Arrow want times, and back."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_datetime(ts_ms: int | None) -> dt.datetime | None:
    """A UTC datetime, exact to the millisecond; None stays None."""
    return None if ts_ms is None else _EPOCH + dt.timedelta(milliseconds=int(ts_ms))


def to_ms(moment: dt.datetime | None) -> int | None:
    """Epoch milliseconds of an aware datetime; None stays None."""
    return None if moment is None else (moment - _EPOCH) // dt.timedelta(milliseconds=1)


def iso(ts_ms: int) -> str:
    """ISO 8601 text of the exact millisecond, as a parameter of `Database.read` that is cast to timestamptz."""
    return to_datetime(ts_ms).isoformat()  # type: ignore[union-attr]


def column_ms(column: pa.ChunkedArray) -> np.ndarray:
    """int64 epoch milliseconds of a timestamp[us, UTC] column without nulls."""
    return column.cast(pa.int64()).to_numpy() // 1000
