"""Fixtures that several rooms share. Doubles stand in `fakes.py`; fixtures of one room stand in that room's conftest."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from cryptai_pipelines_tests.torture.tally import read, table

REPOSITORY = Path(__file__).resolve().parent.parent

# Timings depend on the machine; a property is proven by its examples, not by how long one of them took.
settings.register_profile("cryptai", deadline=None)
settings.load_profile("cryptai")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of recorded market data that is not part of the project; tests that need it are skipped without it."""
    configured = os.environ.get("CRYPTAI_REAL_DATA")
    folder = Path(configured) if configured else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no recorded market data at {folder}; set CRYPTAI_REAL_DATA")
    return folder


_TALLY = "CRYPTAI_TALLY"
_made_here = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the reliability suites a folder to tally in; workers inherit it from the process that started them."""
    if _TALLY not in os.environ:
        config.stash[_made_here] = Path(tempfile.mkdtemp(prefix="cryptai-tally-"))
        os.environ[_TALLY] = str(config.stash[_made_here])


def pytest_unconfigure(config: pytest.Config) -> None:
    made = config.stash.get(_made_here, None)
    if made is not None:
        shutil.rmtree(made, ignore_errors=True)
        del os.environ[_TALLY]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One table of everything that was injected, in whichever process."""
    rows = read(Path(os.environ[_TALLY]))
    if rows:
        terminalreporter.section("reliability")
        for line in table(rows).splitlines():
            terminalreporter.write_line(line)
