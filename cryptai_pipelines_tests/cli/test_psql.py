"""`cryptai db psql`: arguments go through, the exit status comes back, and the password stays out of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.cli.psql import run_psql
from cryptai_pipelines.storage.pg_programs import without_password
from cryptai_pipelines_tests.cli.command import call


@pytest.mark.parametrize(
    ("url", "plain", "password"),
    [
        ("postgresql://u:a%40b@h:5/d", "postgresql://u@h:5/d", "a@b"),
        ("postgresql://u:p:q@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require", "p:q"),
        ("postgresql://u@h/d?password=x%26y&sslmode=require", "postgresql://u@h/d?sslmode=require", "x&y"),
        ("postgresql://postgres@/d?host=/a/b&port=5432", "postgresql://postgres@/d?host=/a/b&port=5432", None),
        ("postgresql:///d?host=/a/b", "postgresql:///d?host=/a/b", None),
    ],
)
def test_the_password_is_taken_out_of_the_url(url: str, plain: str, password: str | None) -> None:
    assert without_password(url) == (plain, password)


def test_the_child_gets_the_password_in_its_environment_only(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    program = tmp_path / "psql"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$PGPASSWORD" "$@" > {seen}\nexit 3\n')
    program.chmod(0o755)
    status = run_psql("postgresql+psycopg2://u:hunter2@h/d", str(tmp_path), ["-c", "select 1"])
    assert status == 3
    assert seen.read_text().splitlines() == ["hunter2", "--dbname", "postgresql://u@h/d", "-c", "select 1"]


def test_arguments_and_the_exit_status_pass_through(url: str, home: Path) -> None:
    good = call(["db", "psql", "--", "-Atc", "SELECT current_database()"], home, CRYPTAI_DATABASE_URL=url)
    assert (good.code, good.out.strip()) == (0, url.partition("?")[0].rpartition("/")[2])
    bad = call(["db", "psql", "--", "-c", "SELECT 1/0"], home, CRYPTAI_DATABASE_URL=url)
    assert bad.code == 1 and "division by zero" in bad.err
