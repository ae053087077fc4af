"""A user's file of bars: what it was recognised as, what is wrong with its structure, and its bars as pages.

Columns are told in `file_columns`, values read in `file_rows`, formats opened in `file_tables`. Whether a bar makes sense is
judged in `quality`: rows are handed over as they stand, each open time once, in ascending order, closed bars only.

A file may hold its rows in any order, so they pass through a temporary file of fixed-size records; memory holds one chunk of
rows and 34 bytes per bar.
"""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.sources import file_columns, tradingview_csv
from cryptai_pipelines.sources.file_columns import SYMBOL, Recognised
from cryptai_pipelines.sources.file_rows import RowReading, plain_symbol, wire_rows
from cryptai_pipelines.sources.file_tables import OpenTable, open_table
from cryptai_pipelines.sources.file_times import TimeReading, check_reading

PAGE_ROWS = 10_000
MOST_ROWS = 20_000_000
"""More than 38 years of 1m bars; a larger file is not one series."""

_ROW = np.dtype(list(WIRE_DTYPES.items()))
_BYTES = np.dtype(("V", _ROW.itemsize))
_EXAMPLES = 3
_LEAST_BARS, _LEAST_STEPS, _SHARE = 10, 3, 0.99
"""From so many bars on, so often and for such a share of its steps must a file keep a longer spacing to be told from one whose
empty bars are left out: of 10 bars at random on a grid fewer than one file in 1,000 does. Not all steps must: clocks change."""

# Months have 28 to 31 days, quarters 90 to 92.
_UNEQUAL_FROM, _UNEQUAL = 7, 1.2


@dataclass(frozen=True)
class FileOptions:
    """What the user says of a file: the series it holds, columns by field, the zone of times without one (IANA), the unit of
    epoch times (`auto` tells it row by row), whether the last bar of a TradingView export is kept, and whether bars of its
    timeframe may lie so regularly apart that they look like longer ones."""

    series: Series
    mapping: Mapping[str, str] = field(default_factory=dict)
    zone: str = "UTC"
    time_unit: str = "auto"
    keep_last: bool = False
    sparse: bool = False


