"""Throw-away embedded servers and databases for benchmarks, with the settings that every user gets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptai_pipelines.storage.database import Database, connect, create_databases
from cryptai_pipelines.storage.embedded import EmbeddedServer, start_embedded
from cryptai_pipelines.storage.schema import upgrade


@contextmanager
def embedded_server() -> Iterator[EmbeddedServer]:
    """An embedded server in a folder of its own, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-", ignore_cleanup_errors=True) as folder:
        with start_embedded(Path(folder)) as server:
            yield server


@contextmanager
def fresh_database(server: EmbeddedServer, name: str) -> Iterator[Database]:
    """A migrated database, dropped afterwards."""
    create_databases(server.url(name))
    database = Database(server.url(name))
    try:
        upgrade(database)
        yield database
    finally:
        database.close()
        administer(server.url("postgres"), f'DROP DATABASE "{name}" WITH (FORCE)')


def administer(url: str, statement: str) -> None:
    """Run a statement of this package's own making that must stand outside a transaction, such as CHECKPOINT."""
    connection = connect(url, autocommit=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
