"""The sensors on a real instance and a real venue: what goes wrong is told once, with its series and its since-when, and again
when it is over; and a sensor that cannot read concludes nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager

import dagster as dg
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.partitions import add_symbols, rectangle_tags
from cryptai_pipelines.orchestration.resources import StoreResource
from cryptai_pipelines.orchestration.schedules import SCHEDULED_TAG
from cryptai_pipelines.orchestration.sensors import ALL_SENSORS
from cryptai_pipelines.replay.faults import FAULTS
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage import alerts as alert_store
from cryptai_pipelines.storage.database import DatabaseUnavailable
from cryptai_pipelines_tests.orchestration.alerts.conftest import inbox  # noqa: F401
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

SYMBOLS = ("BTC-USDT", "ETH-USDT", "BNB-USDT")
NAMED = {sensor.name: sensor for sensor in ALL_SENSORS}
KINDS = ("stale_series", "failed_sync", "failed_check", "restated_file", "failed_run")


class Watch:
    """The daemon's part: evaluates sensors and keeps their cursors."""

    def __init__(self, defs, instance):
        self.defs, self.instance, self.cursors = defs, instance, {}

    def look(self, name, store=None):
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            definitions=self.defs,
            sensor_name=name,
            resources={"store": store or self.defs.resources["store"]},
        )
        told = NAMED[name].evaluate_tick(context)
        self.cursors[name] = told.cursor
        return told.skip_message

    def look_everywhere(self):
        return {name: self.look(name) for name in (*KINDS, "alert_delivery")}


@pytest.fixture
def venue():
    """A simulated venue whose `down` set names the venue symbols that are answered with 503, or 451 in `restricted`."""
    down, restricted = set(), set()

    def fault(path, query, _):
        if any(f"symbol={symbol}" in query for symbol in restricted):
            return FAULTS["restricted_location"]
        return FAULTS["server_error"] if any(f"symbol={symbol}" in query for symbol in down) else None

    with running(open_simulated(7, 3, FixedClock(parse_time("2017-02-15T10:05:00Z"))), faults=fault) as url:
        yield url, down, restricted


def test_a_venue_that_is_down_is_one_message_and_its_return_another(database, instance, tmp_path, venue, inbox):  # noqa: F811
    url, _, restricted = venue
    settings = settings_for(url, tmp_path, symbols=",".join(SYMBOLS), alert_urls=inbox.url)
    watch = Watch(definitions_for(database, settings), instance)
    assert run_job(watch.defs, "sync_symbols", instance).success
    tags = {**rectangle_tags(SYMBOLS, [Timeframe.H1]), SCHEDULED_TAG: "true"}
    assert run_job(watch.defs, "bring_up_to_date", instance, tags).success
    assert all("0 new" in told for name, told in watch.look_everywhere().items() if name in KINDS)
    assert inbox.taken == []

    database.rows("UPDATE historical_data_range SET covered_until = covered_until - interval '2 hours' RETURNING 1")
    restricted |= {"BTCUSDT", "ETHUSDT", "BNBUSDT"}
    assert not run_job(watch.defs, "bring_up_to_date", instance, tags).success
    first = watch.look_everywhere()
    assert first["failed_sync"] == "3 new, 0 still firing, 0 recovered"
    # The checks and the run failed because the syncs did: the same cause, told by its own alert.
    assert first["failed_check"] == first["failed_run"] == "0 new, 0 still firing, 0 recovered"
    watch.look_everywhere()
    assert inbox.titles == ["CryptAI: error: syncs fail: 3 of binance"]
    for symbol in SYMBOLS:
        assert f"binance {symbol} 1h, since 20" in inbox.taken[0]["message"]
    assert f"{settings.ui_url}/assets/raw_ohlcv?view=partitions&partition=" in inbox.taken[0]["message"]

    # The sync goes well again before any check is evaluated again: nothing new is wrong by that.
    with database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO data_sync_log (source, symbol, timeframe, status, started_at, finished_at, run_id)"
            " SELECT 'binance', unnest(%s), '1h', 'COMPLETED', now(), now(), 'by hand'",
            (list(SYMBOLS),),
        )
    by_hand = watch.look_everywhere()
    assert by_hand.pop("failed_sync").endswith("3 recovered")
    assert all(told == "0 new, 0 still firing, 0 recovered" for name, told in by_hand.items() if name in KINDS)

    restricted.clear()
    assert run_job(watch.defs, "bring_up_to_date", instance, tags).success
    watch.look_everywhere()
    assert inbox.titles[1:] == ["CryptAI: recovered: syncs fail: 3 of binance"]
    assert [alert for alert in alert_store.read_alerts(database) if alert.recovered_ms is None] == []


