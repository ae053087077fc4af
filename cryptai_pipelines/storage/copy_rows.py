"""Numpy columns to a table by binary COPY. What happens to rows that exist already is in `merge_rows`.

Each row is laid out in a byte matrix of one fixed width, column by column; bytes that a row does not use (NULLs, the ends of
shorter texts) are masked out at the end. A column of another dtype than its table wants is an error: COPY would store garbage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.storage.database import Cursor
from cryptai_pipelines.storage.tables import Table

# A column is an array of one value per row, a masked array where values may be missing, or one value for all rows.
Value = np.ndarray | str | int | float | bool
Values = Mapping[str, Value]

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_CHUNK_ROWS = 32_768

_WIRE_FORMATS = {"float8": ">f8", "float4": ">f4", "int8": ">i8", "int4": ">i4", "int2": ">i2", "bool": "?"}
_DTYPES = {"float8": "float64", "float4": "float32", "int8": "int64", "int4": "int32", "int2": "int16", "bool": "bool"}
_DTYPES |= {"timestamptz": "int64", "date": "int64"}
# On the wire jsonb is JSON text behind the version of that format.
_JSONB_VERSION = b"\x01"
_PG_EPOCH_MS = 946_684_800_000
_DAY_MS = 86_400_000
# What timestamptz can hold, in epoch milliseconds: 4713 BC to 294276 AD.
TS_RANGE_MS = (-210_866_803_200_000, 9_224_318_015_999_999)


@dataclass(frozen=True)
class Field:
    """One column on the wire. `data`: one fixed-width item per row, or a single item for all rows. `lengths`: bytes used
    per row, -1 for NULL; None when every row uses the whole width."""

    data: np.ndarray
    lengths: np.ndarray | None = None


def copy_rows(cursor: Cursor, table: Table, values: Values, rows: int, into: str | None = None) -> int:
    """COPY `rows` rows into `table` (or into the staging table `into` of the same columns) and return `rows`.

    `values`: by column name, one array of length `rows` or one value for all rows; times are int64 epoch milliseconds.
    `BadInput` names the column whose name, dtype, length or content does not fit; nothing has been sent then.
    """
    if rows == 0:
        return 0
    from psycopg2 import sql

    fields = [encode(table, name, value, rows) for name, value in values.items()]
    columns = sql.SQL(", ").join(sql.Identifier(name) for name in values)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(into or table.name), columns)
    cursor.copy_expert(statement, _Stream(binary_rows(fields, rows)), size=1 << 20)
    return rows


def binary_rows(fields: list[Field], rows: int) -> Iterator[bytes]:
    """The COPY stream in pieces: header, chunks of rows, trailer."""
    yield _HEADER
    for start in range(0, rows, _CHUNK_ROWS):
        yield _chunk(fields, start, min(start + _CHUNK_ROWS, rows))
    yield _TRAILER


def encode(table: Table, name: str, value: Value, rows: int) -> Field:
    """`value` of column `name` as it goes over the wire; `BadInput` when it does not fit the declared type exactly."""
    if name not in table.types:
        raise BadInput(f"{table.name} has no column {name!r} for rows; it has: {' '.join(table.types)}")
    kind, nullable = table.types[name].rstrip("?"), table.types[name].endswith("?")
    where = f"{table.name}.{name}"
    if kind in ("text", "jsonb"):
        return _encode_text(value, rows, nullable, where, _JSONB_VERSION if kind == "jsonb" else b"")
    array, missing = _checked(value, rows, _DTYPES[kind], where)
    if nullable and kind in ("float8", "float4"):
        missing = missing | np.isnan(array)
    if missing.any() and not nullable:
        raise BadInput(f"{where} may not be missing, but row {int(np.argmax(missing))} is")
    data = _on_the_wire(np.where(missing, _PG_EPOCH_MS, array) if kind in ("timestamptz", "date") else array, kind, where)
    if not missing.any():
        return Field(data)
    return Field(np.broadcast_to(data, rows), np.broadcast_to(np.where(missing, -1, data.dtype.itemsize), rows))


def _checked(value: Value, rows: int, dtype: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """The plain array (length `rows`, or 1 for one value) and which of it is missing."""
    if not isinstance(value, np.ndarray):
        wanted = np.dtype(dtype)
        fits = isinstance(value, bool) if wanted.kind == "b" else not isinstance(value, bool | str)
        array = np.asarray([value])
        if not fits or not np.can_cast(array.dtype, wanted, casting="same_kind") or array.astype(wanted)[0] != value == value:
            raise BadInput(f"{where} takes {dtype}, not {value!r}")
        return array.astype(wanted), np.zeros(1, bool)
    if value.shape != (rows,):
        raise BadInput(f"{where} has shape {value.shape}, the other columns have {rows} rows")
    if value.dtype != np.dtype(dtype):
        raise BadInput(f"{where} takes {dtype}, not {value.dtype}")
    return np.ma.getdata(value), np.ma.getmaskarray(value)


def _on_the_wire(array: np.ndarray, kind: str, where: str) -> np.ndarray:
    if kind == "timestamptz":
        bad = (array < TS_RANGE_MS[0]) | (array > TS_RANGE_MS[1])
        if bad.any():
            raise BadInput(f"{where} cannot hold {int(array[np.argmax(bad)])} (epoch milliseconds)")
        return ((array - _PG_EPOCH_MS) * 1000).astype(">i8")
    if kind == "date":
        if (array % _DAY_MS).any():
            raise BadInput(f"{where} takes the start of a day in epoch milliseconds")
        return ((array - _PG_EPOCH_MS) // _DAY_MS).astype(">i4")
    return array.astype(_WIRE_FORMATS[kind])


def _encode_text(value: Value, rows: int, nullable: bool, where: str, prefix: bytes) -> Field:
    if isinstance(value, str):
        content = prefix + _utf8(value, where)
        return Field(np.frombuffer(content, dtype=f"S{len(content)}") if content else np.empty(1, "V0"))
    if not isinstance(value, np.ndarray) or value.shape != (rows,) or value.dtype.kind not in "OUT":
        raise BadInput(f"{where} takes one text or an array of {rows} texts, not {value!r:.60}")
    missing = np.ma.getmaskarray(value)
    encoded = [
        None if gone or text is None or text != text else prefix + _utf8(text, where)
        for text, gone in zip(np.ma.getdata(value).tolist(), missing.tolist(), strict=True)
    ]
    if not nullable and None in encoded:
        raise BadInput(f"{where} may not be missing, but row {encoded.index(None)} is")
    lengths = np.array([-1 if item is None else len(item) for item in encoded])
    width = max(1, int(lengths.max()))
    return Field(np.array([(item or b"").ljust(width, b" ") for item in encoded], dtype=f"S{width}"), lengths)


def _utf8(text: object, where: str) -> bytes:
    if not isinstance(text, str):
        raise BadInput(f"{where} takes text, not {text!r:.60}")
    if "\0" in text:
        raise BadInput(f"{where} cannot hold a NUL character")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{where} cannot hold {text!r:.60}: it is not valid Unicode") from None


def _chunk(fields: list[Field], start: int, end: int) -> bytes:
    layout: list[tuple[str, object]] = [("count", ">i2")]
    for position, field in enumerate(fields):
        layout += [(f"length{position}", ">i4"), (f"data{position}", field.data.dtype)]
    block = np.empty(end - start, dtype=layout)
    block["count"] = len(fields)
    for position, field in enumerate(fields):
        block[f"length{position}"] = field.data.dtype.itemsize if field.lengths is None else field.lengths[start:end]
        if field.data.dtype.itemsize:
            block[f"data{position}"] = field.data if len(field.data) == 1 else field.data[start:end]
    if all(field.lengths is None for field in fields):
        return block.tobytes()
    matrix = block.view(np.uint8).reshape(end - start, block.dtype.itemsize)
    kept = np.ones(matrix.shape, dtype=bool)
    for position, field in enumerate(fields):
        if field.lengths is not None:
            offset, width = block.dtype.fields[f"data{position}"][1], field.data.dtype.itemsize
            kept[:, offset : offset + width] = np.arange(width) < field.lengths[start:end, None]
    return matrix[kept].tobytes()


class _Stream:
    """What psycopg2 reads a COPY from: each read hands over the next piece, whatever size was asked for."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int) -> bytes:
        return next(self._pieces, b"")
