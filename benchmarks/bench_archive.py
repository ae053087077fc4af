"""Filling an empty store with a million bars out of archived files, beside two plain COPYs of the same rows.

Ours: the steps that a first sync takes (`data_steps` with an archive): zips of a local archive in a process of its own, over
HTTP, verified and parsed, to committed rows of `raw_ohlcv` and then of `market_data`, and what is not published yet from the
venue; one series, in a fresh process whose imports and connections are warm. The archive has made its files before.
The peers are those of `bench_ingest`. The last row is reading alone, beside a loop of urllib and pandas over the same files.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; the memory row holds megabytes.
"""

from __future__ import annotations

import io
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd

from benchmarks.bench_ingest import SERIES, WARM_UP, Ingested, copied, memory_row, peak_memory_mb, prepared, row
from benchmarks.servers import administer, embedded_server, fresh_database
from benchmarks.venue_process import random_walk, record, venue_process
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.archive_layout import ArchivePath, plan
from cryptai_pipelines.sources.binance_archive import NAMES, BinanceArchive

BARS = 695 * 1440  # whole days, of which there are files
REPEATS = 3
GOAL, MEMORY_GOAL_MB = 3.0, 600
_WARM_UP_BARS = 2 * 1440


def run() -> list[dict[str, object]]:
    """The rows of the benchmark: the best of `REPEATS` alternating runs of each side."""
    bars = random_walk(BARS, Timeframe.M1)
    within = Interval(int(index_ms(bars.index)[0]), int(index_ms(bars.index)[-1]) + 60_000)
    now_ms = within.end_ms + 6 * 60_000
    paths = plan(SERIES.symbol, SERIES.timeframe, within, now_ms)
    ours, plain, bare, loops = [], [], [], []
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch, embedded_server() as server:
        folder = Path(scratch)
        record(bars, folder, [SERIES.symbol.replace("-", "")], Timeframe.M1)
        record(bars.iloc[-_WARM_UP_BARS:], folder, [WARM_UP.symbol.replace("-", "")], Timeframe.M1)
        copies = prepared(bars)
        with venue_process(folder, now_ms) as venue:
            read_plainly(venue.url, paths)
            for number in range(REPEATS):
                with fresh_database(server, f"archive_{number}") as database:
                    ours.append(fill_in_own_process(database.url, venue.url, folder, within, now_ms))
                    plain.append(copied(database, copies, "LIKE {} INCLUDING ALL"))
                    bare.append(copied(database, copies, "LIKE {}"))
                loops.append(read_plainly(venue.url, paths))
    return _rows(len(bars), ours, plain, bare, loops)


def _rows(
    count: int, ours: Sequence[Ingested], plain: Sequence[float], bare: Sequence[float], loops: Sequence[float]
) -> list[dict[str, object]]:
    for one in ours:
        assert set(one.rows.values()) == {count}, one.rows
    reading = min(one.seconds.pop("reading alone") for one in ours)
    best = min(ours, key=lambda one: sum(one.seconds.values()))
    parts = ", ".join(f"{asset} {seconds:.1f} s" for asset, seconds in best.seconds.items())
    peak, total = max(one.peak_mb for one in ours), sum(best.seconds.values())
    name = f"archive backfill of {count:,} 1m bars"
    return [
        row(f"{name} ({parts}) / two COPYs into the same tables", total, min(plain), f"<= {GOAL:g}"),
        row("  the same / two COPYs into tables without index or constraint", total, min(bare), ""),
        memory_row(name, peak, MEMORY_GOAL_MB),
        row("  downloading, verifying and parsing its files / urllib, pandas.read_csv, no check", reading, min(loops), ""),
    ]


def fill_in_own_process(database_url: str, archive_url: str, home: Path, within: Interval, now_ms: int) -> Ingested:
    """Bring `SERIES` from the archive to validated bars in a new process."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_fill, args=(database_url, archive_url, home, within, now_ms, there))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def _fill(database_url: str, archive_url: str, home: Path, within: Interval, now_ms: int, pipe: Connection) -> None:
    from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
    from cryptai_pipelines.orchestration.store import open_archive, open_store, open_venue
    from cryptai_pipelines.settings import Settings

    settings = Settings(_env_file=None, home=home, database_url=database_url, binance_url=archive_url, archive_url=archive_url)
    seconds, rows = {}, {}
    with open_store(settings) as store:
        clock = FixedClock(now_ms)
        venue = open_venue(settings, clock, store.database)
        archive = open_archive(settings, store.database, clock)
        steps = data_steps(store.database, venue, settings, "bench", archive=archive)
        hold = holding(store.database, venue.name, settings, "bench")
        for series in (WARM_UP, SERIES):
            administer(store.database.url, "CHECKPOINT")
            with hold(series) as lease:
                for step in steps:
                    began = time.perf_counter()
                    outcome = step.run(lease)
                    seconds[step.asset], rows[step.asset] = time.perf_counter() - began, outcome.written
        # What the venue itself was asked for is written under its own name; the archive must have given nearly all.
        (given,) = store.database.rows(
            "SELECT count(*) FROM raw_ohlcv WHERE source = %s AND symbol = %s", (NAMES["spot"], SERIES.symbol)
        )
        (whole,) = store.database.rows("SELECT count(*) FROM market_data WHERE symbol = %s", (SERIES.symbol,))
        rows = {"from the archive": given[0], "validated": whole[0]}
    peak_mb = peak_memory_mb()
    seconds["reading alone"] = _reading(archive, within)
    pipe.send(Ingested(seconds, peak_mb, rows))


def _reading(archive: BinanceArchive, within: Interval) -> float:
    began = time.perf_counter()
    for _ in archive.bars(SERIES.symbol, SERIES.timeframe, *within):
        pass
    return time.perf_counter() - began


def read_plainly(archive_url: str, paths: Sequence[ArchivePath]) -> float:
    """Seconds to download, unzip and parse the files one after another, believing every byte."""
    began = time.perf_counter()
    for path in paths:
        with urllib.request.urlopen(f"{archive_url}/{path.path}") as answer:
            content = answer.read()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            pd.read_csv(archive.open(archive.namelist()[0]), header=None)
    return time.perf_counter() - began


if __name__ == "__main__":
    for line in run():
        print(line)
