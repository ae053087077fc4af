"""Connections to one database: transactions (psycopg2) for writes, Arrow (ADBC) for bulk reads, and errors in one line.

No table is known here. URLs are taken apart in `urls`; the server in a folder is started in `embedded`.
"""

from __future__ import annotations

import random
import re
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage.pool import Pool
from cryptai_pipelines.storage.urls import database_name, driver_url, one_line, with_database

if TYPE_CHECKING:
    import pyarrow as pa

Cursor: TypeAlias = psycopg2.extensions.cursor
Parameter: TypeAlias = str | int | float
T = TypeVar("T")

_LOWEST_VERSION = 150000
_CONNECT_OPTIONS = {"connect_timeout": 10, "application_name": "cryptai", "keepalives_idle": 30, "keepalives_interval": 10}
_MOST_SESSIONS = 32
SIBLINGS = ("dagster", "mlflow")
"""The databases beside the one with the bars: Dagster's records and MLflow's."""
_CREATE_LOCK = 4_702_111_234_001


class DatabaseUnavailable(CryptaiError):
    """The server cannot be reached, went away, or has no room left; trying again later can succeed."""


class _ConnectionLost(DatabaseUnavailable):
    """The connection is gone; on a new one the same can succeed at once."""


class Database:
    """One PostgreSQL database, used by any number of threads over at most `connections` connections of each kind.

    Accepts `postgresql://` and `postgresql+psycopg2://`. Nothing is opened before the first use; a URL that cannot be read
    raises `CryptaiError` at once, everything else with the first use, in one line and without the password.
    """

    def __init__(self, url: str, connections: int = 8) -> None:
        self.url = driver_url(url)
        self._writers: Pool[psycopg2.extensions.connection] = Pool(self._connect, connections, _seems_alive, _is_alive)
        # Whoever holds a session needs a writer beside it, so the two must not wait for each other's connections.
        self._sessions: Pool[psycopg2.extensions.connection] = Pool(self._connect, _MOST_SESSIONS, _seems_alive, _is_alive)
        self._readers: Pool[Any] = Pool(lambda: _connect_arrow(self.url), connections, lambda _: True, _is_alive_arrow)

    def __repr__(self) -> str:
        return f"Database({one_line(self.url, self.url)!r})"

    @contextmanager
    def transaction(self) -> Iterator[Cursor]:
        """A cursor in a transaction of its own (read committed, UTC): committed at the end, rolled back on any exception."""
        with self._borrowed(self._writers) as connection:
            connection.autocommit = False
            try:
                with connection.cursor() as cursor:
                    yield cursor
                connection.commit()
            finally:
                _end_transaction(connection)

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one small statement, as tuples; `%s` or `%(name)s` placeholders. In a transaction of its own."""
        with self._borrowed(self._writers) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    @contextmanager
    def session(self) -> Iterator[psycopg2.extensions.connection]:
        """A connection that commits each statement by itself, for what belongs to a session and not to a transaction, such as
        session locks. Whoever leaves something behind in the session must close the connection; it is then not used again."""
        with self._borrowed(self._sessions) as connection:
            yield connection

    def read(self, sql: str, parameters: Sequence[Parameter] = ()) -> pa.Table:
        """The result of a query as an Arrow table (timestamptz as timestamp[us, UTC], NULL as null), read-only.

        `parameters` stand for `$1`, `$2`, ... in `sql`, which must cast each one that is not text, such as `$2::bigint`; None
        is not accepted. They are bound to session settings first: with bound parameters in the query itself, the driver
        gives up COPY, takes twice the time and holds the whole result a second time.
        """
        values = [_as_text(value) for value in parameters]
        try:
            return self._read(sql, values)
        except _ConnectionLost:
            # Such as an idle connection whose server was restarted. The driver cannot tell before it is used.
            self._readers.close()
            return self._read(sql, values)

    def _read(self, sql: str, values: Sequence[str]) -> pa.Table:
        with self._readers.borrow() as connection:
            try:
                with connection.cursor() as cursor:
                    if values:
                        names = ", ".join(f"set_config('cryptai.p{n}', ${n}, false)" for n in range(1, len(values) + 1))
                        cursor.execute(f"SELECT {names}", values)
                        cursor.fetchall()
                    cursor.execute(re.sub(r"\$(\d+)", r"current_setting('cryptai.p\1')", sql))
                    return cursor.fetch_arrow_table()
            except connection.Error as error:
                lost = not _is_alive_arrow(connection)
                if not (lost or isinstance(error, connection.OperationalError)):
                    raise
                kind = _ConnectionLost if lost else DatabaseUnavailable
                raise kind(f"database {database_name(self.url)}: {one_line(str(error), self.url)}") from error

    def server_version(self) -> str:
        """The server's version, such as `18.4`."""
        return self.rows("SHOW server_version")[0][0].split()[0]

    def close(self) -> None:
        """Close every idle connection; those in use close when they are given back. The object can be used again."""
        for pool in (self._writers, self._sessions, self._readers):
            pool.close()

    @contextmanager
    def _borrowed(self, pool: Pool[psycopg2.extensions.connection]) -> Iterator[psycopg2.extensions.connection]:
        with pool.borrow() as connection:
            try:
                yield connection
            except psycopg2.OperationalError as error:
                raise self._translated(error) from error

    def _connect(self) -> psycopg2.extensions.connection:
        return connect(self.url, autocommit=True)

    def _translated(self, error: psycopg2.OperationalError) -> Exception:
        """Losing the server or running out of room is for a person to mend; a deadlock stays what it is, for a retry."""
        code = error.pgcode or ""
        if code in ("40P01", "40001", "55P03") or code.startswith("57014"):
            return error
        return DatabaseUnavailable(f"database {database_name(self.url)}: {one_line(str(error), self.url)}")


