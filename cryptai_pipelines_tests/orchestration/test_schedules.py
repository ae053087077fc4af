"""What a tick asks for: one run, the right rectangle of the grid, at the right time in UTC; and after days without a daemon the
first tick brings everything up to date."""

from __future__ import annotations

import datetime as dt
import itertools
from contextlib import contextmanager

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from cryptai_pipelines.market.clock import FixedClock, format_time, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.jobs import CHAIN_JOB
from cryptai_pipelines.orchestration.partitions import GRID, add_symbols, rectangle_tags
from cryptai_pipelines.orchestration.resources import StoreResource, VenueResource
from cryptai_pipelines.orchestration.schedules import ALL_SCHEDULES, CATCH_UP_TAG, LONGEST_TAG, SCHEDULED_TAG, bars_at_close
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import market_data
from cryptai_pipelines.storage.database import DatabaseUnavailable
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

SYMBOLS = ["ZEC-USDT", "BTC-USDT", "ETH-USDT"]
NAMED = {schedule.name: schedule for schedule in ALL_SCHEDULES}


@pytest.fixture
def tick(instance_per_module, database_per_module):
    """`tick(at, timeframes, name)` evaluates a schedule at a time; a run it asks for is recorded as the daemon does."""

    instance, database = instance_per_module, database_per_module
    for run in instance.get_runs():
        instance.delete_run(run.run_id)

    def evaluate(at: str, timeframes: str, name: str = "bars_at_close", status: str = "SUCCESS", unreadable=False):
        settings = Settings(_env_file=None, timeframes=timeframes, symbols=",".join(SYMBOLS))

        class Configured(VenueResource):
            def settings(self) -> Settings:
                return settings

        class Opened(StoreResource):
            @contextmanager
            def open(self):
                if unreadable:
                    raise DatabaseUnavailable("the server has gone")
                yield database

        given = {"store": Opened()} if name == "bars_at_close" else {}
        moment = dt.datetime.fromisoformat(at).replace(tzinfo=dt.UTC)
        with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment) as context:
            asked = NAMED[name](context, venue=Configured(), **given)
        if isinstance(asked, dg.RunRequest):
            instance.create_run_for_job(noop, tags=asked.tags, status=dg.DagsterRunStatus[status])
        return asked

    return evaluate


@dg.op
def nothing() -> None:
    """Never executed here."""


@dg.job(name=CHAIN_JOB.name)
def noop() -> None:
    nothing()


def series_in(instance: dg.DagsterInstance, request: dg.RunRequest) -> set[str]:
    chosen = dg.PartitionKeyRange(
        request.tags["dagster/asset_partition_range_start"], request.tags["dagster/asset_partition_range_end"]
    )
    return {str(key) for key in GRID.get_partition_keys_in_range(chosen, dynamic_partitions_store=instance)}


def grid_of(*codes: str) -> set[str]:
    return {f"{symbol}|{code}" for symbol in SYMBOLS for code in codes}


def test_without_symbols_or_timeframes_a_tick_is_skipped_with_a_reason(instance_per_module, tick):
    assert "no symbols" in tick("2024-02-29T05:01", "1h").skip_message
    assert "no symbols" in tick("2024-02-29T02:30", "1h", "daily_catch_up").skip_message
    add_symbols(instance_per_module, SYMBOLS)
    assert "CRYPTAI_TIMEFRAMES" in tick("2024-02-29T05:01", "").skip_message


def test_a_tick_is_one_run_over_all_symbols_and_the_timeframes_that_closed(instance_per_module, tick):
    add_symbols(instance_per_module, SYMBOLS)
    first = tick("2026-03-29T00:56", "4h,1h,15m")
    assert series_in(instance_per_module, first) == grid_of("15m", "30m", "1h", "4h"), "nothing was asked for before"
    assert series_in(instance_per_module, tick("2026-03-29T01:01", "4h,1h,15m")) == grid_of("15m", "30m", "1h")
    assert "15m 1h 4h has closed" in tick("2026-03-29T01:06", "4h,1h,15m").skip_message
    assert series_in(instance_per_module, tick("2026-03-29T01:16", "4h,1h,15m")) == grid_of("15m")
    later = tick("2026-03-29T04:01", "4h,1h,15m")
    assert series_in(instance_per_module, later) == grid_of("15m", "30m", "1h", "4h")
    assert later.run_key == "bars_at_close@2026-03-29T04:01:00+00:00" and later.tags[SCHEDULED_TAG] == "true"


def test_a_failed_run_is_repeated_after_an_hour_and_a_waiting_one_is_not_added_to(instance_per_module, tick):
    add_symbols(instance_per_module, SYMBOLS)
    assert isinstance(tick("2026-03-29T00:01", "1d", status="FAILURE"), dg.RunRequest)
    assert isinstance(tick("2026-03-29T00:06", "1d"), dg.SkipReason)
    assert tick("2026-03-29T01:01", "1d", status="NOT_STARTED").tags[LONGEST_TAG] == "1d"
    assert "still waits in the queue" in tick("2026-03-30T00:01", "1d").skip_message


