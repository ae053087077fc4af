"""The assets `data_quality` and `reconciliation`: gaps classed and closed, what is known of all stored series on one page, and
what their sources say against each other. What is done stands in `chain.mend` and `chain.reconcile`."""

import dagster as dg

from cryptai_pipelines.market.clock import SystemClock
from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.metadata import table_schema
from cryptai_pipelines.orchestration.quality_results import (
    AGREE,
    BELIEVED,
    COMPLETE,
    MENDED,
    RECONCILED,
    last_alerts,
    mend_checks,
    mend_metadata,
    reconciliation_checks,
    reconciliation_page,
)
from cryptai_pipelines.orchestration.resources import ProgressResource, StoreResource, VenueResource


class Mending(dg.Config):
    """`ask_again`: ask sources for gaps that they were asked for within the last six days, too."""

    ask_again: bool = False


@dg.asset(
    deps=["validated_bars"],
    group_name="market_data",
    owners=list(OWNERS),
    kinds={"python", "postgres", "matplotlib"},
    code_version="1",
    pool="series_chain",
    freshness_policy=freshness_policy("data_quality"),
    metadata={"dagster/table_name": "data_quality", "dagster/column_schema": table_schema("data_quality")},
    check_specs=[
        dg.AssetCheckSpec(MENDED, asset="data_quality", description="Every stored series was gone through to its end."),
        dg.AssetCheckSpec(
            COMPLETE,
            asset="data_quality",
            description="At least 99 % of the bars that could be received are there: outages and unlisted time do not count.",
        ),
        dg.AssetCheckSpec(BELIEVED, asset="data_quality", description="No rule finds an error in the bars of any series."),
    ],
)
def data_quality(
    context: dg.AssetExecutionContext,
    config: Mending,
    store: StoreResource,
    venue: VenueResource,
    progress: ProgressResource,
) -> dg.MaterializeResult:
    """Gaps are classed, every source is asked for them, what nobody has is filled by `CRYPTAI_FILL`, and everything is assessed
    on one page for all stored series: completeness, a heat map of symbol by month, findings by rule."""
    from cryptai_pipelines.orchestration.chain.mend import mend
    from cryptai_pipelines.orchestration.chain.quality_page import render_page
    from cryptai_pipelines.orchestration.store import open_archive, open_doors
    from cryptai_pipelines.storage.coverage import covered_series

    with store.open() as database:
        settings = store.settings()
        found = mend(
            database,
            settings,
            open_doors(settings, database, venue.open(database)),
            covered_series(database),
            SystemClock().now_ms(),
            context.run.run_id,
            progress.callback(),
            archive=open_archive(settings, database),
            ask_again=config.ask_again,
        )
        page = render_page(found.assessment, last_alerts(database)) if found.assessment else None
    return dg.MaterializeResult(metadata=mend_metadata(found, page), check_results=mend_checks(found))


@dg.asset(
    deps=["raw_ohlcv", "data_quality"],
    group_name="market_data",
    owners=list(OWNERS),
    kinds={"python", "postgres"},
    code_version="1",
    freshness_policy=freshness_policy("reconciliation"),
    metadata={"dagster/table_name": "reconciliations", "dagster/column_schema": table_schema("reconciliations")},
    check_specs=[
        dg.AssetCheckSpec(RECONCILED, asset="reconciliation", description="Every series with several sources was compared."),
        dg.AssetCheckSpec(
            AGREE, asset="reconciliation", description="Of the bars that two sources share, at least 99 % agree, each month."
        ),
    ],
)
def reconciliation(store: StoreResource, progress: ProgressResource) -> dg.MaterializeResult:
    """What the sources of each series say of the same bars: REST, archive, other venues, files; by pair and month, with the
    bars that disagree and who is believed."""
    from cryptai_pipelines.market.errors import CryptaiError
    from cryptai_pipelines.orchestration.chain.reconcile import reconcile
    from cryptai_pipelines.storage.coverage import covered_series
    from cryptai_pipelines.storage.series_sources import read_sources

    months, written, failed = [], 0, []
    with store.open() as database:
        series = [one for one in covered_series(database) if len(read_sources(database, one)) > 1]
        for one in series:
            try:
                found = reconcile(database, one, on_progress=progress.callback())
            except CryptaiError as error:
                failed.append(f"{one}: {error}")
                continue
            months += found.months
            written += found.written
    return dg.MaterializeResult(
        metadata={
            "series": len(series),
            "months": len(months),
            "rows_written": written,
            "compared": sum(month.compared for month in months),
            "disagreeing": sum(month.disagreeing for month in months),
            "page": dg.MetadataValue.md(reconciliation_page(months)),
        },
        check_results=reconciliation_checks(months, failed),
    )
