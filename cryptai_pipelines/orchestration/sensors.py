"""What is looked at all the time: one sensor for each kind of trouble, one that tells people, one that backs up after the daily
catch-up, and one that shows the reviews of new backtests.

A sensor that cannot read says so and changes nothing: what is not known to be well has not recovered. What is wrong is gathered
and worded in `alerts`.
"""

import datetime as dt
import json
from collections.abc import Callable, Sequence

import dagster as dg

from cryptai_pipelines.market.clock import SystemClock
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.orchestration.alerts.cause import Cause, error_class, reconcile
from cryptai_pipelines.orchestration.alerts.dagster_causes import CheckState, check_causes, read_checks, run_causes
from cryptai_pipelines.orchestration.alerts.data_causes import file_causes, stale_causes, sync_causes
from cryptai_pipelines.orchestration.alerts.receivers import read_receivers
from cryptai_pipelines.orchestration.jobs import ALL_JOBS, CHAIN_JOB, REVIEW_JOB, TRIAL_JOB
from cryptai_pipelines.orchestration.maintenance import BACKUP_JOB
from cryptai_pipelines.orchestration.resources import StoreResource
from cryptai_pipelines.orchestration.review_results import is_review
from cryptai_pipelines.orchestration.schedules import CATCH_UP_TAG
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import alerts as alert_store
from cryptai_pipelines.storage import health
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.sync_log import close_expired

_EVERY_S = 60
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# By then the catch-up has ended or will not; the backup is made all the same.
_BACKUP_AT_LATEST = dt.time(6, 0)

Gather = Callable[[dg.SensorEvaluationContext, Database, Settings], Sequence[Cause]]


