"""Backups of a database: one file of pg_dump's custom format, and beside it a manifest of what is in it. Complete or not there.

A manifest holds, of one and the same snapshot that the dump is of, the rows of every table and a hash of their content. Putting
a backup back is in `restore`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from cryptai_pipelines.market.clock import Clock, SystemClock
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage.database import Cursor, connect
from cryptai_pipelines.storage.pg_programs import environment_for, find_program, reason_of, without_password
from cryptai_pipelines.storage.times import to_datetime
from cryptai_pipelines.storage.urls import database_name

OnBytes = Callable[[str, int], None]
"""Called with the name of a database and how many bytes of its backup are written."""

_CHUNK = 1 << 20
_NAME = re.compile(r"(?P<database>.+)-(?P<stamp>\d{8}T\d{6}Z)\.dump")


@dataclass(frozen=True)
class Backup:
    """One complete backup. `rows`: by table."""

    file: Path
    database: str
    size: int
    sha256: str
    rows: dict[str, int]


def ignore_bytes(database: str, written: int) -> None:
    """Nobody watches."""


def back_up(
    urls: Sequence[str], folder: Path, keep: int, on_bytes: OnBytes = ignore_bytes, clock: Clock | None = None
) -> list[Backup]:
    """Back up the database of each URL into `folder` as `DATABASE-TIME.dump`, and keep the newest `keep` of each.

    A file has its name when it is whole and on the disk, with `.sha256` and `.json` (the manifest) beside it; whatever ends
    this, none has it before. Older backups go only after the new ones are there. `CryptaiError` in one line when the server,
    pg_dump or the disk fails, or another backup into `folder` is under way.
    """
    stamp = to_datetime((clock or SystemClock()).now_ms()).strftime("%Y%m%dT%H%M%SZ")  # type: ignore[union-attr]
    try:
        with _only_one(folder):
            made = [_dump(url, folder, stamp, on_bytes) for url in urls]
            for backup in made:
                _drop_old(folder, backup.database, keep)
            return made
    except OSError as error:
        raise CryptaiError(f"no backup was made: {error.filename or folder}: {error.strerror or error}") from None


def list_backups(folder: Path, database: str | None = None) -> list[Path]:
    """The complete backups in `folder`, of one database or of all, the oldest first."""
    found = [(match["stamp"], path) for path in folder.glob("*.dump") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found) if database in (None, database_of(path))]


def database_of(file: Path) -> str:
    """The database that a backup is of, from its name; empty when the name is another one."""
    match = _NAME.fullmatch(file.name)
    return match["database"] if match else ""


def sidecars(file: Path) -> tuple[Path, Path]:
    """The checksum file and the manifest beside a backup."""
    return file.with_name(file.name + ".sha256"), file.with_name(file.name + ".json")


def describe(cursor: Cursor) -> dict[str, dict[str, Any]]:
    """Rows and content of every table outside the system schemas, as the transaction of `cursor` sees them: `rows`, and `hash`,
    the sum of a 64-bit hash of each row's text, which does not depend on their order."""
    cursor.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        " AND schemaname NOT LIKE 'pg_temp%' ORDER BY 1, 2"
    )
    told = {}
    for schema, table in cursor.fetchall():
        query = "SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {} AS t"
        cursor.execute(sql.SQL(query).format(sql.Identifier(schema, table)))
        rows, total = cursor.fetchone()  # type: ignore[misc]
        told[f"{schema}.{table}"] = {"rows": rows, "hash": total}
    return told


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder for one backup at a time, and clear what a killed one left half written."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CryptaiError(f"another backup into {folder} is under way; wait for its end") from None
        for half in folder.glob(".*.partial"):
            half.unlink(missing_ok=True)
        yield


def _dump(url: str, folder: Path, stamp: str, on_bytes: OnBytes) -> Backup:
    name = database_name(url)
    file = folder / f"{name.replace('/', '_')}-{stamp}.dump"
    half = folder / f".{file.name}.partial"
    connection = connect(url)
    try:
        with connection.cursor() as cursor:
            snapshot, version = _exported_snapshot(connection, cursor)
            size, digest = _write_dump(url, version, snapshot, half, lambda written: on_bytes(name, written))
            tables = describe(cursor)
        manifest = {"database": name, "made_at": stamp, "server_version": version, "sha256": digest, "tables": tables}
        checksum, described = sidecars(file)
        _write_whole(checksum, f"{digest}  {file.name}\n")
        _write_whole(described, json.dumps(manifest, indent=1) + "\n")
        half.rename(file)
        _sync_folder(folder)
    except BaseException:  # an interrupt, too, leaves nothing half written; it is raised on
        for path in (half, *(() if file.exists() else sidecars(file))):
            path.unlink(missing_ok=True)
        raise
    finally:
        connection.close()
    return Backup(file, name, size, digest, {table: told["rows"] for table, told in tables.items()})


def _exported_snapshot(connection: psycopg2.extensions.connection, cursor: Cursor) -> tuple[str, int]:
    """A snapshot that pg_dump can share as long as this transaction lasts, and the server's major version."""
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    cursor.execute("SELECT pg_export_snapshot()")
    return cursor.fetchone()[0], connection.server_version // 10000  # type: ignore[index]


def _write_dump(url: str, version: int, snapshot: str, half: Path, on_written: Callable[[int], None]) -> tuple[int, str]:
    """Run pg_dump into `half`, through us: a dump whose reader dies ends by itself, and is hashed as it passes."""
    plain, password = without_password(url)
    program = find_program("pg_dump", version)
    command = [str(program), "--format=custom", "--no-password", f"--snapshot={snapshot}", "--dbname", plain]
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile("w+") as messages, open(half, "xb") as output:
        os.chmod(half, 0o600)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, env=environment_for(password))
        try:
            while chunk := process.stdout.read(_CHUNK):  # type: ignore[union-attr]
                output.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                on_written(size)
            status = process.wait()
            output.flush()
            os.fsync(output.fileno())
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        if status != 0:
            messages.seek(0)
            raise CryptaiError(f"pg_dump of {database_name(url)} failed: {reason_of(messages.read(), url, status)}")
    return size, digest.hexdigest()


def _write_whole(path: Path, text: str) -> None:
    with open(path, "w") as handle:
        os.chmod(path, 0o600)
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _drop_old(folder: Path, database: str, keep: int) -> None:
    for old in list_backups(folder, database)[:-keep]:
        for path in (old, *sidecars(old)):
            path.unlink(missing_ok=True)
