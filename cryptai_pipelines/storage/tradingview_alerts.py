"""`tradingview_alerts`: what TradingView's alerts have sent, each once, exactly as it came and, where it is JSON, readable.
What a body means is read in `web`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2 import Binary
from psycopg2.extras import Json

from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.times import to_datetime

REPEAT_MS = 60_000
"""An alert that names no time is taken for a repetition of an equal one that came at most so long before."""


@dataclass(frozen=True)
class TradingViewAlert:
    """One alert. `body` is what was sent; `payload` is its JSON value, `has_payload` false where it is none that can be stored.
    `dedup_key` is the same for a repetition; `names_time` says whether it stands for one moment or for a text that may come
    again. Times are epoch milliseconds."""

    dedup_key: str
    names_time: bool
    received_at_ms: int
    body: bytes
    payload: Any = None
    has_payload: bool = False
    ticker: str | None = None
    exchange: str | None = None
    interval: str | None = None
    rule: str | None = None
    fired_at_ms: int | None = None


_INSERT = (
    "SET LOCAL statement_timeout = %(patience_ms)s; INSERT INTO tradingview_alerts (dedup_key, received_at, fired_at, ticker,"
    " exchange, interval, rule, payload, body) SELECT %(key)s, %(received)s, %(fired)s, %(ticker)s, %(exchange)s, %(interval)s,"
    " %(rule)s, %(payload)s::jsonb, %(body)s WHERE NOT EXISTS (SELECT FROM tradingview_alerts WHERE dedup_key = %(before)s"
    " AND received_at > %(since)s) ON CONFLICT (dedup_key) DO NOTHING RETURNING id"
)


def record_alert(db: Database, alert: TradingViewAlert, patience_ms: int) -> bool:
    """Store an alert, giving up after `patience_ms`; False when it repeats one that is stored. `psycopg2.DataError` for a
    payload that Postgres does not take as JSON."""
    key, before = _keys(alert)
    parameters = {
        "patience_ms": patience_ms,
        "key": key,
        "before": before,
        "since": to_datetime(alert.received_at_ms - REPEAT_MS),
        "received": to_datetime(alert.received_at_ms),
        "fired": to_datetime(alert.fired_at_ms),
        "ticker": alert.ticker,
        "exchange": alert.exchange,
        "interval": alert.interval,
        "rule": alert.rule,
        "payload": Json(alert.payload) if alert.has_payload else None,
        "body": Binary(alert.body),
    }
    with db.transaction() as cursor:
        cursor.execute(_INSERT, parameters)
        return cursor.fetchone() is not None


def _keys(alert: TradingViewAlert) -> tuple[str, str]:
    """The key of an alert and that of an equal one a moment earlier. Keys of alerts without a time hold the minute they came
    in; the unique key settles a race within it, the look at the minute before a repetition across its end."""
    if alert.names_time:
        return alert.dedup_key, alert.dedup_key
    minute = alert.received_at_ms // REPEAT_MS
    return f"{alert.dedup_key}:{minute}", f"{alert.dedup_key}:{minute - 1}"


def read_alerts(db: Database, limit: int = 100) -> list[Mapping[str, Any]]:
    """The latest alerts, newest first, one mapping per row; `body` is bytes."""
    names = ("id", "received_at", "fired_at", "ticker", "exchange", "interval", "rule", "payload", "body")
    rows = db.rows(f"SELECT {', '.join(names)} FROM tradingview_alerts ORDER BY id DESC LIMIT %s", (limit,))
    return [{**dict(zip(names, row, strict=True)), "body": bytes(row[-1])} for row in rows]
