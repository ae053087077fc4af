"""A process that brings a series up to date again and again, for tests that kill it: at a random moment from outside, or by its
own hand at a named point. Forked from a warm server, so that a round costs a fraction of a second."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import raw_ohlcv, validated_bars
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.storage import coverage, fetch_log, leases, market_data, quality_log, raw, state, sync_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import settings_for


class Point(NamedTuple):
    """A moment inside a step: before or after the call of a function of ours."""

    module: Any
    function: str
    after: bool

    @property
    def name(self) -> str:
        return f"{'after' if self.after else 'before'} {self.module.__name__.rpartition('.')[2]}.{self.function}"


POINTS = (
    Point(sync_log, "start_sync", True),
    Point(fetch_log, "log_fetches", True),
    Point(raw, "append", False),
    Point(raw, "append", True),
    Point(coverage, "extend_coverage", True),
    Point(sync_log, "finish_sync", False),
    Point(sync_log, "finish_sync", True),
    Point(market_data, "upsert", False),
    Point(market_data, "upsert", True),
    Point(quality_log, "replace_findings", True),
    Point(state, "write_state", True),
    Point(leases, "_release", False),
)


def killing(point: Point, calls: int) -> None:
    """Let this process die by SIGKILL at the `calls`-th passing of `point`."""
    original: Callable[..., Any] = getattr(point.module, point.function)
    left = calls

    def deadly(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not point.after:
            os.kill(os.getpid(), signal.SIGKILL)
        value = original(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    setattr(point.module, point.function, deadly)


def sync_windows(
    url: str,
    venue_url: str,
    home: Path,
    series: Series,
    windows: list[Interval],
    point: tuple[int, int] | None,
    told: Connection,
) -> None:
    """Sync `series` window by window; says `ready` ahead of the first. `point`: the number of one of `POINTS` and of the
    passing to die at. Many small transactions, so that there are many moments to be killed at."""
    raw_ohlcv.PAGES_PER_COMMIT, validated_bars.BARS_PER_COMMIT = 1, 200
    if point is not None:
        killing(POINTS[point[0]], point[1])
    database = Database(url)
    settings = settings_for(venue_url, home, symbols=series.symbol)
    source = open_venue(settings)
    source.server_time()
    database.rows("SELECT 1")
    told.send("ready")
    for window in windows:
        steps = data_steps(database, source, settings, "torture", window)
        for result in walk([series], steps, holding(database, "binance", settings, "torture"), 1):
            if result.error is not None:
                told.send(result.error)
                return
    told.send("done")
