"""A tick that brings one new bar to each of many series, from the venue to validated bars, with a long history in the store and
with a short one: what it takes in all, and in statements per series.

The tick is that of the daemon without the research half: `data_steps` walked with the settings' threads in a warm process,
the venue in a process of its own, its weight counted in the database as always. Statements are counted in the server's log.
`SERIES` series with `LONG` bars each tick in turn with the same series with `SHORT` bars each, and with `FEW` of the latter
alone: the statements per series must be the same. Histories are one series' rows under other symbols, as in `bench_tick`.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; the rows of statements hold counts.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench_tick import clone, logged, told
from benchmarks.servers import administer, embedded_server, fresh_database
from benchmarks.venue_process import Venue, random_walk, record, venue_process
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer

LONG, SHORT = 5_000, 500
SERIES, FEW = 200, 50
TICKS, WARM_TICKS = 4, 1
_MINUTE = Timeframe.M1
# The middle of a month, so that no tick begins another one.
_FIRST_TICK_MS = 1_710_504_000_000
_AFTER_CLOSE_MS = 30_000


class Side:
    """A store that ticks: its database, and a venue client that stays open as the daemon's does."""

    def __init__(self, database: Database, venue: Venue, folder: Path) -> None:
        home = folder / database.url.partition("?")[0].rpartition("/")[2]
        self.settings = Settings(_env_file=None, home=home, database_url=database.url, binance_url=venue.url)
        self.database = database
        self.source: BarSource = open_venue(self.settings, database=database)

    def tick(self, series: Sequence[Series], written: int = 1, window: Interval | None = None) -> float:
        """Seconds of one tick; every series must have gained `written` bars in both tables."""
        began = time.perf_counter()
        steps = data_steps(self.database, self.source, self.settings, "bench", window)
        hold = holding(self.database, self.source.name, self.settings, "bench")
        for result in walk(series, steps, hold, self.settings.fetch_threads):
            assert result.error is None, f"{result.series} failed at {result.failed_at}: {result.error}"
            assert [outcome.written for outcome in result.outcomes] == [written] * 2, result
        return time.perf_counter() - began


def run() -> list[dict[str, object]]:
    """The rows of the benchmark; the median of `TICKS` ticks of each side."""
    series = [Series(f"S{number:03d}-USDT", _MINUTE) for number in range(SERIES)]
    bars = random_walk(LONG + 100, _MINUTE, _FIRST_TICK_MS - LONG * _MINUTE.ms)
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch, embedded_server() as server:
        folder = Path(scratch)
        record(bars, folder, [one.symbol.replace("-", "") for one in series], _MINUTE)
        with (
            venue_process(folder, _FIRST_TICK_MS + _AFTER_CLOSE_MS) as venue,
            fresh_database(server, "bars_long") as grown,
            fresh_database(server, "bars_short") as young,
        ):
            long, short = Side(grown, venue, folder), Side(young, venue, folder)
            for side, count in ((long, LONG), (short, SHORT)):
                side.tick(series[:1], count, Interval(_FIRST_TICK_MS - count * _MINUTE.ms, _FIRST_TICK_MS))
                clone(side.database, series[0], series[1:])
                administer(side.database.url, "VACUUM (ANALYZE)")
            return _ticks(server, venue, long, short, series)


def _ticks(server: EmbeddedServer, venue: Venue, long: Side, short: Side, series: Sequence[Series]) -> list[dict[str, object]]:
    seconds: dict[str, list[float]] = {"long": [], "short": []}
    for number in range(1, WARM_TICKS + TICKS + 1):
        venue.set_time(_FIRST_TICK_MS + number * _MINUTE.ms + _AFTER_CLOSE_MS)
        for name, side in (("long", long), ("short", short)):
            took = side.tick(series)
            if number > WARM_TICKS:
                seconds[name].append(took)
    venue.set_time(_FIRST_TICK_MS + (WARM_TICKS + TICKS + 1) * _MINUTE.ms + _AFTER_CLOSE_MS)
    counts = {
        "long": _statements(server, long, series),
        "few": _statements(server, short, series[:FEW]),
        "many": _statements(server, short, series[FEW:]),
    }
    name = f"tick of {SERIES} series with 1 new bar each, to validated bars"
    ours, peer = statistics.median(seconds["long"]), statistics.median(seconds["short"])
    first = {"name": f"{name}, {LONG:,} / {SHORT:,} bars of history", "ours_s": ours, "peer_s": peer, "ratio": ours / peer}
    return [
        {**first, "goal": ""},
        told("  the same, milliseconds per series", ours / SERIES * 1000),
        _same(f"  statements per series, {LONG:,} / {SHORT:,} bars of history", counts["long"], counts["many"]),
        _same(f"  statements per series, {SERIES - FEW} / {FEW} series", counts["many"], counts["few"]),
    ]


def _statements(server: EmbeddedServer, side: Side, series: Sequence[Series]) -> float:
    """Statements per series of one tick, and of the tick's own."""
    with logged(server) as log:
        before = log.stat().st_size
        side.tick(series)
        with open(log, "rb") as lines:
            lines.seek(before)
            text = lines.read()
    return (text.count(b"LOG:  statement: ") + text.count(b"LOG:  execute ")) / len(series)


def _same(name: str, ours: float, peer: float) -> dict[str, object]:
    return {"name": name, "ours_s": ours, "peer_s": peer, "ratio": ours / peer, "goal": "<= 1.05"}


if __name__ == "__main__":
    for line in run():
        print(line)
