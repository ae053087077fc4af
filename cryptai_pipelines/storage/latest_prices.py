"""`latest_prices`: the last price of every symbol at every venue, one row each. Bars are in `market_data`."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg2.extras import Json

from cryptai_pipelines.market.page import Price
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import iso, to_ms

_UPSERT = (
    "INSERT INTO latest_prices AS p (venue, symbol, price, traded_at, fetched_at) SELECT venue, symbol, price, traded_at,"
    " fetched_at FROM jsonb_to_recordset(%s) AS given (venue text, symbol text, price float8, traded_at timestamptz,"
    " fetched_at timestamptz) ORDER BY venue, symbol ON CONFLICT (venue, symbol) DO UPDATE SET price = excluded.price,"
    " traded_at = excluded.traded_at, fetched_at = excluded.fetched_at WHERE p.fetched_at <= excluded.fetched_at"
)


def upsert_prices(cursor: Cursor, prices: Sequence[Price]) -> int:
    """Keep the latest price of each symbol; how many rows were written. Of two with one key the last counts; an older price
    than the stored one is left out."""
    latest = {(price.venue, price.symbol): price for price in prices}
    if not latest:
        return 0
    cursor.execute(_UPSERT, (Json([_record(price) for price in latest.values()]),))
    return cursor.rowcount


def read_prices(db: Database, venue: str | None = None) -> list[Price]:
    """The latest prices of one venue or of all, by venue and symbol."""
    rows = db.rows(
        "SELECT venue, symbol, price, traded_at, fetched_at FROM latest_prices WHERE venue = coalesce(%s, venue)"
        " ORDER BY venue, symbol",
        (venue,),
    )
    return [Price(*row[:3], to_ms(row[3]), to_ms(row[4])) for row in rows]  # type: ignore[arg-type]


def _record(price: Price) -> dict[str, object]:
    return {
        "venue": price.venue,
        "symbol": price.symbol,
        "price": price.price,
        "traded_at": None if price.traded_at_ms is None else iso(price.traded_at_ms),
        "fetched_at": iso(price.fetched_at_ms),
    }
