"""Series that a walk has not come to yet are PENDING in the sync log, and whatever ends the walk, none stays so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding, planned
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.orchestration.conftest import settings_for

NOW = parse_time("2017-02-15T10:05:00Z")
SERIES = [Series(symbol, Timeframe.H1) for symbol in ("BTC-USDT", "ETH-USDT", "BNB-USDT")]


class Interrupted(Exception):
    """Ends a walk from outside."""


def statuses(database: Database) -> Counter[str]:
    return Counter(status for (status,) in database.rows("SELECT status FROM data_sync_log"))


@pytest.mark.parametrize("interrupted", [False, True])
def test_who_waits_is_pending_and_nobody_in_the_end(database: Database, tmp_path: Path, interrupted: bool) -> None:
    seen: list[Counter[str]] = []

    def watch(path: str, _: object) -> None:
        if path.endswith("klines"):
            seen.append(statuses(database))

    with running(open_simulated(7, 3, FixedClock(NOW)), watch=watch) as url:
        chosen = settings_for(url, tmp_path)
        steps = data_steps(database, open_venue(chosen), chosen, "test")
        hold = holding(database, "binance", chosen, "test")
        try:
            with planned(database, "binance", SERIES, chosen, "test"):
                for _ in walk(SERIES, steps, hold, 1):
                    if interrupted:
                        raise Interrupted
        except Interrupted:
            assert statuses(database)["COMPLETED"] in (1, 2)
        else:
            assert statuses(database) == {"COMPLETED": 3}
    assert seen[0] == {"RUNNING": 1, "PENDING": 2}
    assert all(count["RUNNING"] <= 1 and sum(count.values()) == 3 for count in seen)
    assert set(statuses(database)) == {"COMPLETED"}


def test_a_series_that_another_process_holds_leaves_no_row(database: Database, tmp_path: Path) -> None:
    with running(open_simulated(7, 3, FixedClock(NOW))) as url:
        chosen = settings_for(url, tmp_path)
        steps, hold = data_steps(database, open_venue(chosen), chosen, "test"), holding(database, "binance", chosen, "test")
        with (
            take_series(database, "binance", SERIES[1], "another", 60.0),
            planned(database, "binance", SERIES, chosen, "test"),
        ):
            results = {result.series: result.error for result in walk(SERIES, steps, hold, 2)}
    assert "is being written by another" in str(results[SERIES[1]])
    assert statuses(database) == {"COMPLETED": 2}