@pytest.fixture
def quiet(database, instance_per_module, tmp_path):
    """Sensors over an empty store that nobody listens to, and an instance without runs."""
    instance = instance_per_module
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    settings = settings_for("http://127.0.0.1:1", tmp_path, symbols="BTC-USDT,ETH-USDT", timeframes="1h,1d")
    return Watch(definitions_for(database, settings), instance)


def firing(database):
    return {(one.cause, one.subject) for one in alert_store.read_alerts(database) if one.recovered_ms is None}


def test_a_stale_series_is_told_by_its_bars(quiet, database):
    database.rows(
        "INSERT INTO historical_data_range (source, symbol, timeframe, first_ts, last_ts, covered_from, covered_until,"
        " updated_at) SELECT 'binance', symbol, '1h', now(), now(), '2017-01-01', date_trunc('hour', now()),"
        " now() - interval '3 minutes'"
        " FROM (VALUES ('BTC-USDT'), ('ETH-USDT')) AS v (symbol) RETURNING 1"
    )
    bars = (
        "INSERT INTO market_data (ts, open, high, low, close, volume, symbol, timeframe, source, origin, is_filled)"
        " VALUES (date_trunc('hour', now()) - %s * interval '1 hour', 1, 1, 1, 1, 0, %s, '1h', 'binance', %s, %s) RETURNING 1"
    )
    database.rows(bars, (1, "BTC-USDT", "rest", False))
    database.rows(bars, (9, "ETH-USDT", "rest", False))
    database.rows(bars, (1, "ETH-USDT", "carried", True))
    assert quiet.look("stale_series") == "1 new, 0 still firing, 0 recovered"
    assert firing(database) == {("stale_series", "binance ETH-USDT 1h")}, "a bar carried forward is no sign of life"
    database.rows(bars, (2, "ETH-USDT", "rest", False))
    database.rows("UPDATE market_data SET ts = ts + interval '1 hour' WHERE is_filled RETURNING 1")
    database.rows(bars, (1, "ETH-USDT", "rest", False))
    assert quiet.look("stale_series") == "0 new, 0 still firing, 1 recovered"


def test_files_that_are_not_believed_are_told(quiet, database):
    database.rows(
        "INSERT INTO archive_files (source, path, symbol, timeframe, period_start, period_end, status, first_tried_at,"
        " last_tried_at) SELECT 'binance_archive', status || '.zip', 'BTC-USDT', '1h', '2020-01-01', '2020-02-01', status,"
        " now(), now() FROM unnest(ARRAY['loaded', 'quarantined', 'restated', 'absent']) AS status RETURNING 1"
    )
    assert quiet.look("restated_file").startswith("2 new")
    assert {subject for _, subject in firing(database)} == {"binance_archive quarantined.zip", "binance_archive restated.zip"}
    database.rows("UPDATE archive_files SET status = 'loaded' RETURNING 1")
    assert quiet.look("restated_file").endswith("2 recovered")


@dg.op
def break_down() -> None:
    """Fails with a message of its own."""
    raise ValueError("the disk is on fire")


@dg.job(name="back_up")
def broken() -> None:
    break_down()


def test_a_failed_run_is_told_with_its_reason_until_one_succeeds(quiet, database):
    run = broken.execute_in_process(instance=quiet.instance, raise_on_error=False)
    assert quiet.look("failed_run").startswith("1 new") and quiet.look("failed_run").startswith("0 new, 1 still")
    [alert] = alert_store.read_alerts(database)
    assert "the disk is on fire" in alert.summary and alert.link == f"http://127.0.0.1:3000/runs/{run.run_id}"
    assert run_job(quiet.defs, "back_up", quiet.instance).success
    assert quiet.look("failed_run").endswith("1 recovered")


def test_a_trial_that_fails_is_told_to_whoever_started_it_and_to_nobody_else(quiet):
    add_symbols(quiet.instance, ["BTC-USDT"])
    by_job = quiet.defs.resolve_job_def("try_strategy").execute_in_process(
        instance=quiet.instance, partition_key="BTC-USDT|1h", raise_on_error=False
    )
    by_hand = quiet.defs.resolve_job_def("__ASSET_JOB").execute_in_process(
        instance=quiet.instance,
        partition_key="BTC-USDT|1h",
        asset_selection=[dg.AssetKey("strategy_trial")],
        raise_on_error=False,
    )
    assert not by_job.success and not by_hand.success
    assert quiet.look("failed_run") == "0 new, 0 still firing, 0 recovered"


