"""Running PostgreSQL's client programs on a database URL: which one fits the server, and the password kept off the command
line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage.embedded import binaries
from cryptai_pipelines.storage.urls import driver_url, one_line


def find_program(name: str, server_version: int) -> Path:
    """The oldest `name` (such as `pg_dump`) that is not older than the server's major version, of PATH and the embedded
    server's package. `CryptaiError` names what was found when none is."""
    found = {}
    for place in (shutil.which(name), str(binaries() / name)):
        if place and Path(place).exists() and (version := _version(Path(place))) is not None:
            found.setdefault(version, Path(place))
    fitting = [version for version in sorted(found) if version >= server_version]
    if not fitting:
        had = ", ".join(f"{path} of {version}" for version, path in found.items()) or "none"
        raise CryptaiError(f"the server is PostgreSQL {server_version} and needs a {name} of at least that; found: {had}")
    return found[fitting[0]]


def _version(program: Path) -> int | None:
    told = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return int(match[1]) if match else None


def environment_for(password: str | None) -> dict[str, str]:
    """The environment of a child that connects with `password`, in plain English and without the caller's PG* settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"} | ({} if password is None else {"PGPASSWORD": password})


def without_password(url: str) -> tuple[str, str | None]:
    """A libpq URL without its password, which everyone on the machine could read in a command line, and the password."""
    scheme, _, rest = driver_url(url).partition("://")
    before_query, question, query = rest.partition("?")
    credentials, at, place = before_query.rpartition("@")
    user, colon, password = credentials.partition(":")
    options = query.split("&") if question else []
    named = [option.partition("=")[2] for option in options if option.startswith("password=")]
    kept = "&".join(option for option in options if not option.startswith("password="))
    plain = f"{scheme}://{user}{at}{place}{question}{kept}"
    found = named[-1] if named else password if colon else None
    return plain, None if found is None else unquote(found)


def reason_of(messages: str, url: str, status: int) -> str:
    """What a program says is wrong, in one line and without the password."""
    lines = [re.sub(r"^pg_\w+: (error: )?", "", line.strip()) for line in messages.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("warning:", "hint:", "detail:"))]
    return one_line("\n".join(told[:2]), url) or (f"ended by signal {-status}" if status < 0 else f"exit code {status}")
