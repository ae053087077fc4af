"""The per-series assets as Dagster sees them. All of them are made by one step, series by series, because Dagster skips or
abandons the rest of a run for *every* series as soon as a step fails for one: here a bad series stops where it failed, is not
logged as materialized, is named by a check, and its siblings reach the end of the chain in the same run. What is done for a
series stands in `chain`, what is said about an asset in `catalog`."""

from collections.abc import Iterator, Sequence

import dagster as dg

from cryptai_pipelines.market.clock import parse_window
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import CHAIN, OWNERS, Entry, lineage_version
from cryptai_pipelines.orchestration.chain.outcome import Outcome
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.check_results import CHECKS, SYNCED, evaluate, synced_result
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.metadata import outcome_metadata, table_schema
from cryptai_pipelines.orchestration.partitions import GRID, ONE_RUN, series_of
from cryptai_pipelines.orchestration.prefix_results import PREFIX_SPECS, prefix_result, wrong_lately
from cryptai_pipelines.orchestration.resources import ProgressResource, StoreResource, VenueResource
from cryptai_pipelines.orchestration.schedules import CATCH_UP_TAG, SCHEDULED_TAG
from cryptai_pipelines.orchestration.versions import Versions, symbols_version
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.database import Database


class Window(dg.Config):
    """What a run fetches beyond what coverage lacks. Empty: bring the series up to date."""

    start: str = ""
    end: str = ""

    def interval(self) -> Interval | None:
        """The window in epoch milliseconds, or None."""
        return parse_window(self.start or None, self.end or None)


def _spec(entry: Entry) -> dg.AssetSpec:
    return dg.AssetSpec(
        entry.name,
        deps=list(entry.deps),
        description=entry.description,
        group_name=entry.group,
        owners=list(OWNERS),
        kinds=set(entry.kinds),
        code_version=lineage_version(entry.name),
        freshness_policy=freshness_policy(entry.name),
        skippable=True,
        metadata={"dagster/table_name": entry.table, "dagster/column_schema": table_schema(entry.table)},
    )


@dg.multi_asset(
    name="series_chain",
    specs=[_spec(entry) for entry in CHAIN],
    check_specs=[*(check.spec for check in CHECKS), *PREFIX_SPECS],
    partitions_def=GRID,
    backfill_policy=ONE_RUN,
    can_subset=True,
    pool="series_chain",
)
def series_chain(
    context: dg.AssetExecutionContext,
    config: Window,
    store: StoreResource,
    venue: VenueResource,
    progress: ProgressResource,
) -> Iterator[dg.AssetCheckResult]:
    """Bring the chosen assets of the chosen series up to date."""
    from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding, planned
    from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial
    from cryptai_pipelines.orchestration.store import open_archive

    names = {entry.name for entry in CHAIN if dg.AssetKey(entry.name) in context.selected_asset_keys}
    scheduled = SCHEDULED_TAG in context.run.tags
    only_due = scheduled and CATCH_UP_TAG not in context.run.tags
    series = _kept_series(context, venue) if scheduled else series_of(context.partition_keys)
    with store.open() as database:
        source, settings, run_id = venue.open(database), store.settings(), context.run.run_id
        _know_listing(context, database, source, series)
        archive = open_archive(settings, database)
        steps = chain_steps(
            database,
            source,
            settings,
            run_id,
            config.interval(),
            progress.callback(),
            only_due=only_due,
            archive=archive,
            judge_ahead="validated_bars" in names,
        )
        wanted = [step for step in steps if step.asset in names]
        results = []
        listing = symbols_version(context.instance)
        hold = holding(database, source.name, settings, run_id)
        fetched = () if only_due or steps[0] not in wanted else series
        with planned(database, source.name, fetched, settings, run_id):
            for result in walk(series, wanted, hold, settings.fetch_threads):
                _log(context, result, Versions(database, result, listing), scheduled)
                results.append(result)
        strategy = scheduled_trial(settings).strategy.name
        for check in CHECKS:
            if check.spec.key in context.selected_asset_check_keys:
                yield synced_result(results) if check is SYNCED else evaluate(check, database, results, strategy)
        for spec in PREFIX_SPECS:
            if spec.key in context.selected_asset_check_keys:
                yield prefix_result(spec, database, settings, results, wrong_lately(context.instance, spec))
    _raise_for_failures(results)


def _know_listing(context: dg.AssetExecutionContext, database: Database, venue: BarSource, series: Sequence[Series]) -> None:
    """Know what market the bars are of before the first of them is stored: the asset `symbols` may not be made for hours.
    Without the listing, series are brought up to date all the same, and each meets the venue's refusal by itself."""
    from cryptai_pipelines.orchestration.listings import know_listing

    try:
        know_listing(database, venue, {one.symbol for one in series})
    except (CryptaiError, SourceError) as error:
        context.log.warning(f"the listing of {venue.name} is not known: {error}")


def _kept_series(context: dg.AssetExecutionContext, venue: VenueResource) -> Sequence[Series]:
    """The configured series of a scheduled rectangle, which may cover symbols and timeframes that nobody asks for any more."""
    configured = set(venue.settings().series)
    return [one for one in series_of(context.partition_keys) if one in configured]


def _log(context: dg.AssetExecutionContext, result: SeriesResult, versions: Versions, scheduled: bool) -> None:
    """A materialization means "brought up to date". One that a tick passed over, with nothing due and nothing stale, is not
    logged again every hour."""
    passed_over = scheduled and not any(outcome.written or outcome.facts.get("due") for outcome in result.outcomes)
    for outcome in () if passed_over else result.outcomes:
        # A picture is stored in the event log: with every bar of every series it would be most of Dagster's database.
        pictured = not scheduled or bool(outcome.facts.get("report_is_new"))
        context.log_event(_materialization(outcome, versions, pictured))
    if result.error:
        context.log.error(f"{result.series} failed at {result.failed_at}: {result.error}")


def _materialization(outcome: Outcome, versions: Versions, pictured: bool) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        outcome.asset,
        partition=dg.MultiPartitionKey({"symbol": outcome.series.symbol, "timeframe": outcome.series.timeframe.code}),
        metadata=outcome_metadata(outcome, pictured),
        tags=versions.tags(outcome.asset),
    )


def _raise_for_failures(results: Sequence[SeriesResult]) -> None:
    failed = [result for result in results if result.error]
    if failed:
        raise dg.Failure(
            f"{len(failed)} of {len(results)} series failed: "
            + "; ".join(f"{result.series} at {result.failed_at}: {result.error}" for result in failed[:5]),
            metadata={"failed": dg.MetadataValue.json([result.series.key for result in failed])},
            allow_retries=False,
        )
