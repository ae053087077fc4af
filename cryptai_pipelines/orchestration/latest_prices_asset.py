"""The asset `latest_prices`: the last price of every active symbol, in as few calls as the venue allows."""

import dagster as dg

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.metadata import price_schema
from cryptai_pipelines.orchestration.resources import StoreResource, VenueResource

_PRICED = "configured_symbols_have_a_price"


@dg.asset(
    deps=["symbols"],
    group_name="market_data",
    owners=list(OWNERS),
    kinds={"python", "postgres", "ccxt"},
    code_version="1",
    freshness_policy=freshness_policy("latest_prices"),
    metadata={"dagster/table_name": "latest_prices", "dagster/column_schema": price_schema()},
    check_specs=[
        dg.AssetCheckSpec(_PRICED, asset="latest_prices", description="The venue gives a price for every configured symbol.")
    ],
)
def latest_prices(store: StoreResource, venue: VenueResource) -> dg.MaterializeResult:
    """What every active symbol last traded at. One row per symbol, renewed; bars are in `market_data`."""
    from cryptai_pipelines.storage.latest_prices import upsert_prices

    with store.open() as database:
        prices = venue.open(database).last_prices()
        with database.transaction() as cursor:
            written = upsert_prices(cursor, prices)
    priced = {price.symbol: price.price for price in prices}
    configured = venue.settings().symbols
    missing = [symbol for symbol in configured if symbol not in priced]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(prices),
            "rows_written": written,
            "fetched_at": format_time(max((price.fetched_at_ms for price in prices), default=0)),
            "prices": dg.MetadataValue.json({symbol: priced[symbol] for symbol in configured if symbol in priced}),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=_PRICED,
                passed=not missing,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={"without_a_price": dg.MetadataValue.json(missing)},
            )
        ],
    )
