"""Bars put into a test's store the way the chain does it: received under a lease, then judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.receive import receive_pages
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.quality.samples import good_rows


def store(
    database: Database,
    series: Series,
    rows: Columns,
    within: Interval | None = None,
    *,
    source: str = "binance",
    origin: str = "rest",
    primary: str = "binance",
    known_at_ms: int | None = None,
) -> None:
    """Receive `rows` as one page that settles `within` (what they span by default), 5 s after it is over."""
    if within is None:
        within = Interval(int(rows["ts"].min()), int(rows["ts"].max()) + series.timeframe.ms)
    page = Page(rows, within, f"test://{source}", "0" * 64, known_at_ms or within.end_ms + 5_000)
    with take_series(database, primary, series, "test", 60.0) as lease:
        receive_pages(database, lease, source, origin, [page], run_id="test")
        validated_bars.bring_up_to_date(database, lease)


def slots(rows: Columns, chosen: Sequence[int] | np.ndarray | range) -> Columns:
    """Some of the rows."""
    return take_rows(rows, np.asarray(chosen, dtype="int64"))


def without(rows: Columns, missing: Sequence[int] | range) -> Columns:
    """All rows but those."""
    return slots(rows, np.setdiff1d(np.arange(len(rows["ts"])), np.asarray(missing, dtype="int64")))


def hourly(count: int, seed: int = 0) -> Columns:
    """Sound hourly rows from 2020-09-13T13:00Z on."""
    return good_rows(count, seed=seed)
