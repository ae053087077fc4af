"""Who may write a series: one holder at a time, by a session lock, and a token that fences off a holder that was replaced.

A holder keeps a connection with a session advisory lock, which the server drops when the process dies. A holder that is only
paused keeps its lock, so an expired lease may be taken over: its connections are ended, and its token no longer fits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg2
import psycopg2.extensions

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.merge_rows import lock_key

# A server notices the death of a client within milliseconds; that long a holder's lock may outlive it.
_DEATH_NOTICED_S = 0.5
_ENDED_WITHIN_S = 10.0
_LOOK_AGAIN_S = 0.02
# A lease is given for that much longer than its length, so that it need not be extended with every transaction.
_EXTENDED_BY = 1.25


class SeriesBusy(CryptaiError):
    """Another live process holds the series."""


class LeaseLost(CryptaiError):
    """Another process took the series over; what this one was about to write must not be written."""


_ADVISORY = (
    "locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND ((classid::bigint << 32) | objid::bigint) = ANY(%s)"
)


@dataclass(frozen=True)
class SeriesLease:
    """The right to write one series of one source. `token` grows with every holder; `connection` keeps the session lock."""

    source: str
    series: Series
    token: int
    holder: str
    lease_s: float
    connection: psycopg2.extensions.connection = field(repr=False)


@contextmanager
def take_series(db: Database, source: str, series: Series, holder: str, lease_s: float) -> Iterator[SeriesLease]:
    """Hold the right to write `series` of `source` for the time of the block.

    The series of a dead holder is taken over at once, that of a silent one when its lease has run out; syncs of the former
    holder that are still RUNNING become FAILED. `SeriesBusy` names the series and the live holder.
    """
    with db.session() as connection:
        lease = _taken(connection, source, series, holder, lease_s)
        try:
            yield lease
        finally:
            _release(lease)


def check_lease(cursor: Cursor, lease: SeriesLease) -> None:
    """Prove, in the transaction that is about to write, that the series is still ours, and see to it that the lease goes on for
    at least its length from now.

    From here to its end no other process can take the series without ending this transaction. Several transactions of one
    holder may write at a time. `LeaseLost` when the series is not ours any more.
    """
    cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_write_key(lease.source, lease.series),))
    # A statement of its own, whose snapshot is taken after the lock: it sees the token of whoever had the lock before.
    condition = " WHERE source = %s AND symbol = %s AND timeframe = %s AND lease_token = %s"
    held = (*_keys(lease.source, lease.series), lease.token)
    cursor.execute(
        "SELECT coalesce(lease_until <= clock_timestamp() + %s * interval '1 second', true)"
        " FROM historical_data_range" + condition,
        (lease.lease_s, *held),
    )
    row = cursor.fetchone()
    if row is None:
        raise LeaseLost(f"{lease.source} {lease.series}: the series was taken over from {lease.holder}; nothing was written")
    # Not with every transaction: the row stays locked to the end of it, and the holder's other ones would wait for that.
    if row[0]:
        cursor.execute(
            "UPDATE historical_data_range SET lease_until = clock_timestamp() + %s * interval '1 second'" + condition,
            (lease.lease_s * _EXTENDED_BY, *held),
        )


def _taken(connection: psycopg2.extensions.connection, source: str, series: Series, holder: str, lease_s: float) -> SeriesLease:
    try:
        with connection.cursor() as cursor:
            _lock(cursor, source, series)
            token = _new_token(cursor, source, series, holder, lease_s)
    except BaseException:
        # The lock may be ours already, and must not outlive the attempt.
        connection.close()
        raise
    return SeriesLease(source, series, token, holder, lease_s, connection)


def _lock(cursor: Cursor, source: str, series: Series) -> None:
    """Get the session lock, from a dead or an expired holder if need be."""
    key = _session_key(source, series)
    deadline, seen = time.monotonic() + _ENDED_WITHIN_S, set[int]()
    while not _lock_within(cursor, key, 0.0):
        holder, expired, backends = _current(cursor, source, series)
        if not expired:
            if _lock_within(cursor, key, _DEATH_NOTICED_S):
                return
            raise SeriesBusy(f"{source} {series} is being written by {holder}; try again when it has finished")
        if time.monotonic() >= deadline:
            raise SeriesBusy(f"{source} {series} is held by {holder}, whose lease ran out but whose connection cannot be ended")
        # Not one that has got the lock only since the last look: it is about to write a lease of its own.
        ended = [backend for backend in backends if backend in seen]
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (ended,))
        seen = set(backends)
        time.sleep(_LOOK_AGAIN_S)


def _lock_within(cursor: Cursor, key: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,))
        if cursor.fetchone()[0]:  # type: ignore[index]
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_AGAIN_S)


def _current(cursor: Cursor, source: str, series: Series) -> tuple[str, bool, list[int]]:
    """The holder on record, whether its lease has run out, and the backends that have the session lock; a holder that has not
    written its name yet is live."""
    cursor.execute(
        "SELECT holder, lease_until <= clock_timestamp(), ARRAY(SELECT pid FROM pg_locks WHERE " + _ADVISORY + ")"
        " FROM historical_data_range WHERE source = %s AND symbol = %s AND timeframe = %s",
        ([_session_key(source, series)], *_keys(source, series)),
    )
    holder, expired, backends = cursor.fetchone() or (None, None, [])
    return holder or "another process", bool(expired), backends


def _new_token(cursor: Cursor, source: str, series: Series, holder: str, lease_s: float) -> int:
    """Write our name into the lease and fail what the former holder left running. The session lock is ours here, so whatever
    still writes is a former holder's and is ended first; what comes to write meanwhile waits, and finds another token."""
    key = _write_key(source, series)
    _end_writers(cursor, source, series, key)
    token = _written_token(cursor, source, series, holder, lease_s)
    cursor.execute("SELECT pg_advisory_unlock(%s)", (key,))
    return token


