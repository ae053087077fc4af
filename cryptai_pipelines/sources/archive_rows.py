"""From the bytes of an archived zip to wire columns, and from those of its `.CHECKSUM` to a hash. Pure; fetching is elsewhere.

The rule of `kline_rows` holds here, too: what breaks the structure makes the whole file `Malformed`; a single value that cannot
be read makes that value NaN (-1 in an integer field).
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns, take_rows
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.kline_rows import UNREADABLE_INTEGER

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ZIP_BYTES = 32 * 1024 * 1024
"""A month of 1m klines is about 3 MB."""
MAX_CSV_BYTES = 64 * 1024 * 1024
"""A month of 1m klines is about 7 MB."""

MICROSECONDS_FROM = 10**14
"""From here on a time is in microseconds: as milliseconds it would be after the year 5138, as microseconds it is 1973."""

_CHECKSUM = re.compile(rb"([0-9a-fA-F]{64}) [ *]([^\r\n/\\]{1,200})\r?\n?")
_HEADER = re.compile(rb"[A-Za-z_ ]+(,[A-Za-z_ ]+){11}")
_END_OF_DIRECTORY = struct.Struct("<4s4H2IH")
_MAX_DIRECTORY_BYTES = 4096
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_INTEGER = r"^-?[0-9]{1,18}$"
_TIMES = ("ts", "close_ts")


def read_checksum(content: bytes, name: str) -> str:
    """The SHA-256 (64 hex digits, lower case) that a `.CHECKSUM` gives for the file `name`; `Malformed` for anything else."""
    found = _CHECKSUM.fullmatch(content)
    if not found:
        raise Malformed(f"the checksum should be 64 hex digits, two spaces and {name}, not {content[:60]!r}")
    if found[2].decode("utf-8", "replace") != name:
        raise Malformed(f"the checksum is for {found[2].decode('utf-8', 'replace')!r}, not {name}")
    return found[1].decode().lower()


def read_zip(content: bytes, csv_name: str) -> bytes:
    """The one member of a zip, which must be called `csv_name`. `Malformed` for anything but a whole, plain zip of at most
    `MAX_ZIP_BYTES` with that one member of at most `MAX_CSV_BYTES`, whatever its directory claims."""
    _check_directory(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if [member.filename for member in members] != [csv_name]:
                raise Malformed(f"the zip should hold {csv_name} alone, not {[member.filename for member in members][:3]}")
            (member,) = members
            if member.file_size > MAX_CSV_BYTES:
                raise Malformed(f"{csv_name} would be {member.file_size} bytes; at most {MAX_CSV_BYTES} are read")
            with archive.open(member) as inflated:
                text = inflated.read(MAX_CSV_BYTES + 1)
    # NotImplementedError: a compression of another kind; RuntimeError: an encrypted member.
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError, ValueError) as error:
        raise Malformed(f"not a zip that can be read: {error}") from None
    if len(text) != member.file_size:
        raise Malformed(f"{csv_name} should be {member.file_size} bytes and is {len(text)}")
    return text


def _check_directory(content: bytes) -> None:
    """Refuse what would make the directory of a zip itself large: `zipfile` reads all of it before anything can be asked."""
    if len(content) > MAX_ZIP_BYTES:
        raise Malformed(f"the zip is {len(content)} bytes; at most {MAX_ZIP_BYTES} are read")
    end = content[-_END_OF_DIRECTORY.size :]
    if len(end) < _END_OF_DIRECTORY.size or end[:4] != b"PK\x05\x06":
        raise Malformed(f"no zip: {len(content)} bytes that begin with {content[:20]!r} and do not end as a zip does")
    _, _, _, _, members, size, _, comment = _END_OF_DIRECTORY.unpack(end)
    if members != 1 or size > _MAX_DIRECTORY_BYTES or comment:
        raise Malformed(f"the zip should hold one file, not {members} in a directory of {size} bytes")


def read_klines(text: bytes, period: Interval) -> Columns:
    """Wire columns (`WIRE_DTYPES`, ascending `ts`) of a klines CSV, with or without a header, times in milliseconds or
    microseconds from row to row. Rows that repeat an open time or are off the grid are kept.

    `Malformed` for no rows, another number of fields than 12, an open time that is no integer or lies outside `period`.
    """
    text = text.removeprefix(b"\xef\xbb\xbf")
    table = _table(text, 1 if _has_header(text) else 0)
    if not table.num_rows:
        raise Malformed("the file holds no rows")
    columns: Columns = {}
    for name, dtype in WIRE_DTYPES.items():
        columns[name] = table.column(name).to_numpy().astype(dtype, copy=False)
    for name in _TIMES:
        times = columns[name]
        columns[name] = np.where(times >= MICROSECONDS_FROM, times // 1000, times)
    _check_open_times(columns["ts"], period)
    if (np.diff(columns["ts"]) < 0).any():
        columns = take_rows(columns, np.argsort(columns["ts"], kind="stable"))
    return columns


def _has_header(text: bytes) -> bool:
    first = text[:1000].partition(b"\n")[0].rstrip(b"\r")
    return bool(_HEADER.fullmatch(first))


def _table(text: bytes, skip: int) -> pa.Table:
    """The CSV as an Arrow table without nulls, columns as in `WIRE_DTYPES` (float32 as float64)."""
    import pyarrow as pa

    numbers = {name: pa.int64() if dtype == "int64" else pa.float64() for name, dtype in WIRE_DTYPES.items()}
    try:
        table = _parsed(text, skip, numbers)
    except pa.ArrowInvalid:
        # Some value is no number, or the structure is broken; as text only the latter fails again.
        texts = _parsed_or_malformed(text, skip)
        return pa.table({name: _numbers(texts.column(name), kind) for name, kind in numbers.items()})
    for place, (name, kind) in enumerate(numbers.items()):
        if table.column(name).null_count:
            table = table.set_column(place, name, _filled(table.column(name), kind))
    return table


def _parsed(text: bytes, skip: int, types: dict[str, pa.DataType]) -> pa.Table:
    from pyarrow import BufferReader, csv

    return csv.read_csv(
        BufferReader(text),
        # One block: files are parsed side by side already, and a column in one piece is not copied again.
        csv.ReadOptions(use_threads=False, block_size=len(text) + 1, skip_rows=skip, column_names=list(WIRE_DTYPES)),
        csv.ParseOptions(quote_char=False, newlines_in_values=False),
        csv.ConvertOptions(column_types=types),
    )


def _parsed_or_malformed(text: bytes, skip: int) -> pa.Table:
    import pyarrow as pa

    try:
        return _parsed(text, skip, dict.fromkeys(WIRE_DTYPES, pa.binary()))
    except pa.ArrowInvalid as error:
        raise Malformed(f"not a CSV of klines: {' '.join(str(error).split())[:160]}") from None


def _numbers(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Texts as numbers of `kind`; those that are none as `_filled` says."""
    import pyarrow as pa
    import pyarrow.compute as pc

    readable = pc.match_substring_regex(column, _INTEGER if pa.types.is_integer(kind) else _NUMBER)
    texts = pc.if_else(readable, column, pa.scalar(None, column.type)).cast(pa.string())
    return _filled(texts.cast(kind), kind)


def _filled(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    return column.fill_null(UNREADABLE_INTEGER if pa.types.is_integer(kind) else np.nan)


def _check_open_times(ts: np.ndarray, period: Interval) -> None:
    if (ts == UNREADABLE_INTEGER).any():
        raise Malformed(f"row {int(np.argmax(ts == UNREADABLE_INTEGER)) + 1} has an open time that is not an integer")
    outside = (ts < period.start_ms) | (ts >= period.end_ms)
    if outside.any():
        row = int(np.argmax(outside))
        span = f"[{format_time(period.start_ms)}, {format_time(period.end_ms)})"
        raise Malformed(f"row {row + 1} has the open time {int(ts[row])}, outside the file's period {span}")
