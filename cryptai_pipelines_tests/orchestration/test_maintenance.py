"""Keeping Dagster's records small takes nothing that a status hangs on, and backups are jobs that are seen."""

import datetime as dt
import os
import uuid

import dagster as dg
import pytest

from cryptai_pipelines.orchestration.maintenance import (
    BACKUP_JOB,
    dagster_database,
    delete_old_records,
    delete_orphaned_output,
)
from cryptai_pipelines.orchestration.partitions import GRID, add_symbols
from cryptai_pipelines.orchestration.schedules import CATCH_UP_TAG
from cryptai_pipelines.orchestration.sensors import backup_request
from cryptai_pipelines.storage.backup import list_backups
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

NONE = "none"
SYMBOLS = ["AAA-USDT", "BBB-USDT", "CCC-USDT"]
CHECK = dg.AssetCheckKey(dg.AssetKey("bars"), "sound")


@dg.multi_asset(
    specs=[dg.AssetSpec("bars", skippable=True)],
    check_specs=[dg.AssetCheckSpec("sound", asset="bars")],
    partitions_def=GRID,
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def bars(context: dg.AssetExecutionContext):
    """As the chain does: what is well is logged, what is not fails the run at its end. The tag `bad` names what fails."""
    bad = context.run.tags["bad"]
    for key in context.partition_keys:
        if bad not in str(key):
            context.log_event(dg.AssetMaterialization("bars", partition=key, metadata={"n": 1}))
    yield dg.AssetCheckResult(check_name="sound", asset_key="bars", passed=bad == NONE)
    if bad != NONE:
        raise dg.Failure("one is bad", allow_retries=False)


JOB = dg.define_asset_job("make_bars", selection=[bars])
DEFS = dg.Definitions(assets=[bars], jobs=[JOB], executor=dg.in_process_executor)


def materialize(instance, first, last, bad=NONE):
    tags = {"dagster/asset_partition_range_start": f"{first}|1h", "dagster/asset_partition_range_end": f"{last}|1h", "bad": bad}
    return run_job(DEFS, "make_bars", instance, tags).run_id


def told(instance):
    """Everything that the UI shows of the asset: the status of each partition, the latest of each, the check."""
    keys = GRID.get_partition_keys(dynamic_partitions_store=instance)
    statuses = instance.get_status_by_partition(dg.AssetKey("bars"), keys, GRID)
    storage = instance.event_log_storage
    check = instance.get_latest_asset_check_evaluation_record(CHECK)
    return {
        "statuses": {key: status.value for key, status in statuses.items() if status},
        "materialized": storage.get_materialized_partitions(dg.AssetKey("bars")),
        "latest": storage.get_latest_storage_id_by_partition(dg.AssetKey("bars"), dg.DagsterEventType.ASSET_MATERIALIZATION),
        "tags": storage.get_latest_tags_by_partition(
            dg.AssetKey("bars"), dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
        ),
        "check": (check.run_id, check.event.asset_check_evaluation.passed),
        "symbols": instance.get_dynamic_partitions("symbols"),
    }


@pytest.fixture
def aged(instance):
    """Five runs, the first three over a month ago; the status of CCC hangs on the oldest, that of BBB on a failed one."""
    add_symbols(instance, SYMBOLS)
    runs = [
        materialize(instance, "AAA-USDT", "CCC-USDT"),
        materialize(instance, "AAA-USDT", "AAA-USDT"),
        materialize(instance, "AAA-USDT", "BBB-USDT", bad="BBB"),
        materialize(instance, "AAA-USDT", "AAA-USDT"),
        materialize(instance, "AAA-USDT", "AAA-USDT"),
    ]
    db = dagster_database(instance)
    with db.transaction() as cursor:
        for table, column in (
            ("event_logs", "timestamp"),
            ("runs", "update_timestamp"),
            ("asset_check_executions", "create_timestamp"),
        ):
            cursor.execute(f"UPDATE {table} SET {column} = {column} - interval '40 days' WHERE run_id = ANY(%s)", (runs[:3],))
    yield db, runs
    db.close()


def fresh_statuses(instance):
    """Without what Dagster caches, which would show what was there before."""
    dagster_database(instance).rows("UPDATE asset_keys SET cached_status_data = NULL RETURNING 1")
    return told(instance)


def test_statuses_survive_and_what_nothing_depends_on_goes(instance, aged):
    db, runs = aged
    before = fresh_statuses(instance)
    assert before["statuses"] == {"AAA-USDT|1h": "MATERIALIZED", "BBB-USDT|1h": "FAILED", "CCC-USDT|1h": "MATERIALIZED"}
    [[events]] = db.rows("SELECT count(*) FROM event_logs")
    gone = delete_old_records(db)
    assert fresh_statuses(instance) == before
    [[left]] = db.rows("SELECT count(*) FROM event_logs")
    assert gone["events"] == events - left > 40 and gone["runs"] >= 0
    kept = {run.run_id for run in instance.get_runs()}
    assert {runs[0], runs[2], runs[3], runs[4]} <= kept, "runs that a status hangs on, and young ones"
    assert runs[1] not in kept and gone["runs"] == 1
    assert delete_old_records(db) == {"events": 0, "check_evaluations": 0, "runs": 0}
    # And what comes afterwards is told as ever.
    materialize(instance, "BBB-USDT", "BBB-USDT")
    assert fresh_statuses(instance)["statuses"]["BBB-USDT|1h"] == "MATERIALIZED"


def test_young_records_and_unfinished_runs_are_left_alone(instance, aged):
    db, runs = aged
    [[before]] = db.rows("SELECT count(*) FROM event_logs WHERE run_id = ANY(%s)", (runs[3:],))
    db.rows("UPDATE runs SET status = 'STARTED' WHERE run_id = %s RETURNING 1", (runs[1],))
    [[running]] = db.rows("SELECT count(*) FROM event_logs WHERE run_id = %s", (runs[1],))
    delete_old_records(db)
    assert db.rows("SELECT count(*) FROM event_logs WHERE run_id = ANY(%s)", (runs[3:],)) == [(before,)]
    assert db.rows("SELECT count(*) FROM event_logs WHERE run_id = %s", (runs[1],)) == [(running,)]


def test_what_runs_printed_goes_with_their_records(instance, tmp_path):
    kept = instance.create_run_for_job(DEFS.resolve_job_def("make_bars")).run_id
    old, young = str(uuid.uuid4()), str(uuid.uuid4())
    for name in (kept, old, young, "schedules"):
        folder = tmp_path / "storage" / name
        (folder / "compute_logs").mkdir(parents=True)
        (folder / "compute_logs" / "abc.err").write_text("said")
        if name != young:
            os.utime(folder, (0, 0))
    records = dagster_database(instance)
    try:
        assert delete_orphaned_output(records, tmp_path / "storage") == 1
        assert delete_orphaned_output(records, tmp_path / "nothing there") == 0
    finally:
        records.close()
    assert {folder.name for folder in (tmp_path / "storage").iterdir()} == {kept, young, "schedules"}


def test_backup_and_maintenance_run_as_jobs(database, instance, tmp_path):
    defs = definitions_for(database, settings_for("http://127.0.0.1:1", tmp_path, backups_kept=2))
    assert run_job(defs, "maintain_records", instance).success
    for _ in range(2):
        assert run_job(defs, "back_up", instance).success
    names = {path.name.partition("-")[0] for path in list_backups(tmp_path / "backups")}
    assert len(names) == 2 and any(name.startswith("dagster_") for name in names)


@dg.op
def nothing() -> None:
    """Never executed here."""


@dg.job(name="bring_up_to_date")
def catch_up() -> None:
    nothing()


@dg.job(name="back_up")
def back_up_job() -> None:
    nothing()


def test_the_backup_follows_the_catch_up_once_a_day(instance):
    assert BACKUP_JOB.name == "back_up"
    night = dt.datetime(2026, 3, 29, 2, 40, tzinfo=dt.UTC)
    assert "not begun" in backup_request(instance, night).skip_message
    run = instance.create_run_for_job(catch_up, tags={CATCH_UP_TAG: "2026-03-29"}, status=dg.DagsterRunStatus.STARTED)
    assert "under way" in backup_request(instance, night).skip_message
    instance.report_run_failed(instance.get_run_by_id(run.run_id))
    asked = backup_request(instance, night)
    assert asked.run_key == "backup@2026-03-29", "a failed catch-up is followed by a backup, too"
    instance.create_run_for_job(back_up_job, tags={"dagster/run_key": asked.run_key}, status=dg.DagsterRunStatus.SUCCESS)
    assert "was asked for" in backup_request(instance, night.replace(hour=3)).skip_message


def test_without_a_catch_up_the_backup_is_made_in_the_morning(instance):
    at = dt.datetime(2026, 10, 25, 5, 59, tzinfo=dt.UTC)
    assert isinstance(backup_request(instance, at), dg.SkipReason)
    assert backup_request(instance, at + dt.timedelta(minutes=1)).run_key == "backup@2026-10-25"