def _end_writers(cursor: Cursor, source: str, series: Series, key: int) -> None:
    """Get the write lock for ourselves, which the transactions of a holder share."""
    deadline = time.monotonic() + _ENDED_WITHIN_S
    while not _lock_within(cursor, key, 0.0):
        if time.monotonic() >= deadline:
            raise SeriesBusy(f"{source} {series} is being written by a former holder, whose connection cannot be ended")
        cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE " + _ADVISORY, ([key],))
        time.sleep(_LOOK_AGAIN_S)


def _written_token(cursor: Cursor, source: str, series: Series, holder: str, lease_s: float) -> int:
    cursor.execute(
        "WITH former AS (SELECT holder FROM historical_data_range WHERE source = %(source)s AND symbol = %(symbol)s"
        " AND timeframe = %(timeframe)s), taken AS ("
        " INSERT INTO historical_data_range AS r (source, symbol, timeframe, lease_token, lease_until, holder)"
        " VALUES (%(source)s, %(symbol)s, %(timeframe)s, 1, clock_timestamp() + %(seconds)s * interval '1 second', %(holder)s)"
        " ON CONFLICT (source, symbol, timeframe) DO UPDATE SET lease_token = r.lease_token + 1,"
        " lease_until = excluded.lease_until, holder = excluded.holder RETURNING lease_token), abandoned AS ("
        " UPDATE data_sync_log SET status = 'FAILED', finished_at = clock_timestamp(),"
        " error = 'abandoned: ' || coalesce((SELECT holder FROM former), 'its process') || ' ended without finishing'"
        " WHERE symbol = %(symbol)s AND timeframe = %(timeframe)s AND status = 'RUNNING')"
        " SELECT lease_token FROM taken",
        {
            "source": source,
            "symbol": series.symbol,
            "timeframe": series.timeframe.code,
            "seconds": lease_s * _EXTENDED_BY,
            "holder": holder,
        },
    )
    return cursor.fetchone()[0]  # type: ignore[index]


def _release(lease: SeriesLease) -> None:
    """Give the series back. A lease that was taken from us is not ours to touch, and its connection may be gone."""
    try:
        with lease.connection.cursor() as cursor:
            cursor.execute(
                "UPDATE historical_data_range SET lease_until = NULL, holder = NULL"
                " WHERE source = %s AND symbol = %s AND timeframe = %s AND lease_token = %s",
                (*_keys(lease.source, lease.series), lease.token),
            )
            cursor.execute("SELECT pg_advisory_unlock(%s)", (_session_key(lease.source, lease.series),))
    except psycopg2.Error:
        # The connection was ended: by a server that stopped, or by the process that took over. Both settle the lease. If it
        # was not, the lock goes with it now.
        lease.connection.close()


def _keys(source: str, series: Series) -> tuple[str, str, str]:
    return source, series.symbol, series.timeframe.code


def _session_key(source: str, series: Series) -> int:
    return lock_key("lease", *_keys(source, series))


def _write_key(source: str, series: Series) -> int:
    return lock_key("lease write", *_keys(source, series))