def test_a_tick_that_cannot_read_says_so_and_the_next_makes_up_for_it(instance_per_module, tick):
    add_symbols(instance_per_module, SYMBOLS)
    tick("2026-03-29T00:01", "1h")
    assert "could not read" in tick("2026-03-29T01:01", "1h", unreadable=True).skip_message
    assert series_in(instance_per_module, tick("2026-03-29T01:06", "1h")) == grid_of("1h")


def test_the_catch_up_is_one_run_over_everything_configured(instance_per_module, tick):
    add_symbols(instance_per_module, SYMBOLS)
    request = tick("2026-10-25T02:30", "1w,4h,1h", "daily_catch_up")
    assert (
        series_in(instance_per_module, request) == grid_of("1h", "4h", "1d", "1w")
        and request.tags[CATCH_UP_TAG] == "2026-10-25"
    )
    assert request.run_key == "daily_catch_up@2026-10-25T02:30:00+00:00"


EVERY_DAY = {
    "bars_at_close": [f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(1, 60, 5)],
    "daily_symbols": ["00:20"],
    "daily_catch_up": ["02:30"],
    "latest_prices": [f"{hour:02}:{minute}" for hour in range(24) for minute in ("00", "30")],
}
SUNDAYS = {"weekly_gaps": ["03:00"], "weekly_maintenance": ["04:00"]}


@pytest.mark.parametrize("name", sorted(NAMED))
@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2024-02-29", "2026-12-31", "2027-01-01"])
def test_every_schedule_ticks_by_utc_on_every_kind_of_day(name, day):
    """As Dagster counts ticks: on the days on which clocks change neither one more nor one less."""
    schedule = NAMED[name]
    start = dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC)
    moments = schedule_execution_time_iterator(start.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    within = itertools.takewhile(lambda moment: moment < start + dt.timedelta(days=1), moments)
    expected = EVERY_DAY.get(name) or (SUNDAYS[name] if start.weekday() == 6 else [])
    assert [moment.astimezone(dt.UTC).strftime("%H:%M") for moment in within] == expected
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING and schedule.execution_timezone == "UTC"


def test_the_first_tick_after_three_days_brings_everything_up_to_date(database, instance, tmp_path):
    clock = FixedClock(parse_time("2017-02-10T08:01:00Z"))
    with running(open_simulated(9, 1, clock)) as url:
        settings = settings_for(url, tmp_path, timeframes="1h,4h,1d")
        defs = definitions_for(database, settings)
        assert run_job(defs, "sync_symbols", instance).success
        resources = defs.resolve_schedule_def("bars_at_close") and defs.resources

        def tick_and_run(at: str) -> str:
            clock.at_ms = parse_time(at)
            moment = dt.datetime.fromisoformat(at)
            with dg.build_schedule_context(instance=instance, scheduled_execution_time=moment) as context:
                asked = bars_at_close(context, venue=resources["venue"], store=resources["store"])
            if isinstance(asked, dg.SkipReason):
                return ""
            assert run_job(defs, CHAIN_JOB.name, instance, asked.tags).success
            return asked.tags[LONGEST_TAG]

        def last_bars() -> list[str]:
            series = [Series("BTC-USDT", Timeframe(code)) for code in settings.timeframes]
            return [format_time(market_data.span(database, one).end_ms) for one in series]

        assert tick_and_run("2017-02-10T08:01:00+00:00") == "1d"
        assert last_bars() == ["2017-02-10T07:00:00Z", "2017-02-10T04:00:00Z", "2017-02-09T00:00:00Z"]
        assert tick_and_run("2017-02-10T08:06:00+00:00") == ""
        # Three days without a daemon; of the ticks that were missed only the latest is run, and no bar closed at it.
        assert tick_and_run("2017-02-13T10:36:00+00:00") == "1d"
        assert last_bars() == ["2017-02-13T09:00:00Z", "2017-02-13T04:00:00Z", "2017-02-12T00:00:00Z"]
        for one in ("1h", "4h", "1d"):
            expected, received = _counts(database, one)
            assert expected == received > 0
        assert tick_and_run("2017-02-13T10:41:00+00:00") == ""
        # One new bar of 1h, and one run for it alone.
        assert tick_and_run("2017-02-13T11:01:00+00:00") == "1h"


def _counts(database, code):
    [[expected, received]] = database.rows(
        "SELECT sum(expected), sum(received) FROM data_quality WHERE kind = 'completeness' AND timeframe = %s", (code,)
    )
    return expected, received


def test_a_rectangle_names_its_corners():
    tags = rectangle_tags(["AAA-USDT", "BBB-USDT"], [Timeframe.M1, Timeframe.H1])
    assert sorted(tags.values()) == ["AAA-USDT|1m", "BBB-USDT|1h"]
