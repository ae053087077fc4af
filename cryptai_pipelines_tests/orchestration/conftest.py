"""Fixtures of the orchestration room: a Dagster instance on the test server, and definitions on a test database."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

import cryptai_pipelines.orchestration as room
from cryptai_pipelines.definitions import build_defs
from cryptai_pipelines.orchestration.resources import StoreResource, VenueResource
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines_tests.databases import *  # noqa: F403
from cryptai_pipelines_tests.databases import administer

_numbers = itertools.count(1)


@contextmanager
def dagster_instance(server: EmbeddedServer, folder: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with the packaged instance file under `folder`, its records in a database of its own."""
    name = f"dagster_{next(_numbers)}"
    administer(server, "CREATE DATABASE {}", name)
    home = folder / "dagster"
    home.mkdir()
    shutil.copyfile(Path(room.__file__).parent / "dagster.yaml", home / "dagster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("CRYPTAI_DAGSTER_URL", server.url(name))
        with dg.DagsterInstance.get() as opened:
            # A run enters the instance once more, which forgets what this entry has set for the process. Left to the garbage
            # collector, it would be undone in the midst of another test, to something of an instance that is gone.
            entered = opened._exit_stack
            try:
                yield opened
            finally:
                entered.close()
    administer(server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture
def instance(postgres_server: EmbeddedServer, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance for one test."""
    with dagster_instance(postgres_server, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def instance_per_module(
    postgres_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that the tests of one module share."""
    with dagster_instance(postgres_server, tmp_path_factory.mktemp("instance")) as opened:
        yield opened


def settings_for(url: str, home: Path, **changes: object) -> Settings:
    """Settings for a replay venue at `url`, untouched by the environment of whoever runs the tests. The strategy is one that
    trades often on the short walks of the tests."""
    chosen = {"binance_url": url, "home": home, "symbols": "BTC-USDT", "timeframes": "1h", "grace_seconds": 10.0}
    chosen |= {"strategy": "trend_rsi_macd", **changes}
    return Settings(_env_file=None, **chosen)


def definitions_for(database: Database, settings: Settings) -> dg.Definitions:
    """The real definitions with their store and settings replaced; nothing else is."""

    class TestStore(StoreResource):
        @contextmanager
        def open(self) -> Iterator[Database]:
            yield database

        def settings(self) -> Settings:
            return settings

    class TestVenue(VenueResource):
        def settings(self) -> Settings:
            return settings

    return build_defs(overrides={"store": TestStore(), "venue": TestVenue()})


def run_job(defs: dg.Definitions, name: str, instance: dg.DagsterInstance, tags: dict[str, str] | None = None) -> object:
    """Run a job in this process; a failed run is returned, not raised."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return defs.resolve_job_def(name).execute_in_process(
        instance=instance, tags=tags or {}, run_config=quiet, raise_on_error=False
    )
