"""`cryptai db backup` and `restore`: a round trip on the embedded server, and every refusal in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cryptai_pipelines.cli.running import only_one, write_record
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.urls import database_name, with_database
from cryptai_pipelines_tests.cli.command import call
from cryptai_pipelines_tests.databases import private_folder


def test_a_round_trip_on_the_embedded_server() -> None:
    with private_folder() as folder:
        home = folder / "home"
        assert call(["db", "upgrade"], home).code == 0
        made = call(["db", "backup", "--json"], home)
        assert made.code == 0, made.err
        files = {one["database"]: Path(one["file"]) for one in made.object["backups"]}
        assert set(files) == {"cryptai", "dagster"} and all(file.parent == home / "backups" for file in files.values())
        fresh = call(["db", "restore", str(files["cryptai"]), "--json"], home)
        assert fresh.code == 0 and fresh.object["former"] is None and fresh.object["database"].startswith("cryptai_restored_")
        refused = call(["db", "restore", str(files["cryptai"]), "--into", "cryptai"], home)
        assert refused.code == 2 and "--yes" in refused.err and refused.err.count("\n") <= 2
        other = call(["db", "restore", str(files["dagster"]), "--into", "cryptai", "--yes"], home)
        assert other.code == 2 and "a backup of the database 'dagster' cannot become 'cryptai'" in other.err
        assert other.err.count("\n") == 1
        with only_one(home, waiting=lambda: None) as lock:
            write_record(lock, 3123, ())
            running = call(["db", "restore", str(files["cryptai"]), "--into", "cryptai", "--yes"], home)
            assert running.code == 1 and f"process {os.getpid()}, http://127.0.0.1:3123" in running.err
            assert "`cryptai up`" in running.err and running.err.count("\n") == 1
            beside = call(["db", "restore", str(files["cryptai"]), "--into", "beside", "--json"], home)
            assert beside.code == 0 and beside.object["database"] == "beside"
        swapped = call(["db", "restore", str(files["cryptai"]), "--into", "cryptai", "--yes", "--json"], home)
        assert swapped.code == 0 and swapped.object["former"].startswith("cryptai_before_")
        assert call(["alerts", "--json"], home).object == {"firing": 0, "alerts": [], "receivers": []}


def test_a_truncated_file_is_refused_in_one_line(invoke, url, tmp_path):
    made = invoke("db", "backup", "--to", str(tmp_path / "to"), "--json", CRYPTAI_DATABASE_URL=url)
    file = Path(made.object["backups"][0]["file"])
    file.write_bytes(file.read_bytes()[:-100])
    refused = invoke("db", "restore", str(file), CRYPTAI_DATABASE_URL=url)
    assert refused.code == 2 and "cut short or altered" in refused.err and refused.err.count("\n") == 1
    missing = invoke("db", "restore", str(tmp_path / "none.dump"), CRYPTAI_DATABASE_URL=url)
    assert missing.code == 2 and "none.dump is missing" in missing.err


def test_a_folder_that_cannot_be_written_is_one_line(invoke, url, tmp_path):
    (tmp_path / "file").write_text("")
    refused = invoke("db", "backup", "--to", str(tmp_path / "file" / "below"), CRYPTAI_DATABASE_URL=url)
    assert refused.code == 1 and "no backup was made" in refused.err


@pytest.mark.parametrize("option", ["backup", "restore"])
def test_the_password_is_on_no_command_line(url, tmp_path, invoke, monkeypatch, option):
    """The programs are replaced by ones that keep their arguments: pg_dump writes nothing, so that the rest fails."""
    folder = tmp_path / "bin"
    folder.mkdir()
    seen = tmp_path / "seen"
    for name in ("pg_dump", "pg_restore"):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "{name} (PostgreSQL) 18.0" && exit\n'
            f'printf "%s\\n" "$PGPASSWORD" "$@" >> {seen}\nexit 3\n'
        )
        program.chmod(0o755)
    secret = url.replace("://postgres@", "://postgres:hunter2@")
    if option == "restore":
        made = invoke("db", "backup", "--to", str(tmp_path / "to"), "--json", CRYPTAI_DATABASE_URL=url)
        file = next(one["file"] for one in made.object["backups"] if one["database"] == database_name(url))
    monkeypatch.setenv("PATH", str(folder))
    arguments = ["db", "backup", "--to", str(tmp_path / "to")] if option == "backup" else ["db", "restore", file]
    failed = invoke(*arguments, CRYPTAI_DATABASE_URL=secret)
    told = seen.read_text().splitlines()
    assert failed.code == 1 and "exit code 3" in failed.err and "hunter2" not in failed.err
    assert told[0] == "hunter2" and not any("hunter2" in line for line in told[1:])
    left = Database(with_database(url, "postgres")).rows("SELECT datname FROM pg_database WHERE datname ~ 'restored'")
    assert left == []
