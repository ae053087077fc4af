"""From a chunk of a file to wire columns: times, numbers, and the symbol that a file may name. Order, repeats and what of it is
stored are the affair of `bar_files`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import OHLCV, WIRE_DTYPES, Columns, row_count, take_rows
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.sources import file_times
from cryptai_pipelines.sources.file_columns import FILLED, NEEDED, SIMULATED, SYMBOL
from cryptai_pipelines.sources.file_numbers import texts_to_floats
from cryptai_pipelines.sources.file_tables import Chunk
from cryptai_pipelines.sources.file_times import TimeReading, UnreadableTime

_BEYOND_EXACT = 2.0**53
_US_FROM = 1e14


@dataclass
class RowReading:
    """What stays the same over the chunks of one file, and what was met. `place`: `line` or `row`. `powers`: those of
    `TimeReading` for the rows that were handed over, chunk by chunk."""

    file: str
    columns: Mapping[str, int]
    names: Mapping[str, str]
    times: TimeReading
    place: str = "line"
    rows: int = 0
    symbol: str | None = None
    filled: int = 0
    unreadable: int = 0
    first_unreadable: str | None = None
    seen: set[str] = field(default_factory=set)
    powers: list[np.ndarray] = field(default_factory=list)


def wire_rows(chunk: Chunk, reading: RowReading) -> Columns:
    """Wire columns (`WIRE_DTYPES`) in the order of the file. A price or volume that is no number is NaN; what the file does not
    report beyond OHLCV is 0. Rows that the file says are filled are left out: no source has given them.

    `BadInput` names file, line and value of an unreadable time, of a second symbol, and of a price column that holds no number
    at all; and a file that says its bars are simulated."""
    if SYMBOL in reading.columns:
        _hold_one_symbol(chunk, reading)
    if SIMULATED in reading.columns and _flags(chunk, SIMULATED, reading).any():
        raise BadInput(f"{reading.file} holds simulated bars; accepted: bars of a real market")
    ts = _times(chunk, reading)
    powers = reading.times.powers
    columns: Columns = {"ts": ts}
    for name, dtype in WIRE_DTYPES.items():
        if name == "ts":
            continue
        if name not in reading.columns:
            columns[name] = np.zeros(len(ts), dtype=dtype)
        elif name == "close_ts":
            columns[name] = _close_times(_floats(chunk.column(reading.columns[name])))
        else:
            columns[name] = _numbers(chunk, name, reading).astype(dtype, copy=False)
    if FILLED in reading.columns:
        given = ~_flags(chunk, FILLED, reading)
        reading.filled += int((~given).sum())
        columns, powers = take_rows(columns, given), powers[given]
    reading.powers.append(powers)
    reading.rows += row_count(columns)
    return columns


def _flags(chunk: Chunk, name: str, reading: RowReading) -> np.ndarray:
    cells = chunk.column(reading.columns[name])
    texts = cells if isinstance(cells, list) else [str(value) for value in cells.to_pylist()]
    return np.array([text.strip().lower() in ("true", "1") for text in texts], dtype=bool)


def _times(chunk: Chunk, reading: RowReading) -> np.ndarray:
    cells = chunk.column(reading.columns["ts"])
    try:
        return file_times.texts_to_ms(cells, reading.times) if isinstance(cells, list) else _typed_times(cells, reading.times)
    except UnreadableTime as error:
        place = f"{reading.file} {reading.place} {chunk.line(error.row)}, column {reading.names['ts']!r}"
        raise BadInput(f"{place}: {str(error.value)[:60]!r} {error.reason}") from None


def _typed_times(cells: Any, reading: TimeReading) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if cells.null_count:
        raise UnreadableTime(
            int(np.flatnonzero(cells.is_null())[0]), None, "stands where a time should; accepted: no empty times"
        )
    kind = cells.type
    if pa.types.is_date(kind):
        reading.met.add("date")
        days = pc.cast(pc.cast(cells, pa.timestamp("ms")), pa.int64()).to_numpy(zero_copy_only=False)
        reading.powers = np.zeros(len(days), dtype="int8")
        return days if reading.dates_are_utc else file_times.naive_to_ms(days, reading)
    if pa.types.is_timestamp(kind):
        ms = pc.cast(pc.cast(cells, pa.timestamp("ms", kind.tz), safe=False), pa.int64()).to_numpy(zero_copy_only=False)
        return file_times.naive_to_ms(ms, reading) if kind.tz is None else file_times.zoned_to_ms(ms, reading)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return file_times.numbers_to_ms(cells.to_numpy(zero_copy_only=False), reading)
    return file_times.texts_to_ms([str(value) for value in cells.to_pylist()], reading)


def _numbers(chunk: Chunk, name: str, reading: RowReading) -> np.ndarray:
    cells = chunk.column(reading.columns[name])
    values = _floats(cells)
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        at = f"{reading.place} {chunk.line(int(bad[0]))}, column {reading.names[name]!r}: {_shown(cells[int(bad[0])])}"
        if name in NEEDED and len(bad) == len(values) and name not in reading.seen:
            raise BadInput(
                f"{reading.file} {at} is no number, and no other in the column is; accepted: decimal numbers, 1234.5"
            )
        if name in OHLCV:
            reading.unreadable += len(bad)
            reading.first_unreadable = reading.first_unreadable or at
    if len(bad) < len(values):
        reading.seen.add(name)
    if name in OHLCV:
        return values
    return np.clip(np.nan_to_num(values, nan=0.0), -_BEYOND_EXACT, _BEYOND_EXACT) if name == "trades" else np.nan_to_num(values)


def _floats(cells: Any) -> np.ndarray:
    """float64 of texts or of an Arrow array of any type; NaN where there is no number."""
    if isinstance(cells, list):
        return texts_to_floats(cells)
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = cells.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pc.cast(cells, pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype("float64")
    return texts_to_floats(["" if value is None else str(value) for value in cells.to_pylist()])


def _close_times(values: np.ndarray) -> np.ndarray:
    """Epoch milliseconds of close times in ms or us; 0 where the file holds something else."""
    good = np.isfinite(values) & (values > 1e11) & (values < 1e17)
    ms = np.where(values >= _US_FROM, values // 1000, values)
    return np.where(good, ms, 0).astype("int64")


def _hold_one_symbol(chunk: Chunk, reading: RowReading) -> None:
    cells = chunk.column(reading.columns[SYMBOL])
    texts = cells if isinstance(cells, list) else [str(value) for value in cells.to_pylist()]
    reading.symbol = reading.symbol or texts[0]
    others = [
        row for row, text in enumerate(texts) if text != reading.symbol and plain_symbol(text) != plain_symbol(reading.symbol)
    ]
    if others:
        place = f"{reading.file} {reading.place} {chunk.line(others[0])}"
        raise BadInput(f"{place}: a row of {texts[others[0]]!r} in a file of {reading.symbol!r}; accepted: one symbol per file")


def plain_symbol(text: str) -> str:
    """A symbol without its punctuation, in capitals, to compare spellings."""
    return re.sub(r"[\W_]+", "", text).upper()


def _shown(cell: Any) -> str:
    return repr(str(cell)[:60])
