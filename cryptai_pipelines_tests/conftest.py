"""Fixtures that several rooms share. Doubles stand in `fakes.py`; fixtures of one room stand in that room's conftest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

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
