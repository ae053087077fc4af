"""Connections: what is accepted, how failures read, and that many threads and a restarted server are no trouble."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.storage import database as database_module
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable, connect, create_databases, run_transaction
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines.storage.urls import driver_url, one_line, sibling_url, with_database
from cryptai_pipelines_tests.databases import administer


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:sesame@h/d", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"),
        ("sesame", "no scheme"),
        ("postgresql://u:sesame@h:5432", "names no database"),
        ("postgresql://u:sesame@h:5432/", "names no database"),
        ("postgresql+psycopg2://u:sesame@h:many/d", "cannot be read"),
        ("postgresql+asyncpg://u:sesame@h/d", "is not accepted"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(BadInput) as refused:
        Database(url)
    message = str(refused.value)
    assert words in message and "\n" not in message and (url == "sesame" or "sesame" not in message)


@pytest.mark.parametrize("how", ["rows", "read"])
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:sesame@127.0.0.1:1/d", "Connection refused"),
        ("postgresql+psycopg2://u:ses%40me@127.0.0.1:1/d?application_name=x", "u:***@127.0.0.1:1/d"),
        ("postgresql://u@127.0.0.1:1/d?password=sesame", "password=***"),
        ("postgresql://u:sesame@nowhere.invalid/d", "nowhere.invalid"),
    ],
)
def test_an_unreachable_server_is_one_line_without_the_password(how: str, url: str, words: str) -> None:
    with pytest.raises(DatabaseUnavailable) as failed:
        getattr(Database(url), how)("SELECT 1")
    message = str(failed.value)
    assert words in message and "\n" not in message
    assert "sesame" not in message and "ses%40me" not in message and "ses@me" not in message


def test_a_missing_database_is_named(postgres_server: EmbeddedServer) -> None:
    with pytest.raises(CryptaiError, match='"no_such" does not exist'):
        Database(postgres_server.url("no_such")).read("SELECT 1")


def test_a_wrong_password_is_one_line_without_it(postgres_server: EmbeddedServer) -> None:
    administer(postgres_server, "CREATE ROLE {} LOGIN PASSWORD 'open barley'", "guarded")
    rules = postgres_server.data / "pg_hba.conf"
    rules.write_text("local all guarded scram-sha-256\n" + rules.read_text())
    administer(postgres_server, "SELECT pg_reload_conf()")
    url = postgres_server.url("postgres").replace("postgres@", "guarded:{}@")
    assert Database(url.format("open%20barley")).rows("SELECT current_user") == [("guarded",)]
    for how in ("rows", "read"):
        with pytest.raises(DatabaseUnavailable, match='password authentication failed for user "guarded"') as failed:
            getattr(Database(url.format("open%20sesame")), how)("SELECT 1")
        assert "sesame" not in str(failed.value) and "\n" not in str(failed.value)


def test_a_server_that_is_too_old_is_refused(postgres_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_LOWEST_VERSION", 990000)
    for how in ("rows", "read"):
        with pytest.raises(CryptaiError, match="is PostgreSQL 18; 15 or newer is needed"):
            getattr(Database(postgres_server.url("postgres")), how)("SELECT 1")


@pytest.mark.parametrize("secret", ["pa:ss@wo/rd", "sesame", "a b%c"])
def test_messages_never_show_a_password(secret: str) -> None:
    from urllib.parse import quote

    url = f"postgresql://user:{quote(secret, safe='')}@host/db"
    for text in (url, f"failed for {secret}\nand {quote(secret, safe='')}", f"dsn {url}"):
        shown = one_line(text, url)
        assert secret not in shown and quote(secret, safe="") not in shown and "\n" not in shown


def test_siblings_keep_everything_but_the_database() -> None:
    url = "postgresql://u:p%40ss@h:5433/bars?sslmode=require"
    assert sibling_url(url, "dagster") == "postgresql+psycopg2://u:p%40ss@h:5433/dagster?sslmode=require"
    assert with_database("postgresql+psycopg2://postgres@/a?host=/x/y", "b c") == "postgresql://postgres@/b%20c?host=/x/y"
    assert driver_url("postgres://u@h/d") == "postgresql://u@h/d"


def test_the_databases_are_created_once_by_many(postgres_server: EmbeddedServer) -> None:
    url = postgres_server.url("own_bars")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(create_databases, [url] * 4))
    for name in ("own_bars", "dagster", "mlflow"):
        assert Database(postgres_server.url(name)).rows("SELECT current_database()") == [(name,)]


def test_a_role_that_may_not_create_is_told_so_and_one_that_need_not_works(postgres_server: EmbeddedServer) -> None:
    administer(postgres_server, "CREATE ROLE {} LOGIN", "modest")
    url = postgres_server.url("modest_bars").replace("postgres@", "modest@")
    with pytest.raises(CryptaiError, match=r"database 'modest_bars' is missing and cannot be created: permission denied"):
        create_databases(url)
    create_databases(postgres_server.url("modest_bars"))
    create_databases(url)


def test_transactions_commit_whole_or_not_at_all(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE kept (n int)")
        cursor.execute("SHOW timezone")
        assert cursor.fetchone() == ("UTC",)
    with pytest.raises(KeyError), database.transaction() as cursor:
        cursor.execute("INSERT INTO kept VALUES (1)")
        raise KeyError
    assert database.rows("SELECT count(*) FROM kept") == [(0,)]


def test_reads_bind_parameters_and_cannot_write(database: Database) -> None:
    hostile = "'; DROP TABLE symbols; -- $1 %s \\"
    table = database.read("SELECT $1 AS a, $2::bigint AS b, $3::float8 AS c, $1 AS d", (hostile, 2**62, 0.1))
    assert table.to_pylist() == [{"a": hostile, "b": 2**62, "c": 0.1, "d": hostile}]
    assert database.read("SELECT TIMESTAMPTZ '2024-01-01T00:00Z' AS t").schema.field("t").type.tz == "UTC"
    with pytest.raises(Exception, match="read-only"):
        database.read("DELETE FROM symbols RETURNING symbol")
    with pytest.raises(TypeError, match="NoneType"):
        database.read("SELECT $1", (None,))  # type: ignore[arg-type]
    assert database.read("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_many_threads_share_few_connections(database: Database) -> None:
    narrow = Database(database.url, connections=3)
    barrier = threading.Barrier(12)

    def work(number: int) -> tuple[int, int]:
        barrier.wait()
        written = narrow.rows("SELECT %s + 0 * length(pg_sleep(0.02)::text)", (number,))[0][0]
        read = narrow.read("SELECT $1::int AS n, pg_sleep(0.02)", (number,)).column("n")[0].as_py()
        return written, read

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(work, range(12))) == [(n, n) for n in range(12)]
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert database.rows(others)[0][0] <= 6
    narrow.close()


def test_connections_that_the_server_ended_are_replaced(database: Database) -> None:
    database.read("SELECT 1")
    database.rows("SELECT 1")
    admin = connect(database.url, autocommit=True)
    with admin.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone() == (2,)
    admin.close()
    assert database.rows("SELECT 1") == [(1,)]
    assert database.read("SELECT 1 AS one").to_pylist() == [{"one": 1}]


def test_losing_the_server_amid_a_transaction_is_one_line(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable) as lost, database.transaction() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert "\n" not in str(lost.value)
    assert database.rows("SELECT 1") == [(1,)]


def test_a_deadlock_is_run_again(database: Database) -> None:
    with database.transaction() as cursor:
        cursor.execute("CREATE TABLE pair (k int PRIMARY KEY, n int); INSERT INTO pair VALUES (1, 0), (2, 0)")
    barrier, calls = threading.Barrier(2), []

    def add(order: tuple[int, int]) -> None:
        def work(cursor: psycopg2.extensions.cursor) -> None:
            first = not any(call == order for call in calls)
            calls.append(order)
            cursor.execute("UPDATE pair SET n = n + 1 WHERE k = %s", (order[0],))
            if first:
                barrier.wait(timeout=30)
            cursor.execute("UPDATE pair SET n = n + 1 WHERE k = %s", (order[1],))

        run_transaction(database, work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add, [(1, 2), (2, 1)]))
    assert database.rows("SELECT k, n FROM pair ORDER BY k") == [(1, 2), (2, 2)]
    assert len(calls) == 3
