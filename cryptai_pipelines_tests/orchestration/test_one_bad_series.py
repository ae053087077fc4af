"""A venue that refuses one symbol: its siblings reach the end of the chain in the same run, and it does not look fresh."""

from __future__ import annotations

import dagster as dg
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.jobs import CHAIN_ASSETS
from cryptai_pipelines.orchestration.partitions import GRID, rectangle_tags
from cryptai_pipelines.replay.faults import FAULTS
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage import market_data, sync_log
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

SYMBOLS = ("BTC-USDT", "ETH-USDT", "BNB-USDT")
NOW = parse_time("2017-02-15T10:05:00Z")


@pytest.fixture
def venue_down_for_eth():
    """A simulated venue whose `down` set names the venue symbols that are answered with 451."""
    down: set[str] = set()

    def fault(path, query, _):
        return FAULTS["restricted_location"] if any(f"symbol={symbol}" in query for symbol in down) else None

    with running(open_simulated(7, 3, FixedClock(NOW)), faults=fault) as url:
        yield url, down


def statuses(instance, asset):
    keys = GRID.get_partition_keys(dynamic_partitions_store=instance)
    told = instance.get_status_by_partition(dg.AssetKey(asset), keys, GRID)
    return {key: None if told[key] is None else told[key].value for key in keys if key.endswith("|1h")}


def test_siblings_reach_the_end_and_the_bad_one_is_named(database, instance, tmp_path, venue_down_for_eth):
    url, down = venue_down_for_eth
    defs = definitions_for(database, settings_for(url, tmp_path, symbols=",".join(SYMBOLS)))
    assert run_job(defs, "sync_symbols", instance).success
    tags = rectangle_tags(SYMBOLS, [Timeframe.H1])

    down.add("ETHUSDT")
    broken = run_job(defs, "bring_up_to_date", instance, tags)

    assert not broken.success
    for asset in CHAIN_ASSETS:
        assert statuses(instance, asset) == {
            "BTC-USDT|1h": "MATERIALIZED",
            "ETH-USDT|1h": "FAILED",
            "BNB-USDT|1h": "MATERIALIZED",
        }, asset
    assert market_data.span(database, Series("ETH-USDT", Timeframe.H1)) is None
    [attempt] = sync_log.read_syncs(database, Series("ETH-USDT", Timeframe.H1))
    assert attempt["status"] == "FAILED" and "451" in attempt["error"]
    check = dg.AssetCheckKey(dg.AssetKey("raw_ohlcv"), "series_are_synced")
    evaluation = instance.get_latest_asset_check_evaluation_record(check).event.asset_check_evaluation
    assert not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert "ETH-USDT 1h" in evaluation.metadata["findings"].value

    down.clear()
    assert run_job(defs, "bring_up_to_date", instance, tags).success
    for asset in CHAIN_ASSETS:
        assert set(statuses(instance, asset).values()) == {"MATERIALIZED"}
    assert instance.get_latest_asset_check_evaluation_record(check).event.asset_check_evaluation.passed


def test_a_series_that_was_good_is_not_shown_as_fresh_when_it_fails(database, instance, tmp_path, venue_down_for_eth):
    url, down = venue_down_for_eth
    defs = definitions_for(database, settings_for(url, tmp_path, symbols=",".join(SYMBOLS)))
    assert run_job(defs, "sync_symbols", instance).success
    tags = rectangle_tags(SYMBOLS, [Timeframe.H1])
    assert run_job(defs, "bring_up_to_date", instance, tags).success
    down.add("ETHUSDT")
    assert not run_job(defs, "bring_up_to_date", instance, tags).success
    for asset in CHAIN_ASSETS:
        assert statuses(instance, asset)["ETH-USDT|1h"] == "FAILED", asset
        times = [record.partition_key for record in instance.fetch_materializations(dg.AssetKey(asset), limit=9).records]
        assert times.count("ETH-USDT|1h") == 1 and times.count("BTC-USDT|1h") == 2
