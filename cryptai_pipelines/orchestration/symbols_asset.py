"""The asset `symbols`: what the venues list, and the symbols of the grid."""

import hashlib
from collections.abc import Sequence

import dagster as dg

from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.metadata import listing_schema
from cryptai_pipelines.orchestration.partitions import SYMBOLS, add_symbols
from cryptai_pipelines.orchestration.resources import StoreResource, VenueResource

_LISTED, _KEPT, _OTHERS = "configured_symbols_are_listed", "kept_symbols_are_listed", "other_venues_are_listed"


@dg.asset(
    group_name="market_data",
    owners=list(OWNERS),
    kinds={"python", "postgres", "ccxt"},
    code_version="2",
    freshness_policy=freshness_policy("symbols"),
    metadata={"dagster/table_name": "symbols", "dagster/column_schema": listing_schema()},
    check_specs=[
        dg.AssetCheckSpec(_LISTED, asset="symbols", description="The venue lists every configured symbol."),
        dg.AssetCheckSpec(_KEPT, asset="symbols", description="Every symbol of the grid is still listed under its name."),
        dg.AssetCheckSpec(_OTHERS, asset="symbols", description="The secondary venues told what they list, too."),
    ],
)
def symbols(context: dg.AssetExecutionContext, store: StoreResource, venue: VenueResource) -> dg.MaterializeResult:
    """Every symbol that the venues list, with tick, lot and status. Configured ones join the grid; none ever leaves it: one
    that is delisted or renamed is flagged, and its history stays."""
    from cryptai_pipelines.orchestration.listings import store_listing, store_other_listings
    from cryptai_pipelines.storage.symbols import read_missing

    with store.open() as database:
        primary = venue.open(database)
        stored = store_listing(database, primary)
        others = store_other_listings(database, venue.open_secondaries(database))
        missing = read_missing(database, primary.name)
    listed = {listing.symbol for listing in stored.listings}
    configured = venue.settings().symbols
    added = add_symbols(context.instance, [symbol for symbol in configured if symbol in listed])
    grid = context.instance.get_dynamic_partitions(SYMBOLS.name)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(_fingerprint(stored.listings)),
        metadata={
            "dagster/row_count": len(stored.listings),
            "rows_written": stored.change.rows,
            "added_to_grid": dg.MetadataValue.json(added),
            "no_longer_listed": dg.MetadataValue.json(stored.comings.missing[:100]),
            "listed_again": dg.MetadataValue.json(stored.comings.returned[:100]),
            "renamed": dg.MetadataValue.json(stored.comings.renamed),
            "other_venues": dg.MetadataValue.json({name: count for name, count, _ in others}),
            "simulated": any(listing.simulated for listing in stored.listings),
        },
        check_results=[
            _check(_LISTED, [symbol for symbol in configured if symbol not in listed], dg.AssetCheckSeverity.ERROR),
            _check(_KEPT, {symbol: missing[symbol] for symbol in grid if symbol in missing}, dg.AssetCheckSeverity.WARN),
            _check(_OTHERS, {name: error for name, _, error in others if error}, dg.AssetCheckSeverity.WARN),
        ],
    )


def _check(name: str, findings: list[str] | dict[str, str | None], severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=not findings, severity=severity, metadata={"findings": dg.MetadataValue.json(findings)}
    )


def _fingerprint(listings: Sequence[Listing]) -> str:
    told = "\n".join(sorted(repr(listing) for listing in listings))
    return hashlib.sha256(told.encode()).hexdigest()[:16]
