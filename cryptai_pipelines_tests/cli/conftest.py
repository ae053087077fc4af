"""Fixtures of the command line's tests: a home, a fresh database, and the command run in this process."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cryptai_pipelines.cli.main import run
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.command import Ended
from cryptai_pipelines_tests.databases import *  # noqa: F403

Invoke = Callable[..., Ended]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def url(database: Database) -> str:
    """URL of a fresh, migrated database."""
    return database.url


@pytest.fixture
def invoke(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Invoke]:
    """`invoke(*arguments, **settings)` runs the command in this process, with no CRYPTAI_* setting but these."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    loggers = [logging.getLogger(name) for name in (None, "cryptai_pipelines")]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]

    def call(*arguments: str, **settings: str) -> Ended:
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                if name.startswith("CRYPTAI_"):
                    patch.delenv(name)
            patch.chdir(home.parent)
            patch.setenv("CRYPTAI_HOME", str(home))
            for name, value in settings.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["cryptai", *arguments])
            with pytest.raises(SystemExit) as left:
                run()
        out, err = capfd.readouterr()
        return Ended(int(left.value.code or 0), out, err)

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for logger, (had, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = had, propagate
        logger.setLevel(level)
