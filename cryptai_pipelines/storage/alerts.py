"""`alerts`, and the outbox beside them: what is wrong and since when, and which receiver has been told of it. What an alert
says and how it is sent is not known here.

A change of an alert and its place in the outbox are one transaction, so that nothing is forgotten; a message and what it
delivered are another one, after the receiver took it, so that what a crash interrupts is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from psycopg2.extras import Json, execute_values

from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.times import to_datetime, to_ms

_DELIVERY_LOCK = 4_702_111_234_003
_RECONCILE_LOCK = 4_702_111_234_004
_FIRST_PAUSE_S = 30
_LONGEST_PAUSE_S = 3_600


class Alert(NamedTuple):
    """One alert; times in epoch ms. It fires until `recovered_ms` is set."""

    id: int
    fingerprint: str
    cause: str
    group_key: str
    severity: str
    subject: str
    summary: str
    link: str | None
    details: Mapping[str, Any]
    since_ms: int
    fired_ms: int
    recovered_ms: int | None


class Pending(NamedTuple):
    """What a receiver has not been told yet: `events` of one alert, `firing`, `recovered` or both, and since when it waits."""

    alert: Alert
    events: tuple[str, ...]
    queued_ms: int


class Receiver(NamedTuple):
    """How a receiver does: failures in a row, when it is asked again, and its last error."""

    receiver: str
    failures: int
    next_attempt_ms: int | None
    last_error: str | None
    last_sent_ms: int | None
    pending: int


_COLUMNS = (
    "a.id, a.fingerprint, a.cause, a.group_key, a.severity, a.subject, a.summary, a.link, a.details, a.since, a.fired_at,"
    " a.recovered_at"
)


def firing_fingerprints(cursor: Cursor, kind: str) -> list[str]:
    """Fingerprints of the firing alerts of one kind of cause, which nobody else changes until the transaction ends."""
    cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (_RECONCILE_LOCK % 2**31, kind))
    cursor.execute("SELECT fingerprint FROM alerts WHERE cause = %s AND recovered_at IS NULL ORDER BY id", (kind,))
    return [fingerprint for (fingerprint,) in cursor.fetchall()]


def fire(cursor: Cursor, causes: Sequence[Mapping[str, Any]], receivers: Sequence[str], now_ms: int) -> None:
    """Start an alert for each of `causes` (keys: those of `Alert` up to `since_ms`, without `id`), to tell `receivers` of."""
    rows = [
        (*(cause[name] for name in ("fingerprint", "cause", "group_key", "severity", "subject", "summary", "link")),)
        + (Json(dict(cause["details"])), to_datetime(cause["since_ms"]), to_datetime(now_ms), to_datetime(now_ms))
        for cause in causes
    ]
    if not rows:
        return
    made = execute_values(
        cursor,
        "INSERT INTO alerts (fingerprint, cause, group_key, severity, subject, summary, link, details, since, fired_at,"
        " last_seen_at) VALUES %s ON CONFLICT (fingerprint) WHERE recovered_at IS NULL DO NOTHING RETURNING id",
        rows,
        fetch=True,
    )
    _queue(cursor, [number for (number,) in made], "firing", receivers, now_ms)


def keep_firing(cursor: Cursor, causes: Sequence[Mapping[str, Any]], now_ms: int) -> None:
    """Note what the causes of firing alerts say now."""
    rows = [
        (cause["fingerprint"], cause["severity"], cause["summary"], Json(dict(cause["details"])), to_datetime(now_ms))
        for cause in causes
    ]
    if rows:
        execute_values(
            cursor,
            "UPDATE alerts AS a SET severity = v.severity, summary = v.summary, details = v.details, last_seen_at = v.seen"
            " FROM (VALUES %s) AS v (fingerprint, severity, summary, details, seen)"
            " WHERE a.fingerprint = v.fingerprint AND a.recovered_at IS NULL",
            rows,
            template="(%s, %s, %s, %s::jsonb, %s::timestamptz)",
        )


def recover(cursor: Cursor, fingerprints: Sequence[str], now_ms: int) -> None:
    """End the firing alerts with these fingerprints, and tell it to whoever is told that they began."""
    cursor.execute(
        "WITH ended AS (UPDATE alerts SET recovered_at = %(now)s WHERE fingerprint = ANY(%(fingerprints)s)"
        " AND recovered_at IS NULL RETURNING id)"
        " INSERT INTO alert_deliveries (alert_id, event, receiver, queued_at) SELECT ended.id, 'recovered', d.receiver, %(now)s"
        " FROM ended JOIN alert_deliveries AS d ON d.alert_id = ended.id AND d.event = 'firing' ON CONFLICT DO NOTHING",
        {"now": to_datetime(now_ms), "fingerprints": list(fingerprints)},
    )


def _queue(cursor: Cursor, alerts: Sequence[int], event: str, receivers: Sequence[str], now_ms: int) -> None:
    cursor.execute(
        "INSERT INTO alert_deliveries (alert_id, event, receiver, queued_at)"
        " SELECT id, %s, receiver, %s FROM unnest(%s::bigint[]) AS id CROSS JOIN unnest(%s::text[]) AS receiver"
        " ON CONFLICT DO NOTHING",
        (event, to_datetime(now_ms), list(alerts), list(receivers)),
    )


@contextmanager
def delivering(db: Database) -> Iterator[bool]:
    """Whether this process is the one that delivers for the time of the block: there is at most one."""
    with db.session() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_DELIVERY_LOCK,))
        mine = bool(cursor.fetchone()[0])  # type: ignore[index]
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (_DELIVERY_LOCK,))


def queue_for_new(db: Database, receivers: Sequence[str], now_ms: int) -> None:
    """Queue every firing alert for those of `receivers` that were never told of it, such as one that was added today."""
    with db.transaction() as cursor:
        cursor.execute("SELECT id FROM alerts WHERE recovered_at IS NULL")
        _queue(cursor, [number for (number,) in cursor.fetchall()], "firing", receivers, now_ms)


def read_pending(db: Database, receiver: str) -> list[Pending]:
    """What `receiver` has not been told, the oldest first, the events of an alert together."""
    rows = db.rows(
        f"SELECT {_COLUMNS}, array_agg(d.event ORDER BY d.event), min(d.queued_at) FROM alert_deliveries AS d"
        " JOIN alerts AS a ON a.id = d.alert_id WHERE d.receiver = %s AND d.delivered_at IS NULL"
        " GROUP BY a.id ORDER BY min(d.queued_at), a.id",
        (receiver,),
    )
    return [Pending(_alert(row[:-2]), tuple(row[-2]), to_ms(row[-1])) for row in rows]  # type: ignore[arg-type]


def is_paused(db: Database, receiver: str, now_ms: int) -> bool:
    """Is the receiver left alone because it failed lately?"""
    rows = db.rows("SELECT FROM alert_receivers WHERE receiver = %s AND next_attempt_at > %s", (receiver, to_datetime(now_ms)))
    return bool(rows)


def sent_since(db: Database, receiver: str, since_ms: int) -> list[tuple[int, str, str]]:
    """The messages that a receiver took since then, the oldest first: when (epoch ms), of which group, of which event."""
    rows = db.rows(
        "SELECT sent_at, group_key, event FROM alert_messages WHERE receiver = %s AND sent_at > %s ORDER BY sent_at",
        (receiver, to_datetime(since_ms)),
    )
    return [(to_ms(at), group, event) for at, group, event in rows]  # type: ignore[misc]


def note_sent(
    db: Database, receiver: str, group_key: str, event: str, title: str, told: Sequence[Pending], now_ms: int
) -> None:
    """The receiver took a message that tells of `told`."""
    with db.transaction() as cursor:
        cursor.execute(
            "INSERT INTO alert_messages (receiver, group_key, event, title, sent_at) VALUES (%s, %s, %s, %s, %s) RETURNING id",
            (receiver, group_key, event, title, to_datetime(now_ms)),
        )
        message = cursor.fetchone()[0]  # type: ignore[index]
        execute_values(
            cursor,
            "UPDATE alert_deliveries AS d SET delivered_at = v.at, message_id = v.message"
            " FROM (VALUES %s) AS v (alert_id, event, receiver, at, message)"
            " WHERE d.alert_id = v.alert_id AND d.event = v.event AND d.receiver = v.receiver",
            [(one.alert.id, event, receiver, to_datetime(now_ms), message) for one in told for event in one.events],
            template="(%s, %s, %s, %s::timestamptz, %s)",
        )
        cursor.execute(
            "INSERT INTO alert_receivers AS r (receiver, last_sent_at) VALUES (%s, %s) ON CONFLICT (receiver) DO UPDATE SET"
            " failures = 0, next_attempt_at = NULL, last_error = NULL, last_sent_at = excluded.last_sent_at",
            (receiver, to_datetime(now_ms)),
        )


def note_failure(db: Database, receiver: str, error: str, now_ms: int) -> None:
    """The receiver did not take a message: it is left alone for 30 s, and twice as long after each further failure, up to an
    hour."""
    pause = f"least({_LONGEST_PAUSE_S}, {_FIRST_PAUSE_S} * 2.0 ^ least(20, %s)) * interval '1 second'"
    db.rows(
        "INSERT INTO alert_receivers AS r (receiver, failures, next_attempt_at, last_error)"
        f" VALUES (%s, 1, %s::timestamptz + {pause}, %s) ON CONFLICT (receiver) DO UPDATE SET failures = r.failures + 1,"
        f" next_attempt_at = %s::timestamptz + {pause.replace('%s', 'r.failures')}, last_error = excluded.last_error"
        " RETURNING failures",
        (receiver, to_datetime(now_ms), 0, error, to_datetime(now_ms)),
    )


def read_alerts(db: Database, limit: int = 50) -> list[Alert]:
    """The firing alerts, and then the recovered ones, the latest first, `limit` in all."""
    rows = db.rows(
        f"SELECT {_COLUMNS} FROM alerts AS a ORDER BY (a.recovered_at IS NULL) DESC, coalesce(a.recovered_at, a.fired_at) DESC,"
        " a.id DESC LIMIT %s",
        (limit,),
    )
    return [_alert(row) for row in rows]


def read_receivers(db: Database) -> list[Receiver]:
    """Every receiver that was ever written to or is still to be told something, by name."""
    rows = db.rows(
        "SELECT coalesce(r.receiver, p.receiver), coalesce(r.failures, 0), r.next_attempt_at, r.last_error, r.last_sent_at,"
        " coalesce(p.pending, 0) FROM alert_receivers AS r FULL JOIN (SELECT receiver, count(*) AS pending"
        " FROM alert_deliveries WHERE delivered_at IS NULL GROUP BY receiver) AS p USING (receiver) ORDER BY 1"
    )
    return [Receiver(name, failures, to_ms(at), error, to_ms(sent), count) for name, failures, at, error, sent, count in rows]


def delete_recovered(db: Database, days: int) -> int:
    """Delete alerts that recovered more than `days` ago, with their deliveries and messages; how many alerts."""
    with db.transaction() as cursor:
        cursor.execute("DELETE FROM alerts WHERE recovered_at < now() - %s * interval '1 day'", (days,))
        deleted = cursor.rowcount
        cursor.execute("DELETE FROM alert_messages WHERE sent_at < now() - %s * interval '1 day'", (days,))
        return deleted


def _alert(row: Sequence[Any]) -> Alert:
    *told, since, fired, recovered = row
    return Alert(*told, to_ms(since), to_ms(fired), to_ms(recovered))  # type: ignore[arg-type]
