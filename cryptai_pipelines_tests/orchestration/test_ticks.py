"""Scheduled runs one after another: what is due is brought up to date, what is not is passed over and not told again."""

from __future__ import annotations

import dagster as dg

from cryptai_pipelines.market.clock import FixedClock, format_time, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.partitions import rectangle_tags
from cryptai_pipelines.orchestration.schedules import CATCH_UP_TAG, SCHEDULED_TAG
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage import market_data
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

H1, H4 = Series("BTC-USDT", Timeframe.H1), Series("BTC-USDT", Timeframe.H4)


def last_bar(database, series):
    return format_time(market_data.span(database, series).end_ms)


def materializations(instance, asset):
    return [record.partition_key for record in instance.fetch_materializations(dg.AssetKey(asset), limit=20).records]


def test_ticks_catch_up_and_pass_over(database, instance, tmp_path):
    clock = FixedClock(parse_time("2017-02-10T08:01:00Z"))
    tags = {**rectangle_tags(["BTC-USDT"], [Timeframe.H1, Timeframe.H4]), SCHEDULED_TAG: "true"}
    with running(open_simulated(9, 1, clock)) as url:
        defs = definitions_for(database, settings_for(url, tmp_path, timeframes="1h,4h"))
        assert run_job(defs, "sync_symbols", instance).success

        def tick(at: str) -> tuple[str, str, int, int]:
            clock.at_ms = parse_time(at)
            assert run_job(defs, "bring_up_to_date", instance, tags).success
            told = [materializations(instance, asset) for asset in ("raw_ohlcv", "performance_metrics")]
            assert told[0] == told[1]
            return last_bar(database, H1), last_bar(database, H4), told[0].count("BTC-USDT|1h"), told[0].count("BTC-USDT|4h")

        assert tick("2017-02-10T08:01:00Z") == ("2017-02-10T07:00:00Z", "2017-02-10T04:00:00Z", 1, 1)
        assert tick("2017-02-10T08:03:00Z") == ("2017-02-10T07:00:00Z", "2017-02-10T04:00:00Z", 1, 1), "nothing was due"
        assert tick("2017-02-10T09:01:00Z") == ("2017-02-10T08:00:00Z", "2017-02-10T04:00:00Z", 2, 1), "only 1h was due"
        # The machine was off at 12:00 and the whole day after it: the next tick is late for 4h and catches up on it.
        assert tick("2017-02-11T13:01:00Z") == ("2017-02-11T12:00:00Z", "2017-02-11T08:00:00Z", 3, 2)
        # The daily catch-up looks at everything again, due or not, and tells so: freshness is judged by it.
        tags |= {CATCH_UP_TAG: "2017-02-11"}
        assert tick("2017-02-11T13:30:00Z") == ("2017-02-11T12:00:00Z", "2017-02-11T08:00:00Z", 4, 3)
    pictures = ["picture" in r.asset_materialization.metadata for r in _records(instance, "performance_metrics", "BTC-USDT|1h")]
    assert pictures == [False, True, False, True], "a picture is logged with a new day or trade, not each time"


def _records(instance, asset, partition):
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=20).records
    return [record for record in records if record.partition_key == partition]
