"""What a tick asks for: one run, the right rectangle of the grid, at the right hour in UTC."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest

from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.partitions import GRID, add_symbols, rectangle_tags
from cryptai_pipelines.orchestration.resources import VenueResource
from cryptai_pipelines.orchestration.schedules import hourly
from cryptai_pipelines.settings import Settings

SYMBOLS = ["ZEC-USDT", "BTC-USDT", "ETH-USDT"]


def tick(instance: dg.DagsterInstance, at: str, timeframes: str) -> dg.RunRequest | dg.SkipReason:
    settings = Settings(_env_file=None, timeframes=timeframes)

    class Configured(VenueResource):
        def settings(self) -> Settings:
            return settings

    moment = dt.datetime.fromisoformat(at)
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment) as context:
        return hourly(context, venue=Configured())


def series_in(instance: dg.DagsterInstance, request: dg.RunRequest) -> set[str]:
    chosen = dg.PartitionKeyRange(
        request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]
    )
    return {str(key) for key in GRID.get_partition_keys_in_range(chosen, dynamic_partitions_store=instance)}


def test_without_symbols_a_tick_is_skipped_with_a_reason(instance_per_module):
    assert "no symbols" in tick(instance_per_module, "2024-02-29T05:01:00+00:00", "1h").skip_message


@pytest.mark.parametrize(
    "at",
    ["2024-02-29T05:01", "2024-03-01T00:01", "2024-03-04T00:01", "2024-03-31T01:01", "2024-10-27T01:01", "2024-12-31T23:01"],
)
def test_a_tick_is_one_run_over_all_that_is_configured(instance_per_module, at):
    add_symbols(instance_per_module, SYMBOLS)
    request = tick(instance_per_module, f"{at}:00+00:00", "1w,4h,1h")
    assert isinstance(request, dg.RunRequest)
    expected = {f"{symbol}|{code}" for symbol in SYMBOLS for code in ("1h", "4h", "1d", "1w")}
    assert series_in(instance_per_module, request) == expected
    assert request.run_key == f"hourly@{at}:00+00:00"


def test_without_timeframes_a_tick_is_skipped_with_a_reason(instance_per_module):
    add_symbols(instance_per_module, SYMBOLS)
    assert "CRYPTAI_TIMEFRAMES" in tick(instance_per_module, "2024-02-29T05:01:00+00:00", "").skip_message


def test_a_rectangle_names_its_corners():
    tags = rectangle_tags(["AAA-USDT", "BBB-USDT"], [Timeframe.M1, Timeframe.H1])
    assert sorted(tags.values()) == ["AAA-USDT|1m", "BBB-USDT|1h"]
