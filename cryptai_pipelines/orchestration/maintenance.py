"""Work on the databases themselves, as jobs that are seen in the UI: backups, and keeping Dagster's records small.

What the UI shows of an asset's partitions is read from the events of runs. So nothing is deleted here that a status hangs on:
of each kind of event the latest one of every partition stays, whatever its age, and with it its run.
"""

import re
import shutil
import time
from pathlib import Path

import dagster as dg

from cryptai_pipelines.orchestration.resources import StoreResource
from cryptai_pipelines.storage.backup import back_up
from cryptai_pipelines.storage.database import Cursor, Database

KEPT_DAYS = 30
ALERTS_KEPT_DAYS = 90
_BATCH = 20_000
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# Events of these runs may still be added to or waited for.
_FINISHED = "('SUCCESS', 'FAILURE', 'CANCELED')"
_OLD = "now() AT TIME ZONE 'UTC' - %s * interval '1 day'"
# What partitions, assets and checks are judged by: the latest event of each kind.
_LATEST_EVENTS = """CREATE TEMPORARY TABLE latest_events AS
  SELECT max(id) AS id FROM event_logs WHERE asset_key IS NOT NULL GROUP BY asset_key, partition, dagster_event_type
  UNION SELECT evaluation_event_id FROM (
    SELECT DISTINCT ON (asset_key, check_name, partition, execution_status) evaluation_event_storage_id AS evaluation_event_id
    FROM asset_check_executions ORDER BY asset_key, check_name, partition, execution_status, id DESC) AS checks
  WHERE evaluation_event_id IS NOT NULL"""
_OLD_EVENTS = f"""DELETE FROM event_logs WHERE id IN (
  SELECT e.id FROM event_logs AS e LEFT JOIN runs AS r USING (run_id)
  WHERE e.timestamp < {_OLD} AND (r.run_id IS NULL OR r.status IN {_FINISHED})
  AND NOT EXISTS (SELECT FROM latest_events AS l WHERE l.id = e.id) ORDER BY e.id LIMIT %s)"""
_ORPHANED_TAGS = """DELETE FROM asset_event_tags WHERE event_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM event_logs AS e WHERE e.id = asset_event_tags.event_id)"""
_OLD_CHECKS = f"""DELETE FROM asset_check_executions AS c WHERE c.create_timestamp < {_OLD} AND EXISTS (
  SELECT FROM asset_check_executions AS newer WHERE newer.asset_key = c.asset_key AND newer.check_name = c.check_name
  AND newer.partition IS NOT DISTINCT FROM c.partition AND newer.execution_status = c.execution_status AND newer.id > c.id)"""
_OLD_RUNS = f"""DELETE FROM runs AS r WHERE r.status IN {_FINISHED} AND r.update_timestamp < {_OLD}
  AND NOT EXISTS (SELECT FROM event_logs AS e WHERE e.run_id = r.run_id)
  AND NOT EXISTS (SELECT FROM asset_check_executions AS c WHERE c.run_id = r.run_id)"""


def delete_old_records(dagster_db: Database, days: int = KEPT_DAYS) -> dict[str, int]:
    """Delete from Dagster's database what is older than `days` and nothing depends on; how many events, check evaluations and
    runs went. Each batch is committed by itself: an interruption loses nothing."""
    with dagster_db.session() as connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute(_LATEST_EVENTS)
                events = _delete_events(cursor, days)
                cursor.execute(_ORPHANED_TAGS)
                cursor.execute(_OLD_CHECKS, (days,))
                checks = cursor.rowcount
                cursor.execute(_OLD_RUNS, (days,))
                return {"events": events, "check_evaluations": checks, "runs": cursor.rowcount}
        finally:
            # The temporary table goes with its connection.
            connection.close()


def _delete_events(cursor: Cursor, days: int) -> int:
    events = 0
    while True:
        cursor.execute(_OLD_EVENTS, (days, _BATCH))
        events += cursor.rowcount
        if cursor.rowcount < _BATCH:
            return events


def delete_orphaned_output(dagster_db: Database, storage: Path, days: int = KEPT_DAYS) -> int:
    """Delete from Dagster's storage folder what runs printed that are not in its records any more and began more than `days`
    ago; of how many runs. Folders that are not named after a run are left alone."""
    kept = {run_id for (run_id,) in dagster_db.rows("SELECT run_id FROM runs")}
    oldest = time.time() - days * 86_400
    gone = 0
    for folder in storage.iterdir() if storage.is_dir() else ():
        if _RUN_ID.fullmatch(folder.name) and folder.name not in kept and folder.stat().st_mtime < oldest:
            shutil.rmtree(folder)
            gone += 1
    return gone


def dagster_database(instance: dg.DagsterInstance) -> Database:
    """The database of Dagster's own records; `dg.Failure` for an instance that keeps them elsewhere."""
    url = getattr(instance.event_log_storage, "postgres_url", None)
    if url is None:
        raise dg.Failure("Dagster's records are not in Postgres here; there is nothing that this could maintain")
    return Database(url)


@dg.op(description="pg_dump of our database and of Dagster's into CRYPTAI_HOME/backups, the newest of them kept.")
def backup(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Back up both databases."""
    settings = store.settings()
    folder = Path(settings.home).resolve() / "backups"
    with store.open() as database:
        urls = [database.url, dagster_database(context.instance).url]
        made = back_up(urls, folder, settings.backups_kept)
    for one in made:
        context.log.info(f"{one.file}: {one.size:,} bytes, {sum(one.rows.values()):,} rows")
    files = {one.database: dg.MetadataValue.path(str(one.file)) for one in made}
    context.add_output_metadata({**files, "bytes": sum(one.size for one in made)})


@dg.op(description="Deletes old events and runs that no status depends on, and alerts that recovered long ago.")
def maintain(context: dg.OpExecutionContext, store: StoreResource) -> None:
    """Delete what is old and not needed."""
    from cryptai_pipelines.storage.alerts import delete_recovered

    dagster_db = dagster_database(context.instance)
    try:
        gone: dict[str, int] = delete_old_records(dagster_db)
        gone["run_outputs"] = delete_orphaned_output(dagster_db, Path(context.instance.storage_directory()))
    finally:
        dagster_db.close()
    with store.open() as database:
        gone["alerts"] = delete_recovered(database, ALERTS_KEPT_DAYS)
    context.log.info(", ".join(f"{count:,} {what}" for what, count in gone.items()) + " deleted")
    context.add_output_metadata(dict(gone))


@dg.job(name="back_up", description="A backup of both databases.")
def BACKUP_JOB() -> None:  # noqa: N802  the other jobs are constants, too
    backup()


@dg.job(name="maintain_records", description="Keeps Dagster's records from growing without end.")
def MAINTENANCE_JOB() -> None:  # noqa: N802
    maintain()
