"""Fixtures of the reliability suites: a real Postgres, and no record of each warning."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from cryptai_pipelines_tests.databases import *  # noqa: F403


@pytest.fixture(autouse=True)
def unlogged() -> Iterator[None]:
    """pytest keeps every record of a test, with the error in it and all that the error's frames hold: gigabytes of a storm."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)
