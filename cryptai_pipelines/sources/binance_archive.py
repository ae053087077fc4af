"""The Binance public archive as a source of bars: which file is believed, and how files become pages.

What the files are called stands in `archive_layout`, how one is read in `archive_rows`, how it is fetched in `plain_files`.
A page is a whole file that equals its `.CHECKSUM`; of any other file nothing is read, and its fate is told instead.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from cryptai_pipelines.market.archive_file import ArchiveFile
from cryptai_pipelines.market.bars import Columns, row_count, take_rows
from cryptai_pipelines.market.clock import Clock
from cryptai_pipelines.market.errors import BadArgument, BadInput
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series, is_slug
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources import archive_layout
from cryptai_pipelines.sources.archive_layout import MARKETS, ArchivePath
from cryptai_pipelines.sources.archive_rows import MAX_ZIP_BYTES, read_checksum, read_klines, read_zip
from cryptai_pipelines.sources.errors import Malformed, SourceError
from cryptai_pipelines.sources.plain_files import FileClient
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue_address import venue_address

logger = logging.getLogger(__name__)

NAMES = {"spot": "binance_archive", "um": "binanceusdm_archive"}
"""The source of each market (`archive_layout.MARKETS`) as stored beside every bar: its venue and `_archive`."""

THREADS = 4
"""Files that are fetched and read at the same time, which is also how many are held in memory at most."""

OnFile = Callable[[ArchiveFile], None]


def ignore_file(_: ArchiveFile) -> None:
    """For callers who do not keep what became of each file."""


Fate = tuple[ArchiveFile, Page | None]
Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass
class _Read:
    """What became of one planned file or of the daily ones in its stead, in order, up to the failure of the source."""

    fates: list[Fate] = field(default_factory=list)
    failure: SourceError | None = None


@dataclass(frozen=True)
class BinanceArchive:
    """One market of the archive; opened by `open_archive`. All methods raise `sources.errors.SourceError`.

    `on_file` is told what became of each file, on the thread that iterates over pages, a loaded one just before its page.
    """

    client: FileClient
    clock: Clock
    market: str = "spot"
    threads: int = THREADS
    on_file: OnFile = ignore_file

    @property
    def name(self) -> str:
        """As stored beside every bar."""
        return NAMES[self.market]

    def is_simulated(self) -> bool:
        """Whether the archive says of itself that its market is made up. One light call."""
        said = self.client.headers("data/").get("x-cryptai-simulated", "")
        return said.strip().lower() not in ("", "0", "false")

    def bars(
        self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int, *, now_ms: int | None = None
    ) -> Iterator[Page]:
        """The bars of the slug `symbol` whose open time lies in `[start_ms, end_ms)`, one page per file, oldest first.

        The `asked` intervals of the pages ascend without overlap. They leave holes where a file is absent, is not published
        at `now_ms` (the venue's time; this machine's by default) or is not believed; a hole settles nothing. Rows are the
        file's: repeated and off-grid ones, too. `BadInput` for a malformed slug or an end before the start, at the call.
        """
        if not is_slug(symbol):
            raise BadInput(f"symbol {symbol!r} is not of the form BASE-QUOTE, such as BTC-USDT")
        if not 0 <= start_ms <= end_ms:
            raise BadInput(f"the span [{start_ms}, {end_ms}) is not accepted; expected 0 <= start <= end in epoch milliseconds")
        within, now = Interval(start_ms, end_ms), self.clock.now_ms() if now_ms is None else now_ms
        paths = archive_layout.plan(symbol, timeframe, within, now, self.market)
        return self._pages(paths, within, now)

    def _pages(self, paths: Iterable[ArchivePath], within: Interval, now_ms: int) -> Iterator[Page]:
        for read in _side_by_side(lambda path: self._read_planned(path, within, now_ms), paths, self.threads):
            for file, page in read.fates:
                self.on_file(file)
                if page is not None:
                    yield page
            if read.failure is not None:
                raise read.failure

    def _read_planned(self, path: ArchivePath, within: Interval, now_ms: int) -> _Read:
        """The planned file, or when it is a monthly one that is absent, the daily ones in its stead."""
        read = _Read()
        try:
            read.fates.append(self._read_file(path, within))
            if path.monthly and read.fates[0][0].status == "absent":
                part = clipped(path.period, within)
                daily = archive_layout.days(path.symbol, path.timeframe, part, now_ms, path.market)
                self._read_days(daily, within, read)
        except SourceError as error:
            read.failure = error
        return read

    def _read_days(self, daily: list[ArchivePath], within: Interval, read: _Read) -> None:
        """Append what became of daily files. When neither the last nor the first is there, the others are not asked for: the
        symbol was not listed in that month, and every month before its listing would cost thirty questions."""
        if not daily:
            return
        last = self._read_file(daily[-1], within)
        for place, path in enumerate(daily[:-1]):
            read.fates.append(self._read_file(path, within))
            if place == 0 and read.fates[-1][0].status == last[0].status == "absent":
                break
        read.fates.append(last)

    def _read_file(self, path: ArchivePath, within: Interval) -> Fate:
        file, page = self._read_once(path, within)
        if file.status == "quarantined":
            # A file that is being replaced, or was spoilt on its way, is often whole at the second look.
            logger.warning("asking once more: %s: %s", self.client.url(path.path), file.error)
            file, page = self._read_once(path, within)
        return file, page

    def _read_once(self, path: ArchivePath, within: Interval) -> Fate:
        file = ArchiveFile(
            self.name, path.path, Series(path.symbol, path.timeframe), path.period, "quarantined", self.clock.now_ms()
        )
        try:
            content = self.client.fetch(path.path)
            if content is None:
                return replace(file, status="absent"), None
            file = replace(file, received_sha256=hashlib.sha256(content).hexdigest())
            file = replace(file, expected_sha256=self._expected(path))
            if file.expected_sha256 is None:
                return replace(file, error="it has no checksum"), None
            if file.expected_sha256 != file.received_sha256:
                return replace(file, error="it does not match its checksum"), None
            rows = read_klines(read_zip(content, path.name.removesuffix(".zip") + ".csv"), path.period)
        except Malformed as error:
            return replace(file, error=str(error)), None
        page = self._page(path, within, rows, file)
        return replace(file, status="loaded", row_count=row_count(rows)), page

    def _expected(self, path: ArchivePath) -> str | None:
        """The hash that the archive gives for a file; None when it gives none."""
        content = self.client.fetch(f"{path.path}.CHECKSUM")
        return None if content is None else read_checksum(content, path.name)

    def _page(self, path: ArchivePath, within: Interval, rows: Columns, file: ArchiveFile) -> Page | None:
        settles = path.settles
        asked = clipped(settles, within)
        if asked.start_ms >= asked.end_ms:
            return None
        first, stop = np.searchsorted(rows["ts"], asked)
        if stop - first < row_count(rows):
            rows = take_rows(rows, np.arange(first, stop))
        assert file.received_sha256 is not None
        return Page(rows, asked, self.client.url(path.path), file.received_sha256, file.tried_at_ms)


def check_restated(archive: BinanceArchive, known: Iterable[ArchiveFile]) -> list[ArchiveFile]:
    """Of the loaded files of the archive among `known` those that it has replaced since, by their `.CHECKSUM` alone: status
    `restated`, the new hash as expected, that of the loaded file as received. They are to be loaded again.

    A `.CHECKSUM` that is gone or cannot be read says nothing about the file; it is logged and passed over.
    """
    loaded = [file for file in known if file.status == "loaded" and file.source == archive.name]
    found = _side_by_side(lambda file: _restated(archive, file), loaded, archive.threads)
    return [file for file in found if file is not None]


def _restated(archive: BinanceArchive, file: ArchiveFile) -> ArchiveFile | None:
    path = f"{file.path}.CHECKSUM"
    try:
        content = archive.client.fetch(path)
        if content is None:
            raise Malformed("the checksum is gone")
        expected = read_checksum(content, file.path.rpartition("/")[2])
    except Malformed as error:
        logger.warning("%s: %s", archive.client.url(path), error)
        return None
    if expected == file.received_sha256:
        return None
    error = "the archive has replaced it since it was loaded"
    return replace(file, status="restated", expected_sha256=expected, tried_at_ms=archive.clock.now_ms(), error=error)


def _side_by_side(work: Callable[[Given], Made], items: Iterable[Given], threads: int) -> Iterator[Made]:
    """`work` of each item, in order; beside the one that was taken at most `threads` are worked on or wait. Leaving early
    begins no other."""
    waiting: deque[Future[Made]] = deque()
    for item in items:
        if len(waiting) == threads:
            yield waiting.popleft().result()
        waiting.append(_begun(work, item))
    while waiting:
        yield waiting.popleft().result()


def _begun(work: Callable[[Given], Made], item: Given) -> Future[Made]:
    """`work` of the item, on a thread of its own that does not hold the process at its exit, as those of a pool would."""
    made: Future[Made] = Future()

    def run() -> None:
        try:
            made.set_result(work(item))
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to who takes the result and is raised there
            made.set_exception(error)

    threading.Thread(target=run, name="archive", daemon=True).start()
    return made


def open_archive(
    base_url: str,
    request_timeout_s: float,
    clock: Clock,
    *,
    market: str = "spot",
    threads: int = THREADS,
    on_file: OnFile = ignore_file,
    retry: RetryPolicy | None = None,
    timer: Timer | None = None,
) -> BinanceArchive:
    """One market (`archive_layout.MARKETS`) of the archive at `base_url`. Nothing is called yet; `BadInput` when the URL, the
    timeout, the market or the number of threads is unusable.

    `request_timeout_s` bounds one HTTP call; `retry` bounds all tries of one file (default: three times that long).
    """
    if not 0 < request_timeout_s < threading.TIMEOUT_MAX:
        raise BadInput(f"request timeout {request_timeout_s!r} is not accepted; expected a positive number of seconds")
    if market not in MARKETS:
        raise BadArgument(f"archive market {market!r} is not known; accepted: {' '.join(MARKETS)}")
    if not 1 <= threads <= 32:
        raise BadArgument(f"{threads} archive threads are not accepted; 1 to 32 are")
    address, timer = venue_address(NAMES[market], base_url, ""), timer or Timer()
    policy, gate = retry or RetryPolicy(total_s=3 * request_timeout_s), RetryAfterGate(NAMES[market], timer)
    client = FileClient(address, request_timeout_s, MAX_ZIP_BYTES, clock, policy, timer, gate)
    return BinanceArchive(client, clock, market, threads, on_file)
