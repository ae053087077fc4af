"""When things run, all in UTC. A tick is one run over all configured series, in which those that nothing is due of are passed
over: what coverage lacks decides the work and not the hour, so that after an outage the next tick catches up on everything."""

import dagster as dg

from cryptai_pipelines.market.timeframe import TIMEFRAMES, parse_timeframe
from cryptai_pipelines.orchestration.jobs import CHAIN_JOB, SYMBOLS_JOB
from cryptai_pipelines.orchestration.partitions import SYMBOLS, rectangle_tags
from cryptai_pipelines.orchestration.resources import VenueResource

SCHEDULED_TAG = "cryptai/scheduled"


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
    kept = {parse_timeframe(code) for code in venue.settings().timeframes}
    timeframes = [timeframe for timeframe in TIMEFRAMES if timeframe in kept]
    if not timeframes:
        return dg.SkipReason("no timeframes are configured: CRYPTAI_TIMEFRAMES is empty")
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
