"""Fetching a million bars into the store beside two plain COPYs of the same rows.

Ours: from a local replay venue in a process of its own, over HTTP, to committed rows of `raw_ohlcv` and then of `market_data`
with proof, coverage, findings and checks; one series, in a fresh process whose imports and connections are warm. The peer:
prepared bytes of the same rows through `COPY ... FROM STDIN` (binary, or text where that is faster) into tables with the
columns, constraints and primary keys of those two, each committed; for comparison also into tables without constraints or
index. Both sides run in turn on one embedded server with its durable settings, each after a checkpoint.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; the memory row holds megabytes.
"""

from __future__ import annotations

import io
import math
import tempfile
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.servers import administer, embedded_server, fresh_database
from benchmarks.venue_process import random_walk, record, venue_process
from cryptai_pipelines.market.bars import BAR_COLUMNS, index_ms
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage.copy_rows import Values, binary_rows, encode
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.tables import TABLES

BARS = 1_000_000
REPEATS = 3
GOAL, MEMORY_GOAL_MB = 3.0, 500
SERIES, WARM_UP = Series("BTC-USDT", Timeframe.M1), Series("ETH-USDT", Timeframe.M1)
_WARM_UP_BARS = 1_500


class Ingested(NamedTuple):
    """One run of ours: seconds by asset, the process's peak memory, rows now stored."""

    seconds: dict[str, float]
    peak_mb: float
    rows: dict[str, int]


def run() -> list[dict[str, object]]:
    """The rows of the benchmark: the best of `REPEATS` alternating runs of each side."""
    bars = random_walk(BARS, Timeframe.M1)
    now_ms = int(index_ms(bars.index)[-1]) + 6 * 60_000
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch, embedded_server() as server:
        folder = Path(scratch)
        record(bars, folder, [_venue_symbol(SERIES)], Timeframe.M1)
        record(bars.iloc[-_WARM_UP_BARS:], folder, [_venue_symbol(WARM_UP)], Timeframe.M1)
        copies = prepared(bars)
        ours, plain, bare = [], [], []
        for number in range(REPEATS):
            with venue_process(folder, now_ms) as venue, fresh_database(server, f"ingest_{number}") as database:
                ours.append(ingest_in_own_process(database.url, venue.url, folder))
                plain.append(copied(database, copies, "LIKE {} INCLUDING ALL"))
                bare.append(copied(database, copies, "LIKE {}"))
    return _rows(len(bars), ours, plain, bare)


def _rows(count: int, ours: Sequence[Ingested], plain: Sequence[float], bare: Sequence[float]) -> list[dict[str, object]]:
    best = min(ours, key=lambda one: sum(one.seconds.values()))
    for one in ours:
        assert set(one.rows.values()) == {count}, one.rows
    total = sum(best.seconds.values())
    parts = ", ".join(f"{asset} {seconds:.1f} s" for asset, seconds in best.seconds.items())
    peak = max(one.peak_mb for one in ours)
    return [
        row(f"ingest {count:,} 1m bars ({parts}) / two COPYs into the same tables", total, min(plain), f"<= {GOAL:g}"),
        row("  the same / two COPYs into tables without index or constraint", total, min(bare), ""),
        memory_row(f"ingest {count:,} 1m bars", peak, MEMORY_GOAL_MB),
    ]


