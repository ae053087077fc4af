"""A real Postgres for tests: one embedded server per test run, and a fresh migrated database per test or per module.

Import the fixtures into a conftest: `from cryptai_pipelines_tests.databases import *`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg2 import sql

from cryptai_pipelines.storage import schema
from cryptai_pipelines.storage.database import Database, connect, create_databases
from cryptai_pipelines.storage.embedded import EmbeddedServer, start_embedded

__all__ = ["database", "database_per_module", "postgres_server"]

_TEMPLATE = "migrated"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedServer]:
    """The embedded server of this test run, with a migrated database that others are copied from."""
    with private_folder() as home, start_embedded(home) as server:
        # Nothing here has to outlive a crash of the machine, and the disk of a test machine is slow.
        administer(server, "ALTER SYSTEM SET fsync = off")
        administer(server, "SELECT pg_reload_conf()")
        create_databases(server.url(_TEMPLATE))
        template = Database(server.url(_TEMPLATE))
        schema.upgrade(template)
        template.close()
        yield server


@pytest.fixture
def database(postgres_server: EmbeddedServer) -> Iterator[Database]:
    """A fresh migrated database for one test."""
    with fresh_database(postgres_server) as db:
        yield db


@pytest.fixture(scope="module")
def database_per_module(postgres_server: EmbeddedServer) -> Iterator[Database]:
    """A migrated database that the tests of one module share; they keep apart by using different series."""
    with fresh_database(postgres_server) as db:
        yield db


@contextmanager
def private_folder() -> Iterator[Path]:
    """A folder for a server. Not one of pytest's: each run of pytest closes their common parent to other users, and when the
    tests run as root, the server is another user."""
    folder = Path(tempfile.mkdtemp(prefix="cryptai-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server: EmbeddedServer) -> Iterator[Database]:
    """A migrated database of its own, dropped at the end of the block."""
    name = f"test_{next(_numbers)}"
    administer(server, "CREATE DATABASE {} TEMPLATE {}", name, _TEMPLATE)
    db = Database(server.url(name))
    try:
        yield db
    finally:
        db.close()
        administer(server, "DROP DATABASE {} WITH (FORCE)", name)


def administer(server: EmbeddedServer, statement: str, *names: str) -> None:
    """Run a statement outside any transaction on the server's maintenance database; `{}` stands for identifiers."""
    connection = connect(server.url("postgres"), autocommit=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    finally:
        connection.close()
