"""The asset `symbols`: what the venue lists, and the symbols of the grid."""

import hashlib
from collections.abc import Sequence

import dagster as dg

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.metadata import listing_schema
from cryptai_pipelines.orchestration.partitions import add_symbols
from cryptai_pipelines.orchestration.resources import StoreResource, VenueResource


@dg.asset(
    group_name="market_data",
    owners=list(OWNERS),
    kinds={"python", "postgres", "ccxt"},
    code_version="1",
    freshness_policy=freshness_policy("symbols"),
    metadata={"dagster/table_name": "symbols", "dagster/column_schema": listing_schema()},
    check_specs=[
        dg.AssetCheckSpec(
            "configured_symbols_are_listed", asset="symbols", description="The venue lists every configured symbol."
        )
    ],
)
def symbols(context: dg.AssetExecutionContext, store: StoreResource, venue: VenueResource) -> dg.MaterializeResult:
    """Every symbol that the venue lists, with tick, lot and status. Configured ones join the grid; none ever leaves it."""
    from cryptai_pipelines.orchestration.listings import store_listing

    with store.open() as database:
        listings, change = store_listing(database, venue.open())
    listed = {listing.symbol: listing for listing in listings}
    configured = venue.settings().symbols
    added = add_symbols(context.instance, [symbol for symbol in configured if symbol in listed])
    missing = [symbol for symbol in configured if symbol not in listed]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(_fingerprint(listings)),
        metadata={
            "dagster/row_count": len(listings),
            "rows_written": change.rows,
            "added_to_grid": dg.MetadataValue.json(added),
            "simulated": any(listing.simulated for listing in listings),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="configured_symbols_are_listed",
                passed=not missing,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={"not_listed": dg.MetadataValue.json(missing)},
            )
        ],
    )


def _fingerprint(listings: Sequence[Listing]) -> str:
    told = "\n".join(sorted(repr(listing) for listing in listings))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