@dataclass(frozen=True)
class FileFindings:
    """What was recognised. Times are ISO 8601, counts are of rows. `rows` stand in the file, `bars` are handed over; the
    difference is told by `repeated` (equal in every column), `conflicting` (same open time, other values: the last one in the
    file counts), `not_closed` (by the clock) and `last_dropped`."""

    file: str
    sha256: str
    kind: str
    columns: Mapping[str, str]
    ignored: tuple[str, ...]
    times: tuple[str, ...]
    zone: str
    order: str
    rows: int
    bars: int
    first: str
    last: str
    repeated: int
    conflicting: int
    conflicts: tuple[str, ...]
    off_grid: int
    unreadable: int
    not_closed: int
    last_dropped: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BarFile:
    """An open file; `pages` may be walked more than once while it is open. `opens`: the open time of every row in the order of
    the file (int64, epoch ms). `powers`: those of `TimeReading`; None for a file that writes all its times alike."""

    findings: FileFindings
    timeframe: Timeframe
    rows: np.ndarray
    kept: np.ndarray
    fetched_at_ms: int
    memory: mmap.mmap
    opens: np.ndarray
    powers: np.ndarray | None

    @property
    def span(self) -> Interval:
        """From the open time of the first bar to the end of the last, on the grid."""
        first, last = int(self.rows["ts"][self.kept[0]]), int(self.rows["ts"][self.kept[-1]])
        return Interval(self.timeframe.floor(first), self.timeframe.floor(last) + self.timeframe.ms)

    def received(self) -> Iterator[tuple[Columns, int]]:
        """The open times of all rows as they came, repeated and unsorted ones too, `PAGE_ROWS` at a time: `ts` (int64, epoch
        ms), and `ts_written` (int64), the numbers of the file, when it writes its times in several units. With each part the
        number of its first rows that were the last of the part before."""
        for at in range(0, len(self.opens), PAGE_ROWS):
            part = slice(max(0, at - 1), at + PAGE_ROWS)
            columns = {"ts": self.opens[part]}
            if self.powers is not None:
                ts, powers = self.opens[part], self.powers[part].astype("int64")
                columns["ts_written"] = np.where(powers < 0, ts // 1000, ts * 1000 ** np.maximum(powers, 0))
            yield columns, at - part.start

    def pages(self) -> Iterator[Page]:
        """All bars, `PAGE_ROWS` a page; the `asked` intervals tile `span`. The URL of a page is the name of the file."""
        start = self.span.start_ms
        for at in range(0, len(self.kept), PAGE_ROWS):
            part = self.rows[self.kept[at : at + PAGE_ROWS]]
            after = self.kept[at + PAGE_ROWS : at + PAGE_ROWS + 1]
            end = int(self.rows["ts"][after[0]]) if len(after) else self.span.end_ms
            columns = {name: np.ascontiguousarray(part[name]) for name in WIRE_DTYPES}
            _let_go(self.memory)
            yield Page(columns, Interval(start, end), self.findings.file, self.findings.sha256, self.fetched_at_ms)
            start = end


@contextmanager
def open_bar_file(
    path: Path, options: FileOptions, now_ms: int, on_rows: Callable[[int], None] = lambda _: None
) -> Iterator[BarFile]:
    """Read `path` whole and hold its bars ready for the time of the block. `now_ms`: by this clock a bar has closed or not.
    `on_rows` is told how many rows were read so far.

    `BadInput` in one line naming the file, and where there is one the line and the value: for a format, a column, a time, or a
    spacing of bars that cannot be, and for a file without a single closed bar.
    """
    reading = TimeReading(options.zone, options.time_unit, options.series.timeframe.ms >= Timeframe.D1.ms)
    check_reading(reading)
    with open_table(path) as table, tempfile.TemporaryFile() as spill:
        recognised = _recognised(table, options, path.name)
        rows = RowReading(path.name, recognised.columns, recognised.names, reading, table.place)
        ts = _spill(table, rows, spill, on_rows)
        memory = mmap.mmap(spill.fileno(), 0, access=mmap.ACCESS_READ)
        yield _bar_file(path, options, now_ms, recognised, rows, memory, ts)


def _recognised(table: OpenTable, options: FileOptions, name: str) -> Recognised:
    try:
        if table.header is None:
            return file_columns.from_first_row(table.first_row, options.mapping)
        return file_columns.from_header(table.header, options.mapping, options.series.symbol, table.banner)
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None


def _spill(table: OpenTable, reading: RowReading, spill: Any, on_rows: Callable[[int], None]) -> np.ndarray:
    """Write every row as a fixed-size record; their open times in the order of the file."""
    parts: list[np.ndarray] = []
    for chunk in table.chunks:
        columns = wire_rows(chunk, reading)
        records = np.empty(len(columns["ts"]), dtype=_ROW)
        for name in WIRE_DTYPES:
            records[name] = columns[name]
        spill.write(records.tobytes())
        parts.append(columns["ts"])
        on_rows(reading.rows)
        if reading.rows > MOST_ROWS:
            raise BadInput(f"{reading.file} has more than {MOST_ROWS:,} rows; accepted: one series, which is never that long")
    if not reading.rows:
        what = f"no bars but {reading.filled:,} filled ones" if reading.filled else "no rows below its header"
        raise BadInput(f"{reading.file} holds {what}; accepted: a file with at least one bar")
    spill.flush()
    return np.concatenate(parts)


def _bar_file(
    path: Path,
    options: FileOptions,
    now_ms: int,
    recognised: Recognised,
    reading: RowReading,
    memory: mmap.mmap,
    ts: np.ndarray,
) -> BarFile:
    timeframe, rows = options.series.timeframe, np.frombuffer(memory, dtype=_ROW)
    order = np.argsort(ts, kind="stable")
    sorted_ts = ts[order]
    repeated, conflicts = _repeats(rows, order, sorted_ts)
    _let_go(memory)
    kept = order[np.concatenate((sorted_ts[1:] != sorted_ts[:-1], [True]))]
    _check_spacing(ts[kept], options, path.name)
    closed = int(np.searchsorted(ts[kept], now_ms - timeframe.ms, side="right"))
    not_closed = len(kept) - closed
    kept, dropped = kept[:closed], None
    if tradingview_csv.ends_unfinished(recognised.kind) and not options.keep_last and not not_closed:
        dropped, kept = format_time(int(ts[kept[-1]])), kept[:-1]
    if not len(kept):
        raise BadInput(f"{path.name} holds no {timeframe.code} bar that has closed; accepted: a file with at least one")
    findings = FileFindings(
        file=path.name,
        sha256=_sha256(path),
        kind=recognised.kind,
        columns=dict(recognised.names),
        ignored=recognised.ignored,
        times=tuple(sorted(reading.times.met)),
        zone=options.zone,
        order=_order(ts),
        rows=len(ts),
        bars=len(kept),
        first=format_time(int(ts[kept[0]])),
        last=format_time(int(ts[kept[-1]])),
        repeated=repeated,
        conflicting=len(conflicts),
        conflicts=tuple(format_time(int(at)) for at in conflicts[:_EXAMPLES]),
        off_grid=int((~timeframe.on_grid(ts[kept])).sum()),
        unreadable=reading.unreadable,
        not_closed=not_closed,
        last_dropped=dropped,
        notes=_notes(recognised, reading, options),
    )
    powers = np.concatenate(reading.powers)
    return BarFile(findings, timeframe, rows, kept, now_ms, memory, ts, powers if (powers != powers[0]).any() else None)


def _let_go(memory: mmap.mmap) -> None:
    """The records that were looked at need not stay in memory: they are in the temporary file."""
    memory.madvise(mmap.MADV_DONTNEED)


def _repeats(rows: np.ndarray, order: np.ndarray, sorted_ts: np.ndarray) -> tuple[int, np.ndarray]:
    """How many rows repeat the one before with the same open time exactly, and the open times of those that do not."""
    again = np.flatnonzero(sorted_ts[1:] == sorted_ts[:-1])
    differs = np.zeros(len(again), dtype=bool)
    for at in range(0, len(again), PAGE_ROWS):
        part = again[at : at + PAGE_ROWS]
        one, other = rows[order[part]].view(_BYTES), rows[order[part + 1]].view(_BYTES)
        differs[at : at + PAGE_ROWS] = one != other
    return int((~differs).sum()), sorted_ts[again[differs]]


def _check_spacing(ts: np.ndarray, options: FileOptions, name: str) -> None:
    """`BadInput` when the file holds shorter or longer bars than was said."""
    timeframe, steps = options.series.timeframe, np.diff(ts)
    if len(steps) < 2:
        return
    spacings, counts = np.unique(steps, return_counts=True)
    spacing = _shorter_spacing(spacings, counts, timeframe)
    longer = None if spacing is not None or options.sparse else _longer_spacing(spacings, counts, timeframe)
    if spacing is None and longer is None:
        return
    known = {one.ms: one.code for one in TIMEFRAMES}
    found = int(spacing or longer or 0)
    accepted = f"--timeframe {known[found]}" if found in known else f"a file of bars of {' '.join(known.values())}"
    single = f", or --sparse if they are single bars of {timeframe.code}" if longer else ""
    length = known.get(found) or _length(found)
    raise BadInput(f"{name} holds bars of {length}, and --timeframe says {timeframe.code}; accepted: {accepted}{single}")


def _length(spacing: int) -> str:
    for unit, name in ((Timeframe.D1.ms, "days"), (Timeframe.M1.ms, "minutes")):
        if spacing % unit == 0:
            return f"{spacing // unit} {name}"
    return f"{spacing / 1000:g} s"


def _shorter_spacing(spacings: np.ndarray, counts: np.ndarray, timeframe: Timeframe) -> int | None:
    """The spacing (ms) of a file of shorter bars than `timeframe`: most steps between its open times are one and the same
    shorter one, or are half a timeframe or less. `spacings`: the different steps, ascending, with how often each occurs."""
    usual, times = int(spacings[np.argmax(counts)]), int(counts.max())
    if usual < timeframe.ms and times * 2 > counts.sum():
        return usual
    shorter = np.where(spacings * 2 <= timeframe.ms, counts, 0)
    return int(spacings[np.argmax(shorter)]) if shorter.sum() * 2 > counts.sum() else None


def _longer_spacing(spacings: np.ndarray, counts: np.ndarray, timeframe: Timeframe) -> int | None:
    """The spacing (ms) of a file of longer bars than `timeframe`: the most frequent step is longer and the others are multiples
    of it, as those between bars of a file without empty ones are not, give or take an hour from a day on, because clocks
    change. Of bars as long as a month the steps differ a little, and the shortest is told."""
    usual, times = int(spacings[np.argmax(counts)]), int(counts.max())
    if usual <= timeframe.ms or counts.sum() + 1 < _LEAST_BARS:
        return None
    beside = spacings % usual
    near = np.minimum(beside, usual - beside) <= (Timeframe.H1.ms if usual >= Timeframe.D1.ms else 0)
    if times >= _LEAST_STEPS and counts[near].sum() >= _SHARE * counts.sum():
        return usual
    shortest, longest = int(spacings[0]), int(spacings[-1])
    return shortest if shortest >= _UNEQUAL_FROM * timeframe.ms and longest <= _UNEQUAL * shortest else None


def _order(ts: np.ndarray) -> str:
    steps = np.diff(ts)
    if (steps >= 0).all():
        return "oldest first"
    return "newest first" if (steps <= 0).all() else "mixed"


def _notes(recognised: Recognised, reading: RowReading, options: FileOptions) -> tuple[str, ...]:
    notes = list(recognised.notes)
    if "volume" not in recognised.columns:
        notes.append("the file reports no volume; 0 is stored")
    if reading.filled:
        notes.append(f"{reading.filled:,} filled bars are left out: no source has given them")
    if reading.first_unreadable:
        notes.append(
            f"prices or volumes that are no numbers are kept out when bars are validated, the first: {reading.first_unreadable}"
        )
    if SYMBOL in recognised.columns and reading.symbol and not _same_symbol(reading.symbol, options.series.symbol):
        notes.append(f"the file names its symbol {reading.symbol!r}, and --symbol says {options.series.symbol}")
    if "local time of UTC" in reading.times.met:
        notes.append("times without an offset are read as UTC; --tz names another zone")
    if "date" in reading.times.met and reading.times.dates_are_utc and options.zone != "UTC":
        notes.append("dates without a time are taken for days of UTC")
    return tuple(notes)


def _same_symbol(named: str, slug: str) -> bool:
    return plain_symbol(named.rpartition(":")[2]) == plain_symbol(slug)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
