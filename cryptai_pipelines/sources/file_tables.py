"""Opening a file of bars and handing over its columns chunk by chunk, as they stand there: CSV (also gzip), Parquet, Feather.

No value is interpreted here but by the type that a typed file gives it. Memory is bounded by one chunk.
"""

from __future__ import annotations

import csv
import gzip
import itertools
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.sources.file_columns import looks_like_header

CHUNK_ROWS = 50_000
MOST_FILE_BYTES = 4 * 1024**3
_MOST_LINE = 100_000
_MOST_BANNER_LINES = 20
_LEAST_FIELDS = 5
_SUFFIXES = (".csv", ".csv.gz", ".txt", ".txt.gz", ".parquet", ".feather")
_DELIMITERS = ",;\t|"
_PARQUET_MAGIC, _ARROW_MAGIC, _GZIP_MAGIC, _ZIP_MAGIC = b"PAR1", b"ARROW1", b"\x1f\x8b", b"PK\x03\x04"


class Chunk(Protocol):
    """Some rows of a file."""

    def column(self, at: int) -> Any:
        """Column `at` of these rows: a list of texts, or an Arrow array of a typed file."""

    def line(self, row: int) -> int:
        """Where row `row` of the chunk stands in the file: its line, or its row from 1 where a file has no lines."""


@dataclass(frozen=True)
class Texts:
    """Rows of a CSV; `lines` are their line numbers."""

    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, at: int) -> list[str]:
        return [row[at] for row in self.rows]

    def line(self, row: int) -> int:
        return self.lines[row]


@dataclass(frozen=True)
class Batch:
    """Rows of a typed file from row `first` (from 1) on."""

    batch: Any
    first: int

    def column(self, at: int) -> Any:
        return self.batch.column(at)

    def line(self, row: int) -> int:
        return self.first + row


@dataclass(frozen=True)
class OpenTable:
    """`header` is None where the first row is data; `first_row` is what it holds. `place`: what a position is called."""

    header: list[str] | None
    first_row: list[str]
    banner: list[str]
    chunks: Iterator[Chunk]
    place: str = "line"


@contextmanager
def open_table(path: Path) -> Iterator[OpenTable]:
    """The table in `path`; `BadInput` when it is missing, empty, too large or of another format. What breaks later, while
    `chunks` is walked, is a `BadInput` that names the place."""
    magic = _beginning(path)
    with ExitStack() as stack:
        if magic[:4] == _PARQUET_MAGIC:
            yield _parquet(path, stack)
        elif magic[:6] == _ARROW_MAGIC:
            yield _feather(path, stack)
        else:
            yield _text(path, magic, stack)


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            magic = file.read(8)
        size = path.stat().st_size
    except OSError as error:
        raise BadInput(f"{path.name}: {error.strerror}; accepted: a file of bars ({' '.join(_SUFFIXES)})") from None
    if not magic:
        raise BadInput(f"{path.name} is empty; accepted: a file with at least one bar")
    if size > MOST_FILE_BYTES:
        raise BadInput(f"{path.name} has {size:,} bytes; accepted: at most {MOST_FILE_BYTES:,}, so split it")
    if magic[:4] == _ZIP_MAGIC or magic[:4] == b"FEA1":
        form = "a zip archive" if magic[:4] == _ZIP_MAGIC else "Feather version 1"
        raise BadInput(f"{path.name} is {form}; accepted: {' '.join(_SUFFIXES)} (unpack it first)")
    return magic


def _text(path: Path, magic: bytes, stack: ExitStack) -> OpenTable:
    lines = _numbered(stack.enter_context(_opened(path, magic)), path.name)
    banner: list[str] = []
    for number, line in lines:
        for delimiter in _DELIMITERS:
            row = next(csv.reader([line], delimiter=delimiter), [])
            if len(row) >= _LEAST_FIELDS and not line.startswith("#"):
                return _table(path.name, row, number, delimiter, banner, lines)
        if line.strip():
            banner.append(line.strip()[:200])
        if len(banner) > _MOST_BANNER_LINES:
            break
    shown = banner[0][:60] if banner else ""
    raise BadInput(f"{path.name}: no line has {_LEAST_FIELDS} fields, it begins {shown!r}; accepted: a CSV of bars")


