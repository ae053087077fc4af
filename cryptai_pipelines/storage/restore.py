"""Putting a backup back: into a database of its own, held against its manifest, and only then under the name asked for.

Making backups is in `backup`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.storage.backup import describe, sidecars
from cryptai_pipelines.storage.database import SIBLINGS, connect
from cryptai_pipelines.storage.pg_programs import environment_for, find_program, reason_of, without_password
from cryptai_pipelines.storage.urls import database_name, with_database

_SWAP_ATTEMPTS = 50
_NAME_LIMIT = 63
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OF_THE_SERVER = ("postgres", "template0", "template1")


@dataclass(frozen=True)
class Restored:
    """A restored and verified database; `former`: the name under which the one it replaced is kept, if it replaced one."""

    database: str
    former: str | None
    tables: int
    rows: int


def restore(url: str, file: Path, into: str | None = None, replace: bool = False) -> Restored:
    """Restore `file` on the server of `url`, by default into a fresh database named after the backup.

    The file is held against its checksum first, and the restored tables against the manifest before anything gets its final
    name. `into` a database that holds tables needs `replace`: it is renamed, not dropped, in the same transaction in which the
    restored one takes its name, and whoever is connected to it is disconnected. `BadInput` for a file that is no backup, cut
    short or altered, for `into` without `replace`, and for what `refuse_target` refuses; `CryptaiError` when the server
    refuses. What was there before is untouched then.
    """
    manifest = read_manifest(file)
    refuse_target(manifest, into, database_name(url))
    # In lower case, so that SQL takes the names without quotes.
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dt%H%M%Sz")
    name = into or _ending_in(manifest["database"], f"_restored_{stamp}")
    with _server(url) as connection:
        exists = _exists(connection, name)
        if exists and not replace and _has_tables(url, name):
            raise BadInput(
                f"the database {name!r} holds tables; --yes puts the backup in its place and keeps it under another name"
            )
        building = _ending_in(name, f"_building_{stamp}") if exists else name
        _execute(connection, "CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", building)
        try:
            _fill(with_database(url, building), file, connection.server_version // 10000)
            _verify(with_database(url, building), manifest, file)
            former = _swap(connection, name, building, _ending_in(name, f"_before_{stamp}")) if exists else None
        except BaseException:  # an interrupt, too, must not leave half a database; it is raised on
            _execute(connection, "DROP DATABASE IF EXISTS {} WITH (FORCE)", building)
            raise
    tables = manifest["tables"]
    return Restored(name, former, len(tables), sum(told["rows"] for told in tables.values()))


def read_manifest(file: Path) -> dict[str, Any]:
    """The manifest of a backup whose checksum is right; `BadInput` otherwise."""
    checksum, described = sidecars(file)
    for path in (file, checksum, described):
        if not path.is_file():
            raise BadInput(f"{path} is missing; accepted: a file that `cryptai db backup` wrote, with what it wrote beside it")
    try:
        manifest = json.loads(described.read_text())
        wanted = {manifest["sha256"], checksum.read_text().split()[0]}
        manifest["database"], manifest["tables"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise BadInput(
            f"{described} or the checksum beside it cannot be read; they are not what `cryptai db backup` wrote"
        ) from None
    with open(file, "rb") as handle:
        found = hashlib.file_digest(handle, "sha256").hexdigest()
    if wanted != {found}:
        raise BadInput(f"{file} is cut short or altered: its SHA-256 is {found[:12]}..., not {sorted(wanted)[0][:12]}...")
    return manifest


def refuse_target(manifest: Mapping[str, Any], into: str | None, ours: str) -> None:
    """`BadInput` when the backup of `manifest` cannot become the database `into`: no name, a database of the server's own, or
    one of the three of a home (`ours` with the bars, Dagster's, MLflow's) when the backup is of another one of them."""
    if into is None or into == manifest["database"]:
        return
    if into != ours and (not _NAME.fullmatch(into) or len(into) > _NAME_LIMIT or into in _OF_THE_SERVER):
        raise BadInput(
            f"--into {into!r} is not accepted; accepted: a name of at most {_NAME_LIMIT} lower-case letters, digits and _,"
            f" a letter first, other than {', '.join(_OF_THE_SERVER)}"
        )
    # Only two of the three have a fixed name; whatever else `cryptai db backup` wrote holds bars.
    of = manifest["database"]
    if into in {ours, "cryptai", *SIBLINGS} and (into in SIBLINGS or of in SIBLINGS):
        raise BadInput(f"a backup of the database {of!r} cannot become {into!r}; accepted: --into {of}, or a name of its own")


def _ending_in(name: str, suffix: str) -> str:
    """`name` and `suffix`; of the name as much as the server takes without shortening the whole."""
    return name.encode()[: _NAME_LIMIT - len(suffix)].decode(errors="ignore") + suffix


@contextmanager
def _server(url: str) -> Iterator[psycopg2.extensions.connection]:
    """A connection to the database `postgres` of the server: databases cannot be renamed from within."""
    connection = connect(with_database(url, "postgres"), autocommit=True)
    try:
        yield connection
    finally:
        connection.close()


def _execute(connection: psycopg2.extensions.connection, statement: str, *names: str) -> None:
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        except psycopg2.Error as error:
            raise CryptaiError(f"database {names[0]!r}: {str(error).strip().splitlines()[0]}") from None


def _exists(connection: psycopg2.extensions.connection, name: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        return cursor.rowcount > 0


def _has_tables(url: str, name: str) -> bool:
    connection = connect(with_database(url, name), autocommit=True)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') LIMIT 1")
            return cursor.rowcount > 0
    finally:
        connection.close()


def _fill(url: str, file: Path, version: int) -> None:
    plain, password = without_password(url)
    program = find_program("pg_restore", version)
    command = [str(program), "--no-owner", "--no-privileges", "--no-password", "--dbname", plain, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_for(password), check=False)
    # A newer pg_restore sets a parameter that older servers do not know; what was restored is held against the manifest.
    errors = [line for line in done.stderr.splitlines() if "error:" in line and "transaction_timeout" not in line]
    if done.returncode < 0 or errors or (done.returncode and "transaction_timeout" not in done.stderr):
        raise CryptaiError(f"pg_restore of {file} failed: {reason_of(done.stderr, url, done.returncode)}")


def _verify(url: str, manifest: dict[str, Any], file: Path) -> None:
    connection = connect(url)
    try:
        with connection.cursor() as cursor:
            found = describe(cursor)
    finally:
        connection.close()
    wanted = manifest["tables"]
    wrong = sorted(table for table in wanted.keys() | found.keys() if wanted.get(table) != found.get(table))
    if wrong:
        table = wrong[0]
        had, has = (str(told.get(table, {}).get("rows", "no")) for told in (wanted, found))
        what = f"{had} rows in the backup, {has} restored" if had != has else f"{had} rows, of other content than in the backup"
        raise CryptaiError(f"{file} was not restored: {len(wrong)} tables differ from its manifest, first {table}: {what}")


def _swap(connection: psycopg2.extensions.connection, name: str, building: str, former: str) -> str:
    """Give `building` the name `name`, and what had it the name `former`, at once."""
    for attempt in range(1, _SWAP_ATTEMPTS + 1):
        try:
            with connection.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
                for old, new in ((name, former), (building, name)):
                    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(old), sql.Identifier(new))
                    cursor.execute(rename)
                cursor.execute("COMMIT")
            return former
        except psycopg2.Error as error:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
            if attempt == _SWAP_ATTEMPTS or not isinstance(error, psycopg2.errors.ObjectInUse):
                reason = str(error).strip().splitlines()[0]
                raise CryptaiError(f"{name!r} cannot be replaced: {reason}; stop what uses it, such as `cryptai up`") from None
        # Whoever was disconnected comes back at once; the renaming needs a moment without them.
        time.sleep(0.02 * attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")
