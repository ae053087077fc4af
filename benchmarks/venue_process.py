"""A replay venue in a process of its own, so that its work does not count as ours, and recordings for it to serve."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.market.timeframe import Timeframe


class Venue(NamedTuple):
    """A running venue: its base URL and the pipe that moves its clock."""

    url: str
    clock: Connection

    def set_time(self, now_ms: int) -> None:
        """Let the venue's clock stand at `now_ms`."""
        self.clock.send(now_ms)
        self.clock.recv()


def random_walk(count: int, timeframe: Timeframe, first_ms: int = 1_577_836_800_000, seed: int = 7) -> pd.DataFrame:
    """A bars frame of a seeded random walk from the open time `first_ms` on (2020-01-01), all value columns reported, rounded
    as Binance rounds BTC/USDT."""
    rng = np.random.default_rng(seed)
    close = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, 9e-4, count))), 2)
    opening = np.concatenate(([30_000.0], close[:-1]))
    high = np.round(np.maximum(opening, close) * (1 + rng.exponential(4e-4, count)), 2)
    low = np.round(np.minimum(opening, close) * (1 - rng.exponential(4e-4, count)), 2)
    volume, taker = np.round(rng.lognormal(3, 1, count), 5) + 1e-5, rng.uniform(0.2, 0.8, count)
    columns = {
        "open": opening,
        "high": high,
        "low": low,
        "close": close,
        "volume": volume,
        "quote_volume": np.round(volume * close, 8),
        "trades": rng.integers(1, 5_000, count),
        "taker_buy_base": np.round(volume * taker, 5),
        "taker_buy_quote": np.round(volume * taker * close, 8),
    }
    return pd.DataFrame(columns, index=ts_index(first_ms + np.arange(count) * timeframe.ms))


def record(bars: pd.DataFrame, folder: Path, symbols: Sequence[str], timeframe: Timeframe) -> None:
    """The same `bars` under `folder` for every venue symbol: one file, linked."""
    home = folder / "binance"
    home.mkdir(parents=True, exist_ok=True)
    first = home / f"{symbols[0]}_{timeframe.code}.parquet"
    bars.reset_index().to_parquet(first)
    for symbol in symbols[1:]:
        os.link(first, home / f"{symbol}_{timeframe.code}.parquet")


@contextmanager
def venue_process(folder: Path, now_ms: int) -> Iterator[Venue]:
    """The recordings of `folder` served from another process with a clock that stands at `now_ms`, and no weight limit to
    wait for."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(folder, now_ms, there), daemon=True)
    process.start()
    there.close()
    try:
        yield Venue(here.recv(), here)
    finally:
        process.terminate()
        process.join()


def _serve(folder: Path, now_ms: int, pipe: Connection) -> None:
    import threading

    from cryptai_pipelines.market.clock import FixedClock
    from cryptai_pipelines.replay.rate_limit import Limits
    from cryptai_pipelines.replay.recorded import open_recorded
    from cryptai_pipelines.replay.server import serve

    clock = FixedClock(now_ms)

    def follow() -> None:
        while True:
            try:
                clock.at_ms = pipe.recv()
            except EOFError:
                return
            pipe.send(None)

    venue = open_recorded(folder, clock)
    # Reads every file now rather than within the first answer.
    len(venue.instruments)

    def ready(url: str) -> None:
        pipe.send(url)
        threading.Thread(target=follow, daemon=True).start()

    serve(venue, 0, ready=ready, limits=Limits(weight_per_minute=10**9))
