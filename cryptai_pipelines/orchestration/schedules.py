"""When things run, all in UTC, each tick one run. What a tick of the bars asks for is decided in `ticks`; every other schedule
is a row of a table.

The ticks of the bars ask for what has closed since they last asked, and the runs fetch what coverage lacks, so that after any
outage the next tick catches up.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import dagster as dg

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe, parse_timeframe
from cryptai_pipelines.orchestration.jobs import CHAIN_JOB, PRICES_JOB, QUALITY_JOB, SYMBOLS_JOB
from cryptai_pipelines.orchestration.maintenance import MAINTENANCE_JOB
from cryptai_pipelines.orchestration.partitions import SYMBOLS, rectangle_tags
from cryptai_pipelines.orchestration.resources import StoreResource, VenueResource
from cryptai_pipelines.orchestration.ticks import Asked, asked_with, due_timeframes
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.times import to_ms

SCHEDULED_TAG = "cryptai/scheduled"
# Its value is the day. With this tag nothing is passed over because no bar of it has closed: every range is looked at again.
CATCH_UP_TAG = "cryptai/catch_up"
TICK_TAG = "cryptai/tick_ms"
LONGEST_TAG = "cryptai/longest_timeframe"

_WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_FAILED = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class Row(NamedTuple):
    """A schedule: its name, its cron line (UTC), what it runs, and what for. `whole_grid`: over all symbols x the configured
    timeframes, as one rectangle of the grid."""

    name: str
    cron: str
    job: Any
    description: str
    whole_grid: bool = False


ROWS: tuple[Row, ...] = (
    Row("daily_symbols", "20 0 * * *", SYMBOLS_JOB, "Reads the venue's listing and adds newly configured symbols to the grid."),
    Row("latest_prices", "*/30 * * * *", PRICES_JOB, "Reads the last price of every active symbol."),
    Row(
        "daily_catch_up",
        "30 2 * * *",
        CHAIN_JOB,
        "Looks at every configured series again, whether a bar of it is due or not; a backup follows when it has ended.",
        whole_grid=True,
    ),
    Row(
        "weekly_gaps",
        "0 3 * * 0",
        QUALITY_JOB,
        "Asks every source for what is missing, fills what nobody has, assesses all series and reconciles their sources.",
    ),
    Row(
        "weekly_maintenance",
        "0 4 * * 0",
        MAINTENANCE_JOB,
        "Takes old events and runs that nothing depends on out of Dagster's records, and old recovered alerts out of ours.",
    ),
)


@dg.schedule(
    name="bars_at_close",
    cron_schedule="1-56/5 * * * *",
    job=CHAIN_JOB,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Just after bars close, one run over all symbols x the timeframes that are due; none when nothing is.",
)
def bars_at_close(
    context: dg.ScheduleEvaluationContext, venue: VenueResource, store: StoreResource
) -> dg.RunRequest | dg.SkipReason:
    settings = venue.settings()
    symbols, timeframes, reason = _grid(context.instance, settings)
    if reason:
        return dg.SkipReason(reason)
    tick_ms = to_ms(context.scheduled_execution_time.astimezone(dt.UTC))
    grace_ms = round(settings.grace_seconds * 1000)
    try:
        lacking = _lacking(store, settings)
    except CryptaiError as error:
        return dg.SkipReason(f"could not read what is lacking, the next tick makes up for this one: {error}")
    due = due_timeframes(timeframes, tick_ms, grace_ms, _asked(context.instance, timeframes), lacking)
    if not due:
        return dg.SkipReason(f"no bar of {' '.join(timeframe.code for timeframe in timeframes)} has closed since the last tick")
    if _waits(context.instance, due[-1]):
        return dg.SkipReason(
            f"the run of an earlier tick for {due[-1].code} still waits in the queue; it will do this one's work"
        )
    tags = {**rectangle_tags(symbols, due), SCHEDULED_TAG: "true", TICK_TAG: str(tick_ms), LONGEST_TAG: due[-1].code}
    return dg.RunRequest(run_key=_run_key(context, "bars_at_close"), tags=tags)


def build_schedule(row: Row) -> dg.ScheduleDefinition:
    """The schedule of a row."""

    @dg.schedule(
        name=row.name,
        cron_schedule=row.cron,
        job=row.job,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=row.description,
    )
    def scheduled(context: dg.ScheduleEvaluationContext, venue: VenueResource) -> dg.RunRequest | dg.SkipReason:
        key = _run_key(context, row.name)
        if not row.whole_grid:
            return dg.RunRequest(run_key=key)
        symbols, timeframes, reason = _grid(context.instance, venue.settings())
        if reason:
            return dg.SkipReason(reason)
        tags = {**rectangle_tags(symbols, timeframes), SCHEDULED_TAG: "true", CATCH_UP_TAG: key.partition("@")[2][:10]}
        return dg.RunRequest(run_key=key, tags=tags)

    return scheduled


def _run_key(context: dg.ScheduleEvaluationContext, name: str) -> str:
    return f"{name}@{context.scheduled_execution_time.astimezone(dt.UTC).isoformat()}"


def _grid(instance: dg.DagsterInstance, settings: Settings) -> tuple[Sequence[str], list[Timeframe], str]:
    """The symbols of the grid and the configured timeframes, ascending, and why there is nothing to run over, if so."""
    symbols = instance.get_dynamic_partitions(SYMBOLS.name)
    kept = {parse_timeframe(code) for code in settings.timeframes}
    timeframes = [timeframe for timeframe in TIMEFRAMES if timeframe in kept]
    if not symbols:
        return symbols, timeframes, "the grid has no symbols yet: materialize the asset `symbols`"
    return symbols, timeframes, "" if timeframes else "no timeframes are configured: CRYPTAI_TIMEFRAMES is empty"


def _asked(instance: dg.DagsterInstance, timeframes: Sequence[Timeframe]) -> Mapping[Timeframe, Asked]:
    """The last tick that asked for each timeframe, from the tags of its run."""
    found = {}
    for timeframe in timeframes:
        tags = {LONGEST_TAG: [longer.code for longer in asked_with(timeframe)]}
        runs = instance.get_runs(filters=dg.RunsFilter(job_name=CHAIN_JOB.name, tags=tags), limit=1)
        if runs:
            found[timeframe] = Asked(int(runs[0].tags[TICK_TAG]), runs[0].status in _FAILED)
    return found


def _waits(instance: dg.DagsterInstance, timeframe: Timeframe) -> bool:
    """Is a run that asks for `timeframe` queued and not started?"""
    tags = {LONGEST_TAG: [longer.code for longer in asked_with(timeframe)]}
    filters = dg.RunsFilter(job_name=CHAIN_JOB.name, tags=tags, statuses=_WAITING)
    return bool(instance.get_runs(filters=filters, limit=1))


def _lacking(store: StoreResource, settings: Settings) -> Collection[Timeframe]:
    """Timeframes with a configured series that has no coverage, or whose last sync did not complete."""
    from cryptai_pipelines.storage.health import lacking_series

    with store.open() as database:
        return {series.timeframe for series in lacking_series(database, settings.exchange, settings.series)}


ALL_SCHEDULES = [bars_at_close, *(build_schedule(row) for row in ROWS)]