def _table(name: str, row: list[str], number: int, delimiter: str, banner: list[str], lines: Iterator[Any]) -> OpenTable:
    chunks = _text_chunks(name, lines, delimiter, len(row))
    if looks_like_header(row):
        return OpenTable(row, [], banner, chunks)
    first: Chunk = Texts([row], [number])
    return OpenTable(None, row, banner, itertools.chain([first], chunks))


def _opened(path: Path, magic: bytes) -> IO[str]:
    encoding = "utf-16" if magic[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    opening = gzip.open if magic[:2] == _GZIP_MAGIC else open
    # A name of a plot may be in any encoding; digits are the same in all that files are written in.
    return opening(path, "rt", encoding=encoding, errors="replace", newline="")  # type: ignore[return-value]


def _numbered(file: IO[str], name: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers from 1; `BadInput` for one that no CSV of bars has, and for a gzip that breaks off."""
    for number in itertools.count(1):
        try:
            line = file.readline(_MOST_LINE)
        except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
            raise BadInput(f"{name} line {number}: the file cannot be read further: {error}; accepted: a whole file") from None
        if not line:
            return
        if len(line) >= _MOST_LINE:
            raise BadInput(f"{name} line {number} has more than {_MOST_LINE:,} characters; accepted: a CSV of bars")
        yield number, line


def _text_chunks(name: str, lines: Iterator[tuple[int, str]], delimiter: str, width: int) -> Iterator[Chunk]:
    while True:
        rows: list[list[str]] = []
        numbers: list[int] = []
        taken = list(itertools.islice(lines, CHUNK_ROWS))
        for number, line in taken:
            if not line.strip():
                continue
            row = line.rstrip("\r\n").split(delimiter) if '"' not in line else _quoted(line, delimiter)
            if len(row) != width:
                raise BadInput(f"{name} line {number} has {len(row)} fields; accepted: {width}, as in the first row")
            rows.append(row)
            numbers.append(number)
        if not taken:
            return
        if rows:
            yield Texts(rows, numbers)


def _quoted(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _parquet(path: Path, stack: ExitStack) -> OpenTable:
    from pyarrow import ArrowException, parquet

    try:
        file = stack.enter_context(parquet.ParquetFile(path))
        batches = file.iter_batches(batch_size=CHUNK_ROWS)
        return OpenTable(file.schema_arrow.names, [], [], _batches(path.name, batches), "row")
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise _corrupt(path.name, error) from None


def _feather(path: Path, stack: ExitStack) -> OpenTable:
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(stack.enter_context(pa.memory_map(str(path))))
        batches = (
            whole.slice(start, CHUNK_ROWS)
            for whole in map(reader.get_batch, range(reader.num_record_batches))
            for start in range(0, whole.num_rows, CHUNK_ROWS)
        )
        return OpenTable(reader.schema.names, [], [], _batches(path.name, batches), "row")
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _corrupt(path.name, error) from None


def _batches(name: str, batches: Iterator[Any]) -> Iterator[Chunk]:
    import pyarrow as pa

    first = 1
    while True:
        try:
            batch = next(batches, None)
            if batch is not None:
                # A damaged file may hold lengths and offsets that lead anywhere.
                batch.validate(full=True)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _corrupt(name, error) from None
        if batch is None:
            return
        if batch.num_rows:
            yield Batch(batch, first)
        first += batch.num_rows


def _corrupt(name: str, error: Exception) -> BadInput:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return BadInput(f"{name} cannot be read: {reason}; accepted: {' '.join(_SUFFIXES)}")
