"""The schema is reached from nothing, twice, and from two processes at once."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage import schema
from cryptai_pipelines.storage.database import Database, connect, create_databases
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines_tests.conftest import REPOSITORY

_UPGRADE = (
    "import sys; from cryptai_pipelines.storage import schema; from cryptai_pipelines.storage.database import Database;"
    "print(schema.upgrade(Database(sys.argv[1])))"
)


def test_two_processes_at_once_reach_the_same_schema(postgres_server: EmbeddedServer) -> None:
    url = postgres_server.url("raced")
    create_databases(url)
    command = [sys.executable, "-c", _UPGRADE, url]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": REPOSITORY}
    # Held until both have come to the lock, so that they do meet.
    gate = connect(url)
    with gate, gate.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (schema._LOCK,))
        running = [subprocess.Popen(command, **pipes) for _ in range(2)]
        deadline, waiting = time.monotonic() + 60, 0
        while waiting < 2:
            assert time.monotonic() < deadline, "two upgrades did not come to the lock"
            time.sleep(0.02)
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            [waiting] = cursor.fetchone()
    gate.close()
    results = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0], results
    assert results[0] == results[1] and results[0][1] == ""
    db = Database(url)
    assert results[0][0].strip() == schema.upgrade(db)
    assert db.rows("SELECT count(*) FROM alembic_version") == [(1,)]
    tables = {name for (name,) in db.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert {"symbols", "raw_ohlcv", "market_data", "technical_indicators", "signals", "series_state"} <= tables
    db.close()


def test_a_schema_of_a_newer_release_is_refused_in_one_line(database: Database) -> None:
    database.rows("UPDATE alembic_version SET version_num = '9999' RETURNING 1")
    with pytest.raises(CryptaiError, match="a schema this release does not know.*9999") as refused:
        schema.upgrade(database)
    assert "\n" not in str(refused.value)


def test_a_failing_migration_leaves_nothing_and_reads_as_one_line(postgres_server: EmbeddedServer) -> None:
    url = postgres_server.url("in_the_way")
    create_databases(url)
    db = Database(url)
    db.rows("CREATE TABLE signals (n int); SELECT 1")
    with pytest.raises(CryptaiError, match='"signals" already exists') as failed:
        schema.upgrade(db)
    assert "\n" not in str(failed.value)
    assert db.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("signals",)]
    db.close()


def test_a_schema_that_is_up_to_date_is_seen_without_the_tools_that_migrate(database: Database) -> None:
    code = f"{_UPGRADE}; print('alembic' in sys.modules, 'sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, database.url], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.split() == [schema.newest_revision(), "False", "False"], done.stderr


def test_the_newest_revision_is_the_one_that_migrations_reach(database: Database) -> None:
    assert schema.current_revision(database) == schema.newest_revision()