def rows_of(
    source: Cursor | Database, statement: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a query, read in the transaction of a cursor, or on its own in a database."""
    if isinstance(source, Database):
        return source.rows(statement, parameters)
    source.execute(statement, parameters)
    return source.fetchall()


def run_transaction(db: Database, work: Callable[[Cursor], T], attempts: int = 5) -> T:
    """`work(cursor)` in a transaction, again from the start after a deadlock or a serialization failure."""
    for attempt in range(1, attempts + 1):
        try:
            with db.transaction() as cursor:
                return work(cursor)
        except (psycopg2.errors.DeadlockDetected, psycopg2.errors.SerializationFailure):
            if attempt == attempts:
                raise
        time.sleep(random.uniform(0.0, 0.05 * 2**attempt))
    raise AssertionError("unreachable: the last attempt returns or raises")


def connect(url: str, autocommit: bool = False) -> psycopg2.extensions.connection:
    """A psycopg2 connection with the session time zone UTC. `CryptaiError` in one line, without the password."""
    url = driver_url(url)
    try:
        connection = psycopg2.connect(url, **_CONNECT_OPTIONS)
    except psycopg2.Error as error:
        raise DatabaseUnavailable(f"cannot open the database {one_line(url, url)}: {one_line(str(error), url)}") from None
    if connection.server_version < _LOWEST_VERSION:
        version = connection.server_version // 10000
        connection.close()
        raise CryptaiError(f"the server of {one_line(url, url)} is PostgreSQL {version}; 15 or newer is needed")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.autocommit = autocommit
    return connection


def create_databases(url: str) -> None:
    """Make sure of the database that `url` names and of its siblings `dagster` and `mlflow`; safe from many processes.

    `CryptaiError` names the database that is missing and may not be created.
    """
    ours = database_name(url)
    with _maintenance(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_CREATE_LOCK,))
        cursor.execute("SELECT datname FROM pg_database")
        present = {name for (name,) in cursor.fetchall()}
        for name in dict.fromkeys((ours, *SIBLINGS)):
            if name not in present:
                _create_database(cursor, name)


@contextmanager
def _maintenance(url: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection to the database `postgres`, which everyone shares; to the one named by the URL where it is refused."""
    try:
        connection = connect(with_database(url, "postgres"), autocommit=True)
    except DatabaseUnavailable as error:
        try:
            connection = connect(url, autocommit=True)
        except DatabaseUnavailable as own:
            raise (own if database_name(url) != "postgres" else error) from None
    try:
        yield connection
    finally:
        connection.close()


def _create_database(cursor: Cursor, name: str) -> None:
    from psycopg2 import sql

    try:
        cursor.execute(sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name)))
    except psycopg2.errors.DuplicateDatabase:
        pass
    except psycopg2.Error as error:
        reason = f"{one_line(str(error), '')}; create it or grant CREATEDB"
        raise CryptaiError(f"database {name!r} is missing and cannot be created: {reason}") from None


def _as_text(value: Parameter) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise TypeError(f"a parameter of a read is text, int or float, not {type(value).__name__}")
    return value if isinstance(value, str) else repr(value)


def _connect_arrow(url: str) -> Any:
    from adbc_driver_postgresql import dbapi

    # psycopg2 tells the same failures (password, host, version) in better words.
    connect(url).close()
    connection = dbapi.connect(url, autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute("SET default_transaction_read_only = on")
    return connection


def _end_transaction(connection: psycopg2.extensions.connection) -> None:
    """Roll back what was not committed and commit by statement again. The server does so by itself when the connection is what
    was lost."""
    try:
        connection.rollback()
        connection.autocommit = True
    except psycopg2.Error:
        pass


def _seems_alive(connection: psycopg2.extensions.connection) -> bool:
    """Whether an idle connection can be used, without a round trip: a server that ends one says so, or closes the socket."""
    if connection.closed:
        return False
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return not waiting.poll(0) or _is_alive(connection)


def _is_alive(connection: psycopg2.extensions.connection) -> bool:
    if connection.closed:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


def _is_alive_arrow(connection: Any) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
    except connection.Error:
        return False
    return True