def _watch(name: str, description: str, gather: Gather) -> dg.SensorDefinition:
    """A sensor that compares the causes of the kind `name` with the alerts about them."""

    @dg.sensor(
        name=name,
        minimum_interval_seconds=_EVERY_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=description,
        # A sensor has to be for something that can run; none of these ever asks for a run.
        job=CHAIN_JOB,
    )
    def watch(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
        try:
            with store.open() as database:
                told = _update(database, name, gather(context, database, store.settings()), store.settings())
        except CryptaiError as error:
            return dg.SkipReason(f"could not read, so nothing is concluded: {error}")
        return dg.SkipReason(told)

    return watch


def _update(database: Database, kind: str, causes: Sequence[Cause], settings: Settings) -> str:
    """Bring the alerts of one kind up to date with `causes`; what that was, in words."""
    now_ms = SystemClock().now_ms()
    receivers = [receiver.name for receiver in read_receivers(settings.alert_urls)]
    with database.transaction() as cursor:
        changes = reconcile(alert_store.firing_fingerprints(cursor, kind), causes)
        alert_store.fire(cursor, [cause._asdict() for cause in changes.new], receivers, now_ms)
        alert_store.keep_firing(cursor, [cause._asdict() for cause in changes.still], now_ms)
        alert_store.recover(cursor, changes.recovered, now_ms)
    return f"{len(changes.new)} new, {len(changes.still)} still firing, {len(changes.recovered)} recovered"


def _stale(_: dg.SensorEvaluationContext, database: Database, settings: Settings) -> Sequence[Cause]:
    bars = health.last_bars(database, settings.exchange, settings.series)
    syncs = health.failed_syncs(database, settings.series)
    failing = {sync.series for sync in syncs if sync.source == settings.exchange}
    now_ms, grace_ms = SystemClock().now_ms(), round(settings.grace_seconds * 1000)
    return stale_causes(bars, now_ms, grace_ms, settings.ui_url, failing)


def _syncs(_: dg.SensorEvaluationContext, database: Database, settings: Settings) -> Sequence[Cause]:
    close_expired(database)
    return sync_causes(health.failed_syncs(database, settings.series), settings.ui_url)


def _checks(context: dg.SensorEvaluationContext, database: Database, settings: Settings) -> Sequence[Cause]:
    before: dict[str, CheckState] = json.loads(context.cursor) if context.cursor else {}
    keys = context.repository_def.asset_graph.asset_check_keys  # type: ignore[union-attr]
    checks = read_checks(context.instance, sorted(key for key in keys if not is_review(key)), before)
    context.update_cursor(json.dumps(checks))
    runs = {one["run"] for state in checks.values() for one in state["open"].values()}
    failed = {(run_id, str(series)) for run_id, series in health.failed_in_runs(database, sorted(runs))}
    return check_causes(checks, failed, settings.ui_url)


def _files(_: dg.SensorEvaluationContext, database: Database, settings: Settings) -> Sequence[Cause]:
    return file_causes(health.doubted_files(database), settings.ui_url)


def _runs(context: dg.SensorEvaluationContext, database: Database, settings: Settings) -> Sequence[Cause]:
    failing = {error_class(sync.error) for sync in health.failed_syncs(database, settings.series)}
    alerted = [job.name for job in ALL_JOBS if job is not TRIAL_JOB]
    return run_causes(context.instance, alerted, settings.ui_url, failing, unalerted=(TRIAL_JOB.name, "strategy_trial"))


@dg.sensor(
    name="alert_delivery",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    job=CHAIN_JOB,
    description="Sends what the alerts say to the receivers of CRYPTAI_ALERT_URLS, and tries again where one failed.",
)
def alert_delivery(_context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SkipReason:
    """Nothing is lost where this fails: what a receiver did not take stays in the outbox."""
    from cryptai_pipelines.orchestration.alerts.delivery import deliver

    settings = store.settings()
    receivers = read_receivers(settings.alert_urls)
    if not receivers:
        return dg.SkipReason(
            "CRYPTAI_ALERT_URLS is empty: alerts are kept, and `cryptai alerts` lists them, but nobody is told"
        )
    try:
        with store.open() as database:
            done = deliver(database, receivers, settings.alerts_per_hour, SystemClock().now_ms())
    except CryptaiError as error:
        return dg.SkipReason(f"could not read: {error}")
    told = [f"{one.receiver}: {one.sent} sent{f', then: {one.error}' if one.error else ''}" for one in done]
    return dg.SkipReason("; ".join(told) or "another process is delivering")


@dg.sensor(
    name="backup_after_catch_up",
    minimum_interval_seconds=_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    job=BACKUP_JOB,
    description="Starts the daily backup when the daily catch-up has ended, well or not, and at 06:00 UTC at the latest.",
)
def backup_after_catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One backup a day: the run key is the day."""
    return backup_request(context.instance, dt.datetime.now(dt.UTC))


def backup_request(instance: dg.DagsterInstance, now: dt.datetime) -> dg.RunRequest | dg.SkipReason:
    """What the sensor asks for at `now` (UTC)."""
    key = f"backup@{now.date().isoformat()}"
    if instance.get_runs(filters=dg.RunsFilter(job_name=BACKUP_JOB.name, tags={"dagster/run_key": key}), limit=1):
        return dg.SkipReason(f"the backup of {now.date().isoformat()} was asked for")
    tags = {CATCH_UP_TAG: now.date().isoformat()}
    caught_up = instance.get_runs(filters=dg.RunsFilter(job_name=CHAIN_JOB.name, tags=tags), limit=10)
    if any(run.status in _ENDED for run in caught_up):
        return dg.RunRequest(run_key=key)
    if now.time() >= _BACKUP_AT_LATEST:
        return dg.RunRequest(run_key=key)
    return dg.SkipReason("the catch-up is under way" if caught_up else "the daily catch-up has not begun")


@dg.sensor(
    name="review_new_results",
    minimum_interval_seconds=_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    job=REVIEW_JOB,
    description="Shows what the reviews of the scheduled backtests say whenever one of them has changed.",
)
def review_new_results(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.RunRequest | dg.SkipReason:
    """Reviews are made with each new report: with a day or a trade that is closed, not with every bar."""
    from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial
    from cryptai_pipelines.storage.backtests import reviews_digest

    try:
        with store.open() as database:
            settings = store.settings()
            digest = reviews_digest(database, scheduled_trial(settings).strategy.name, settings.series)
    except CryptaiError as error:
        return dg.SkipReason(f"could not read: {error}")
    if digest in (None, context.cursor):
        return dg.SkipReason("no review has changed" if digest else "no scheduled backtest was reviewed yet")
    context.update_cursor(digest)
    # Without a run key: reviews that are what they were before a change in between are shown again.
    return dg.RunRequest()


ALL_SENSORS = [
    _watch(
        "stale_series",
        "Series whose newest bar closed more than 1.5 timeframes ago, by their bars and not by when something ran.",
        _stale,
    ),
    _watch("failed_sync", "Series whose latest sync failed or came in parts.", _syncs),
    _watch("failed_check", "Asset checks that failed, each finding until its own timeframe was looked at again.", _checks),
    _watch("restated_file", "Files of archives that do not fit their checksum, or changed after they were loaded.", _files),
    _watch("failed_run", "Jobs whose latest run failed.", _runs),
    alert_delivery,
    backup_after_catch_up,
    review_new_results,
]
