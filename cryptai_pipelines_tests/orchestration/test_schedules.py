"""What a tick asks for: one run, the right rectangle of the grid, at the right hour in UTC."""

from __future__ import annotations

import datetime as dt

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.orchestration.partitions import GRID, add_symbols, rectangle_tags
from cryptai_pipelines.orchestration.resources import VenueResource
from cryptai_pipelines.orchestration.schedules import due, hourly
from cryptai_pipelines.settings import Settings

CODES = [timeframe.code for timeframe in TIMEFRAMES]


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
    ("at", "expected"),
    [
        ("2024-02-29T05:01:00+00:00", {"1h"}),
        ("2024-02-29T08:01:00+00:00", {"1h", "4h"}),
        ("2024-03-01T00:01:00+00:00", {"1h", "4h", "1d"}),
        ("2024-03-04T00:01:00+00:00", {"1h", "4h", "1d", "1w"}),
        ("2024-03-31T01:01:00+00:00", {"1h"}),
        ("2024-10-27T01:01:00+00:00", {"1h"}),
        ("2024-12-31T23:01:00+00:00", {"1h"}),
        ("2025-01-01T00:01:00+00:00", {"1h", "4h", "1d"}),
    ],
)
def test_a_tick_is_one_run_for_every_symbol_and_due_timeframe(instance_per_module, at, expected):
    add_symbols(instance_per_module, SYMBOLS)
    request = tick(instance_per_module, at, "1h,4h,1d,1w")
    assert isinstance(request, dg.RunRequest)
    assert series_in(instance_per_module, request) == {f"{symbol}|{code}" for symbol in SYMBOLS for code in expected}


def test_a_tick_at_which_nothing_is_due_is_skipped_with_a_reason(instance_per_module):
    add_symbols(instance_per_module, SYMBOLS)
    assert "no bar of 1d" in tick(instance_per_module, "2024-02-29T05:01:00+00:00", "1d").skip_message


@given(st.integers(0, 2**41), st.sets(st.sampled_from(CODES), min_size=1))
def test_due_timeframes_are_those_whose_bar_closed_at_the_hour(at_ms, configured):
    hour = at_ms - at_ms % 3_600_000
    told = due(sorted(configured), at_ms)
    assert told == [timeframe for timeframe in TIMEFRAMES if timeframe.code in configured and timeframe.floor(hour) == hour]
    assert told == sorted(told, key=TIMEFRAMES.index)


def test_a_rectangle_names_its_corners():
    tags = rectangle_tags(["AAA-USDT", "BBB-USDT"], [Timeframe.M1, Timeframe.H1])
    assert sorted(tags.values()) == ["AAA-USDT|1m", "BBB-USDT|1h"]
