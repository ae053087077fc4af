"""When things run, all in UTC. A tick is one run for every series due; what is missing decides the work, not the tick."""

from collections.abc import Sequence

import dagster as dg

from cryptai_pipelines.market.timeframe import Timeframe, due_timeframes, parse_timeframe
from cryptai_pipelines.orchestration.jobs import CHAIN_JOB, SYMBOLS_JOB
from cryptai_pipelines.orchestration.partitions import SYMBOLS, rectangle_tags
from cryptai_pipelines.orchestration.resources import VenueResource

SCHEDULED_TAG = "cryptai/scheduled"
_HOUR_MS = 3_600_000


def due(timeframes: Sequence[str], at_ms: int) -> list[Timeframe]:
    """Those of `timeframes` of which a bar closed at the full hour at or before `at_ms`, ascending."""
    hour = at_ms - at_ms % _HOUR_MS
    kept = {parse_timeframe(code) for code in timeframes}
    return [timeframe for timeframe in due_timeframes(hour) if timeframe in kept]


@dg.schedule(
    name="hourly",
    cron_schedule="1 * * * *",
    job=CHAIN_JOB,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Brings every series of which a bar has closed up to date, in one run.",
)
def hourly(context: dg.ScheduleEvaluationContext, venue: VenueResource) -> dg.RunRequest | dg.SkipReason:
    symbols = context.instance.get_dynamic_partitions(SYMBOLS.name)
    if not symbols:
        return dg.SkipReason("the grid has no symbols yet: materialize the asset `symbols`")
    timeframes = due(venue.settings().timeframes, int(context.scheduled_execution_time.timestamp() * 1000))
    if not timeframes:
        return dg.SkipReason(f"no bar of {', '.join(venue.settings().timeframes)} has closed at this hour")
    return dg.RunRequest(
        run_key=f"hourly@{context.scheduled_execution_time.isoformat()}",
        tags={**rectangle_tags(symbols, timeframes), SCHEDULED_TAG: "true"},
    )


daily_symbols = dg.ScheduleDefinition(
    name="daily_symbols",
    job=SYMBOLS_JOB,
    cron_schedule="20 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Reads the venue's listing and adds newly configured symbols to the grid.",
)

ALL_SCHEDULES = [hourly, daily_symbols]
