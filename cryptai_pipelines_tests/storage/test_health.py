"""What is failing or lacking, read from the logs: since when, by source, and only as long as somebody goes on trying."""

from __future__ import annotations

import pytest

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage.health import failed_in_runs, failed_syncs, lacking_series

BTC, ETH = Series("BTC-USDT", Timeframe.H1), Series("ETH-USDT", Timeframe.H1)


@pytest.fixture
def log(database):
    """`log(source, series, hours_ago, status, rank)` adds a finished sync, and the source to the series."""

    def add(source, series, hours_ago, status, rank=0, run_id="run"):
        keys = (source, series.symbol, series.timeframe.code)
        with database.transaction() as cursor:
            cursor.execute(
                "INSERT INTO historical_data_range (source, symbol, timeframe, covered_from, covered_until)"
                " VALUES (%s, %s, %s, '2017-01-01', now()) ON CONFLICT DO NOTHING",
                keys,
            )
            cursor.execute(
                "INSERT INTO series_sources (source, symbol, timeframe, rank, origin) VALUES (%s, %s, %s, %s, 'rest')"
                " ON CONFLICT DO NOTHING",
                (*keys, rank),
            )
            cursor.execute(
                "INSERT INTO data_sync_log (source, symbol, timeframe, status, started_at, finished_at, error, run_id)"
                " VALUES (%s, %s, %s, %s, date_trunc('hour', now()) - %s * interval '1 hour', now(), 'why', %s)",
                (*keys, status, hours_ago, run_id),
            )

    return add


def failing(database):
    return [(one.source, one.series, one.status) for one in failed_syncs(database, [BTC, ETH])]


def test_a_series_fails_from_its_first_failure_since_it_was_well(database, log):
    for hours, status in ((9, "FAILED"), (8, "COMPLETED"), (7, "PARTIAL"), (6, "FAILED"), (5, "RUNNING")):
        log("binance", BTC, hours, status)
    log("binance", ETH, 3, "FAILED")
    log("binance", ETH, 2, "COMPLETED")
    [found] = failed_syncs(database, [BTC, ETH])
    assert (found.series, found.status, found.error) == (BTC, "FAILED", "why")
    [[first]] = database.rows("SELECT extract(epoch FROM started_at)::float8 FROM data_sync_log WHERE status = 'PARTIAL'")
    assert found.since_ms == first * 1000
    assert failed_syncs(database, [ETH]) == [], "only what is asked about"
    assert lacking_series(database, "binance", [BTC, ETH]) == [BTC]
    assert lacking_series(database, "kraken", [BTC, ETH]) == [BTC, ETH], "no coverage"


def test_what_nobody_tries_any_more_is_history_sooner_for_sources_of_gaps(database, log):
    log("binance", BTC, 7 * 24, "FAILED")
    log("kraken", BTC, 23, "FAILED", rank=1)
    log("okx", ETH, 26, "FAILED", rank=1)
    log("file:mine.csv", ETH, 1, "FAILED", rank=2)
    assert failing(database) == [("binance", BTC, "FAILED"), ("kraken", BTC, "FAILED")]
    log("binance", ETH, 9 * 24, "FAILED")
    assert ("binance", ETH, "FAILED") not in failing(database)


def test_the_failures_of_a_run_stay_its_own(database, log):
    log("binance", BTC, 2, "FAILED", run_id="first")
    log("binance", BTC, 1, "COMPLETED", run_id="second")
    assert failed_in_runs(database, ["first", "second"]) == [("first", BTC)] and failed_in_runs(database, []) == []
