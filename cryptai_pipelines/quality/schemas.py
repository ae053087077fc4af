"""What a whole batch of bars must look like: its columns, their types and ranges. Rules that single rows break out of a
sound batch are in `row_rules`.

The raw schema guards the entrance: a batch that breaks it cannot be judged row by row. The validated schema guards the exit:
what it states holds for every row of `market_data`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, WIRE_DTYPES, Columns, index_ms
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe

if TYPE_CHECKING:
    import pandera.pandas as pa


class BatchRejected(CryptaiError):
    """A batch of bars as a whole is not what it must be; nothing of it may be stored."""


class ColumnDoc(NamedTuple):
    """A column as a catalogue shows it."""

    name: str
    type: str
    description: str


_MEANINGS = {
    "ts": "Open time, UTC; the bar covers [ts, ts + timeframe)",
    "open": "First price, in the quote currency",
    "high": "Highest price",
    "low": "Lowest price",
    "close": "Last price",
    "volume": "Traded amount, in the base currency",
    "close_ts": "Last millisecond of the bar as the venue gives it; 0 when it gives none",
    "quote_volume": "Traded amount, in the quote currency",
    "trades": "Number of trades",
    "taker_buy_base": "Part of volume that buyers took from the book",
    "taker_buy_quote": "Part of quote_volume that buyers took from the book",
    "unused": "Field without a meaning, kept as received",
}

_PRICES = ("open", "high", "low", "close")


def raw_columns() -> tuple[ColumnDoc, ...]:
    """Columns of raw wire rows, in order."""
    return tuple(ColumnDoc(name, dtype, _MEANINGS[name]) for name, dtype in WIRE_DTYPES.items())


def validated_columns() -> tuple[ColumnDoc, ...]:
    """Columns of validated bars, in order, the index first."""
    unreported = "; null when the venue did not report it"
    return (
        ColumnDoc("ts", "datetime64[ms, UTC]", _MEANINGS["ts"]),
        *(ColumnDoc(n, "float64", _MEANINGS[n] + ("" if n in OHLCV else unreported)) for n in BAR_COLUMNS),
    )


@cache
def raw_schema() -> pa.DataFrameSchema:
    """Every wire column with exactly its type, and no other column. Values are not looked at."""
    import pandera.pandas as pa

    columns = {c.name: pa.Column(c.type, nullable=True, description=c.description) for c in raw_columns()}
    return pa.DataFrameSchema(columns, strict=True, name="raw bars")


@cache
def validated_schema() -> pa.DataFrameSchema:
    """Index `ts` (datetime64[ms, UTC], ascending, unique); prices finite and positive, `low <= open, close <= high`; amounts
    finite and not negative, NaN only where the venue may leave them out."""
    import pandera.pandas as pa

    def column(doc: ColumnDoc) -> pa.Column:
        if doc.name in _PRICES:
            check = pa.Check(lambda x: (x > 0) & (x < np.inf), name="positive_and_finite")
        else:
            check = pa.Check(lambda x: (x >= 0) & (x < np.inf), name="not_negative_and_finite")
        return pa.Column("float64", check, nullable=doc.name not in OHLCV, description=doc.description)

    return pa.DataFrameSchema(
        {doc.name: column(doc) for doc in validated_columns()[1:]},
        index=pa.Index(pd.DatetimeTZDtype("ms", "UTC"), pa.Check(_ascending, name="ascending_and_unique"), name="ts"),
        checks=[
            pa.Check(lambda bars: (bars["low"] <= bars["open"]) & (bars["low"] <= bars["close"]), name="low_is_lowest"),
            pa.Check(lambda bars: (bars["high"] >= bars["open"]) & (bars["high"] >= bars["close"]), name="high_is_highest"),
        ],
        strict=True,
        name="validated bars",
    )


def _ascending(ts: pd.Series) -> bool:
    opens = index_ms(pd.DatetimeIndex(ts))
    return bool((opens[1:] > opens[:-1]).all())


def check_raw(rows: Columns) -> None:
    """Raise `BatchRejected`, naming every missing, foreign or mistyped column, unless `rows` are wire rows of equal length."""
    shapes = {name: np.shape(values) for name, values in rows.items()}
    if any(len(shape) != 1 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise BatchRejected(f"raw bars must be one-dimensional columns of equal length, got {listed}")
    # The schema looks at names and types only: a few rows show them as well as all.
    _validate(raw_schema(), pd.DataFrame({name: np.asarray(values)[:1] for name, values in rows.items()}))


def check_validated(bars: pd.DataFrame, timeframe: Timeframe) -> None:
    """Raise `BatchRejected`, naming every broken statement and where it first fails, unless `bars` may be stored."""
    _validate(validated_schema(), bars)
    off_grid = np.flatnonzero(~timeframe.on_grid(index_ms(bars.index)))
    if len(off_grid):
        raise BatchRejected(f"validated bars are refused: not on the {timeframe.code} grid at {bars.index[off_grid[0]]}")


def _validate(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> None:
    from pandera.errors import SchemaErrors

    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as error:
        raise BatchRejected(f"{schema.name} are refused: {_summary(error.failure_cases)}") from None


def _summary(cases: pd.DataFrame) -> str:
    """Every broken check of pandera's `failure_cases` once, with its first failing value and place, on one line."""
    parts = {}
    for case in cases.to_dict("records"):
        column, check, value = case["column"], case["check"], case["failure_case"]
        if check in _STRUCTURE:
            parts[f"{_STRUCTURE[check]} {value}"] = ""
        elif case["schema_context"] == "DataFrameSchema":
            parts.setdefault(check, f" at {case['index']}")
        elif case["index"] is None:
            parts.setdefault(f"{column}: {check}", "" if isinstance(value, bool) else f", got {value}")
        else:
            parts.setdefault(f"{column}: {check}", f", got {value} at {case['index']}")
    return "; ".join(name + detail for name, detail in parts.items())


_STRUCTURE = {"column_in_schema": "unknown column", "column_in_dataframe": "missing column"}