def row(name: str, ours_s: float, peer_s: float, goal: str) -> dict[str, object]:
    return {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": ours_s / peer_s, "goal": goal}


def memory_row(name: str, peak_mb: float, goal_mb: float) -> dict[str, object]:
    return {
        "name": f"{name}, peak memory of the process, MB",
        "ours_s": peak_mb,
        "peer_s": math.nan,
        "ratio": peak_mb / goal_mb,
        "goal": f"< {goal_mb} MB",
    }


def ingest_in_own_process(database_url: str, venue_url: str, home: Path) -> Ingested:
    """Bring `SERIES` from the venue to validated bars in a new process."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_ingest, args=(database_url, venue_url, home, there))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def _ingest(database_url: str, venue_url: str, home: Path, pipe: Connection) -> None:
    from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
    from cryptai_pipelines.orchestration.store import open_store, open_venue
    from cryptai_pipelines.settings import Settings

    settings = Settings(_env_file=None, home=home, database_url=database_url, binance_url=venue_url)
    with open_store(settings) as store:
        source = open_venue(settings)
        source.symbols()
        steps = data_steps(store.database, source, settings, "bench")
        hold = holding(store.database, source.name, settings, "bench")
        with hold(WARM_UP) as lease:
            for step in steps:
                step.run(lease)
        administer(store.database.url, "CHECKPOINT")
        seconds, rows = {}, {}
        with hold(SERIES) as lease:
            for step in steps:
                began = time.perf_counter()
                rows[step.asset] = step.run(lease).rows
                seconds[step.asset] = time.perf_counter() - began
    pipe.send(Ingested(seconds, peak_memory_mb(), rows))


def peak_memory_mb() -> float:
    """Peak resident memory of this process. Linux's own figure where there is one: ru_maxrss of a process that another one
    started also counts what that other one held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


class Prepared(NamedTuple):
    """One table's rows as the bytes of a COPY: `statement` has a place for the table's name."""

    table: str
    statement: str
    content: bytes


def prepared(bars: pd.DataFrame) -> list[list[Prepared]]:
    """Both tables' rows in every format that plain COPY takes."""
    ts = index_ms(bars.index)
    values = {name: bars[name].to_numpy() for name in BAR_COLUMNS}
    keys = {"symbol": SERIES.symbol, "timeframe": SERIES.timeframe.code, "source": "binance"}
    raw = {
        "ts": ts,
        "known_at": int(ts[-1]),
        "fetch_id": np.arange(len(ts)) // 1000,
        **values,
        "close_ts": ts + 59_999,
        "unused": 0.0,
        "revision": 0,
        **keys,
    }
    market = {"ts": ts, **values, **keys, "origin": "rest", "is_filled": False}
    tables = {"raw_ohlcv": raw, "market_data": market}
    return [
        [_binary(name, rows, len(ts)) for name, rows in tables.items()],
        [_text(name, rows, len(ts)) for name, rows in tables.items()],
    ]


def _binary(table: str, values: Values, rows: int) -> Prepared:
    fields = [encode(TABLES[table], name, value, rows) for name, value in values.items()]
    statement = f"COPY {{}} ({', '.join(values)}) FROM STDIN (FORMAT binary)"
    return Prepared(table, statement, b"".join(binary_rows(fields, rows)))


def _text(table: str, values: Values, rows: int) -> Prepared:
    frame = pd.DataFrame(dict(values), index=range(rows))
    for name in ("ts", "known_at", "close_ts"):
        if name in frame:
            frame[name] = pd.to_datetime(frame[name], unit="ms", utc=True).dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    statement = f"COPY {{}} ({', '.join(values)}) FROM STDIN (FORMAT csv)"
    return Prepared(table, statement, frame.to_csv(index=False, header=False).encode())


def copied(database: Database, copies: Sequence[Sequence[Prepared]], like: str) -> float:
    """Seconds of the quicker format: one committed COPY per table, into new tables made `like` ours."""
    return min(_copy_all(database, tables, like) for tables in copies)


def _copy_all(database: Database, tables: Sequence[Prepared], like: str) -> float:
    for one in tables:
        administer(database.url, f"CREATE TABLE peer_{one.table} ({like.format(one.table)})")
    administer(database.url, "CHECKPOINT")
    began = time.perf_counter()
    for one in tables:
        with database.transaction() as cursor:
            cursor.copy_expert(one.statement.format(f"peer_{one.table}"), io.BytesIO(one.content), size=1 << 20)
    elapsed = time.perf_counter() - began
    for one in tables:
        administer(database.url, f"DROP TABLE peer_{one.table}")
    return elapsed


def _venue_symbol(series: Series) -> str:
    return series.symbol.replace("-", "")


if __name__ == "__main__":
    for line in run():
        print(line)
