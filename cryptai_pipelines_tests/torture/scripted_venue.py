"""A venue in memory whose every bar has a written fate: when it appears, what it says then, and what it says later. It obeys
the protocol of `sources.source.BarSource`, on a virtual clock, and remembers each page that it gave out. No sockets: thousands
of months are simulated on it.

Also here: what the store must hold after any of it, told in plain Python from the pages that the store says it received.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.bars import WIRE_DTYPES, Columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing, Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed, Permanent, RateLimited, SourceError, Transient

HOUR = 3_600_000
# Raised without the traceback of the last time: with it they would keep every frame that they ever went through.
ERRORS: tuple[SourceError, ...] = (
    Transient("the venue does not answer"),
    RateLimited("the venue asks for silence", 60.0),
    Permanent("the venue does not know this symbol"),
    Malformed("the venue answers with a page of HTML"),
)

Values = tuple[float, ...]
"""What a bar says: the wire columns after `ts`, in order."""


class Version(NamedTuple):
    """What a bar says from the moment `at_ms` on; None when it is not there."""

    at_ms: int
    values: Values | None


def wire_values(ts: int, opened: float, closed: float, volume: float) -> Values:
    """The values of a sound hourly bar."""
    high, low = max(opened, closed) + 1.0, min(opened, closed) - 1.0
    return (opened, high, low, closed, volume, ts + HOUR - 1, volume * closed, 7, volume / 2, volume * closed / 2, 0.0)


def spoiled(values: Values) -> Values:
    """The same bar with its high under its low."""
    opened, high, low, *rest = values
    return (opened, low - 1.0, high + 1.0, *rest)


def is_bad(values: Values) -> bool:
    """Whether a bar contradicts itself; the venue here tells no other untruth."""
    opened, high, low, closed = values[:4]
    return not (low <= min(opened, closed) and max(opened, closed) <= high)


@dataclass
class Script:
    """The fate of one series: by open time, its versions in the order of their moments."""

    start_ms: int
    versions: dict[int, list[Version]] = field(default_factory=dict)

    def at(self, now_ms: int, asked: Interval) -> list[tuple[int, Values]]:
        """The bars in `asked` as the venue has them at `now_ms`, oldest first."""
        found = []
        for ts in range(max(asked.start_ms, self.start_ms), asked.end_ms, HOUR):
            said = None
            for version in self.versions.get(ts, ()):
                if version.at_ms <= now_ms:
                    said = version.values
            if said is not None:
                found.append((ts, said))
        return found


@dataclass
class Mood:
    """How the venue behaves while it is asked once: its clock's error, the error it raises and after how many pages, how many
    rows a page has at most, and how often a page is short or comes twice."""

    skew_ms: int = 0
    error: SourceError | None = None
    error_after_pages: int = 0
    page_rows: int = 1_000
    short: float = 0.0
    twice: float = 0.0


@dataclass
class ScriptedVenue:
    """The venue. `served` is every page by its URL, with the symbol that it was about; `injected` counts what was done."""

    scripts: Mapping[str, Script]
    random: random.Random
    now_ms: int = 0
    mood: Mood = field(default_factory=Mood)
    served: dict[str, tuple[str, list[tuple[int, Values]]]] = field(default_factory=dict)
    injected: dict[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "binance"

    def count(self, what: str, times: int = 1) -> None:
        self.injected[what] = self.injected.get(what, 0) + times

    def origin(self, timeframe: Timeframe) -> str:
        return "rest"

    def is_simulated(self) -> bool:
        return False

    def symbols(self) -> list[Listing]:
        return []

    def server_time(self) -> int:
        if self.mood.error is not None and self.mood.error_after_pages < 0:
            self.count("venue error")
            raise self.mood.error.with_traceback(None)
        return self.now_ms + self.mood.skew_ms

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        assert timeframe is Timeframe.H1
        pages, cursor = 0, start_ms
        while cursor < end_ms:
            if self.mood.error is not None and pages == self.mood.error_after_pages:
                self.count("venue error")
                raise self.mood.error.with_traceback(None)
            page = self._page(symbol, Interval(cursor, end_ms))
            yield page
            if self.random.random() < self.mood.twice:
                self.count("page twice")
                yield self._page(symbol, page.asked)
            pages, cursor = pages + 1, page.asked.end_ms

    def _page(self, symbol: str, left: Interval) -> Page:
        rows = self.scripts[symbol].at(self.now_ms, left)
        most = self.mood.page_rows
        if rows and self.random.random() < self.mood.short:
            self.count("short page")
            most = self.random.randint(1, len(rows))
        cut = len(rows) > most
        rows = rows[:most]
        asked = Interval(left.start_ms, rows[-1][0] + 1 if cut else left.end_ms)
        url = f"script://{symbol}/{len(self.served)}"
        self.served[url] = (symbol, rows)
        return Page(_columns(rows), asked, url, hashlib.sha256(repr(rows).encode()).hexdigest(), self.now_ms)


def _columns(rows: list[tuple[int, Values]]) -> Columns:
    fields = zip(*((ts, *values) for ts, values in rows), strict=True) if rows else [()] * len(WIRE_DTYPES)
    return {name: np.array(column, dtype=dtype) for (name, dtype), column in zip(WIRE_DTYPES.items(), fields, strict=True)}


History = dict[int, list[Values]]
"""By open time, everything that was ever received of a bar, repetitions left out; the last one is what counts now."""


def history_of(pages: Iterable[list[tuple[int, Values]]]) -> History:
    """What the store must know after it received `pages` in this order."""
    told: History = {}
    for rows in pages:
        for ts, values in rows:
            versions = told.setdefault(ts, [])
            if not versions or versions[-1] != values:
                versions.append(values)
    return told


def missing_runs(have: Iterable[int], within: Interval) -> list[tuple[int, int, int]]:
    """Every run of hours without a bar, counted hour by hour: first, end, how many."""
    present, runs, ts = set(have), [], within.start_ms
    while ts < within.end_ms:
        first = ts
        while ts < within.end_ms and ts not in present:
            ts += HOUR
        if ts > first:
            runs.append((first, ts, (ts - first) // HOUR))
        ts += HOUR
    return runs
