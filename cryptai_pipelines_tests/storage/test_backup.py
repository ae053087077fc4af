"""Backups come back as they were, and what is cut short, altered or interrupted is never taken for one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from psycopg2 import sql

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.storage import backup
from cryptai_pipelines.storage.backup import back_up, list_backups, sidecars
from cryptai_pipelines.storage.database import Database, connect
from cryptai_pipelines.storage.restore import refuse_target, restore
from cryptai_pipelines.storage.urls import database_name, with_database
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.databases import administer, fresh_database

ROWS = 20_000


@pytest.fixture(scope="module")
def filled(postgres_server):
    """A migrated database with rows of every awkward kind."""
    with fresh_database(postgres_server) as db:
        with db.transaction() as cursor:
            cursor.execute(
                "INSERT INTO market_data (ts, open, high, low, close, volume, symbol, timeframe, source, origin)"
                " SELECT to_timestamp(n * 3600), 0.1 + n, 1e9 / 3, 0.1, 0.1 + n / 7.0, 5e-324, 'BTC-USDT', '1h', 'binance',"
                " 'rest'"
                " FROM generate_series(1, %s) AS n",
                (ROWS,),
            )
            cursor.execute(
                "INSERT INTO data_quality (symbol, timeframe, kind, period_start, period_end, severity, details)"
                """ VALUES ('ΒTC''"\\', '1h', 'gap', '2020-01-01', '2020-01-02', 'x', '{"a": [1, null, "ß\\n"]}')"""
            )
        yield db


@pytest.fixture
def dropped(postgres_server):
    """Names of databases that the test made."""
    names: list[str] = []
    yield names
    for name in names:
        administer(postgres_server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


@pytest.fixture
def made(filled, tmp_path):
    """A backup of the filled database."""
    return back_up([filled.url], tmp_path / "backups", 3)[0]


def everything(url: str) -> dict[str, list[tuple]]:
    """Every row of every table, as text: an oracle that knows nothing of manifests."""
    connection = connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            rows = {}
            for (table,) in cursor.fetchall():
                cursor.execute(sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1").format(sql.Identifier(table)))
                rows[table] = cursor.fetchall()
            return rows
    finally:
        connection.close()


def databases(url: str) -> set[str]:
    return {name for (name,) in Database(url).rows("SELECT datname FROM pg_database")}


def test_a_backup_comes_back_as_it_was_into_a_fresh_database(filled, made, dropped):
    done = restore(filled.url, made.file)
    dropped.append(done.database)
    assert done.former is None and done.database.startswith(f"{database_name(filled.url)}_restored_")
    assert everything(with_database(filled.url, done.database)) == everything(filled.url)
    assert made.rows["public.market_data"] == ROWS and done.rows == sum(made.rows.values())
    with pytest.raises(Exception, match="append-only"):
        Database(with_database(filled.url, done.database)).rows("DELETE FROM raw_ohlcv RETURNING 1")


def test_the_dump_and_its_manifest_are_of_one_moment(filled, tmp_path, postgres_server, dropped):
    """Rows that are written while pg_dump runs are in neither."""
    with fresh_database(postgres_server) as db:
        wrote = []

        def write_meanwhile(_name, written):
            if not wrote:
                wrote.append(written)
                db.rows(
                    "INSERT INTO symbols VALUES ('v', 'A-B', 'AB', 'A', 'B', 'x', 1, 1, 1, now(), NULL, false, now())"
                    " RETURNING 1"
                )

        [made] = back_up([db.url], tmp_path, 3, write_meanwhile)
        assert wrote and made.rows["public.symbols"] == 0
        done = restore(db.url, made.file)
        dropped.append(done.database)
        assert everything(with_database(db.url, done.database))["symbols"] == []


def test_a_database_with_tables_is_replaced_only_when_told_to_and_kept(filled, made, dropped, postgres_server):
    with fresh_database(postgres_server) as other:
        name = database_name(other.url)
        before = everything(other.url)
        with pytest.raises(BadInput, match=f"{name}.*--yes"):
            restore(filled.url, made.file, into=name)
        assert everything(other.url) == before
        other.rows("SELECT 1")  # leaves a connection behind, which has to go
        done = restore(filled.url, made.file, into=name, replace=True)
        dropped.append(done.former)
        assert done.database == name and everything(other.url) == everything(filled.url)
        assert everything(with_database(other.url, done.former)) == before


def test_an_empty_database_is_filled_without_being_asked(filled, made, dropped, postgres_server):
    administer(postgres_server, "CREATE DATABASE {}", "empty_target")
    dropped.append("empty_target")
    done = restore(filled.url, made.file, into="empty_target")
    dropped.append(done.former)
    assert everything(with_database(filled.url, "empty_target")) == everything(filled.url)


@pytest.mark.parametrize(
    "into",
    ["bad name;", "", "Cryptai", "1st", "_a", "a-b", "é", "a" * 64, "a\n", "postgres", "template0", "template1"],
)
def test_a_name_that_is_none_is_refused(filled, made, into):
    before = databases(filled.url)
    with pytest.raises(BadInput, match="lower-case") as refused:
        restore(filled.url, made.file, into=into, replace=True)
    assert repr(into) in str(refused.value) and "\n" not in str(refused.value) and databases(filled.url) == before


@pytest.mark.parametrize(
    ("of", "into"),
    [("dagster", "cryptai"), ("dagster", "Mine"), ("dagster", "mlflow"), ("Mine", "dagster"), ("cryptai", "mlflow")],
)
def test_a_backup_of_one_of_our_databases_becomes_no_other_one(of, into):
    with pytest.raises(BadInput, match=f"a backup of the database '{of}' cannot become '{into}'"):
        refuse_target({"database": of}, into, "Mine")


@pytest.mark.parametrize(
    ("of", "into"),
    [
        ("dagster", None),
        ("dagster", "dagster"),
        ("dagster", "a1_"),
        ("cryptai", "Mine"),
        ("Mine", "a" * 63),
        ("Mine", "cryptai"),
    ],
)
def test_it_becomes_itself_and_what_is_none_of_ours(of, into):
    refuse_target({"database": of}, into, "Mine")


def test_the_longest_name_is_replaced_too(filled, made, dropped):
    name = "n" * 63
    dropped.append(name)
    restore(filled.url, made.file, into=name)
    done = restore(filled.url, made.file, into=name, replace=True)
    dropped.append(done.former)
    assert len(done.former) == 63 and done.former.startswith("nnn") and "_before_" in done.former
    assert everything(with_database(filled.url, name)) == everything(filled.url)


@pytest.mark.parametrize("damage", ["cut", "flip", "checksum", "manifest", "no manifest", "missing"])
def test_a_damaged_backup_is_refused_and_nothing_is_made(filled, made, damage):
    checksum, described = sidecars(made.file)
    content = made.file.read_bytes()
    match damage:
        case "cut":
            made.file.write_bytes(content[: len(content) // 2])
        case "flip":
            middle = len(content) // 2
            made.file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        case "checksum":
            checksum.write_text("")
        case "manifest":
            described.write_text("{}")
        case "no manifest":
            described.unlink()
        case "missing":
            made.file.unlink()
    before = databases(filled.url)
    with pytest.raises(BadInput) as refused:
        restore(filled.url, made.file)
    assert str(made.file) in str(refused.value) and "\n" not in str(refused.value)
    assert databases(filled.url) == before


def test_what_differs_from_the_manifest_is_named_and_dropped(filled, made):
    _, described = sidecars(made.file)
    manifest = json.loads(described.read_text())
    manifest["tables"]["public.market_data"]["rows"] += 1
    described.write_text(json.dumps(manifest))
    before = databases(filled.url)
    with pytest.raises(CryptaiError, match=f"market_data: {ROWS + 1} rows in the backup, {ROWS} restored"):
        restore(filled.url, made.file)
    assert databases(filled.url) == before


def test_the_newest_are_kept_of_each_database(filled, tmp_path):
    clock = FixedClock(parse_time("2026-01-01"))
    (tmp_path / "other-20200101T000000Z.dump").write_bytes(b"of another database")
    for _ in range(5):
        last = back_up([filled.url], tmp_path, 2, clock=clock)
        clock.at_ms += 86_400_000
    names = [path.name for path in list_backups(tmp_path, database_name(filled.url))]
    assert [name[-21:-6] for name in names] == ["20260104T000000", "20260105T000000"] and last[0].file.name == names[-1]
    assert (tmp_path / "other-20200101T000000Z.dump").exists()
    assert len(list(tmp_path.glob("*.dump.*"))) == 4, "checksums and manifests go with their backups"


def test_a_killed_backup_leaves_no_half_file(filled, tmp_path):
    """Killed while pg_dump's output arrives: nothing has a backup's name, and the next one clears the rest."""
    script = (
        "import sys, pathlib, time\nfrom cryptai_pipelines.storage.backup import back_up\n"
        "def stop(name, written):\n    print('writing', flush=True)\n    time.sleep(60)\n"
        "back_up([sys.argv[1]], pathlib.Path(sys.argv[2]), 3, stop)"
    )
    command = [sys.executable, "-c", script, filled.url, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}) as child:
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    assert list(tmp_path.glob(".*.partial"))
    back_up([filled.url], tmp_path, 3)
    assert len(list_backups(tmp_path)) == 1 and not list(tmp_path.glob(".*.partial"))


def test_an_interrupted_backup_clears_up_after_itself(filled, tmp_path):
    def interrupt(_name, _written):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up([filled.url], tmp_path, 3, interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_two_at_once_are_refused(filled, tmp_path):
    def another(_name, _written):
        with pytest.raises(CryptaiError, match="under way"):
            back_up([filled.url], tmp_path, 3)

    back_up([filled.url], tmp_path, 3, another)
    assert len(list_backups(tmp_path)) == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_is_one_line(filled, tmp_path, monkeypatch):
    opened = open

    def full(path, *arguments, **named):
        return opened("/dev/full", "wb", buffering=0) if str(path).endswith(".partial") else opened(path, *arguments, **named)

    monkeypatch.setattr(backup, "open", full, raising=False)
    monkeypatch.setattr(backup.os, "chmod", lambda *_: None)
    with pytest.raises(CryptaiError, match="no backup was made: .*No space left") as refused:
        back_up([filled.url], tmp_path, 3)
    assert "\n" not in str(refused.value) and not list_backups(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_line(filled, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CryptaiError, match="no backup was made: .*file"):
        back_up([filled.url], tmp_path / "file" / "below", 3)


def test_pg_dump_failing_is_one_line_and_leaves_nothing(filled, tmp_path):
    other = with_database(filled.url, "nowhere_to_be_found")
    with pytest.raises(CryptaiError, match="nowhere_to_be_found") as refused:
        back_up([other], tmp_path, 3)
    assert "\n" not in str(refused.value) and [path.name for path in tmp_path.iterdir()] == [".lock"]