def test_a_job_that_cannot_reach_a_venue_that_is_down_for_the_syncs_too_is_no_second_message(quiet, database):
    assert not run_job(quiet.defs, "sync_latest_prices", quiet.instance).success
    database.rows(
        "INSERT INTO data_sync_log (source, symbol, timeframe, status, started_at, finished_at, error)"
        " SELECT 'binance', 'BTC-USDT', '1h', 'FAILED', now(), now(), 'binance at http://127.0.0.1:1: Connection refused'"
        " RETURNING 1"
    )
    database.rows("INSERT INTO series_sources VALUES ('BTC-USDT', '1h', 'binance', 0, 'rest', now()) RETURNING 1")
    assert quiet.look("failed_sync").startswith("1 new")
    assert quiet.look("failed_run").startswith("0 new")
    database.rows("DELETE FROM data_sync_log RETURNING 1")
    assert quiet.look("failed_run").startswith("1 new")


def test_a_run_that_dagster_starts_again_is_not_told(quiet, database):
    run = broken.execute_in_process(instance=quiet.instance, raise_on_error=False)
    quiet.instance.add_run_tags(run.run_id, {"dagster/will_retry": "true"})
    assert quiet.look("failed_run").startswith("0 new")


def test_a_failed_job_is_told_however_many_other_runs_come_after_it(quiet, database):
    broken.execute_in_process(instance=quiet.instance, raise_on_error=False)
    assert quiet.look("failed_run").startswith("1 new")
    for _ in range(101):
        other_run(quiet.instance)
    assert quiet.look("failed_run") == "0 new, 1 still firing, 0 recovered"


def other_run(instance):
    """A run of another job that ended well."""
    return instance.create_run_for_job(other, status=dg.DagsterRunStatus.SUCCESS)


@dg.op
def do_nothing() -> None:
    """Succeeds."""


@dg.job(name="sync_latest_prices")
def other() -> None:
    do_nothing()


def evaluation(instance, passed, findings, first, last):
    """A run over a part of the grid that evaluated `validated_bars.coverage`."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    run = instance.create_run_for_job(broken, tags=tags, status=dg.DagsterRunStatus.SUCCESS)
    result = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("validated_bars"),
        check_name="coverage",
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"findings": dg.MetadataValue.md(findings)},
        blocking=False,
    )
    event = dg.DagsterEvent(
        event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, job_name="back_up", event_specific_data=result
    )
    instance.report_dagster_event(event, run.run_id)


def test_a_finding_about_long_bars_outlives_the_ticks_of_short_ones(quiet, database):
    evaluation(quiet.instance, False, "- ETH-USDT 1d: 3 of 9 bars are missing", "BTC-USDT|1h", "ETH-USDT|1d")
    assert quiet.look("failed_check").startswith("1 new")
    [alert] = alert_store.read_alerts(database)
    assert alert.subject == "validated_bars.coverage of ETH-USDT 1d" and alert.severity == "warning"
    evaluation(quiet.instance, True, "none", "BTC-USDT|1h", "ETH-USDT|1h")
    assert quiet.look("failed_check") == "0 new, 1 still firing, 0 recovered"
    assert json.loads(quiet.cursors["failed_check"])["validated_bars.coverage"]["open"]
    evaluation(quiet.instance, True, "none", "BTC-USDT|1h", "ETH-USDT|1d")
    assert quiet.look("failed_check") == "0 new, 0 still firing, 1 recovered"


def test_no_evaluation_is_missed_when_several_come_between_two_looks(quiet, database):
    evaluation(quiet.instance, False, "- ETH-USDT 1d: 3 of 9 bars are missing", "BTC-USDT|1h", "ETH-USDT|1d")
    evaluation(quiet.instance, True, "none", "BTC-USDT|1h", "ETH-USDT|1h")
    assert quiet.look("failed_check").startswith("1 new")
    evaluation(quiet.instance, True, "none", "BTC-USDT|1h", "ETH-USDT|1d")
    evaluation(quiet.instance, True, "none", "BTC-USDT|1h", "ETH-USDT|1h")
    assert quiet.look("failed_check").endswith("1 recovered")


@pytest.mark.parametrize("name", (*KINDS, "alert_delivery"))
def test_a_sensor_that_cannot_read_says_so_and_concludes_nothing(quiet, database, name):
    class Gone(StoreResource):
        @contextmanager
        def open(self):
            raise DatabaseUnavailable("database cryptai: the server has gone")
            yield

        def settings(self):
            return settings_for("http://127.0.0.1:1", quiet.defs.resources["store"].settings().home, alert_urls="json://h")

    assert "could not read" in quiet.look(name, Gone())


def test_all_are_on_by_default_and_seen_by_name():
    assert set(NAMED) == {*KINDS, "alert_delivery", "backup_after_catch_up", "review_new_results"}
    assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in ALL_SENSORS)
    assert all(30 <= sensor.minimum_interval_seconds <= 60 and sensor.description for sensor in ALL_SENSORS)


def test_without_receivers_delivery_says_what_is_missing(quiet):
    assert "CRYPTAI_ALERT_URLS is empty" in quiet.look("alert_delivery")
