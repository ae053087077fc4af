"""What assets are given: the store and the venue. Settings are read when a run starts, never when definitions are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.settings import Settings, settings

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.chain.outcome import OnProgress
    from cryptai_pipelines.sources.source import BarSource
    from cryptai_pipelines.storage.database import Database


class StoreResource(dg.ConfigurableResource):
    """The database of `CRYPTAI_DATABASE_URL`, or the embedded one when that is unset. Holds no secret in its config."""

    @contextmanager
    def open(self) -> Iterator[Database]:
        """An open database for the length of a step."""
        from cryptai_pipelines.orchestration.store import open_store

        with open_store(self.settings()) as store:
            yield store.database

    def settings(self) -> Settings:
        """The settings of this process."""
        return settings()


class VenueResource(dg.ConfigurableResource):
    """The venue of `CRYPTAI_EXCHANGE`."""

    def open(self, database: Database | None = None) -> BarSource:
        """A client, its limits shared with every process on `database`; opening it makes no call."""
        from cryptai_pipelines.orchestration.store import open_venue

        return open_venue(self.settings(), database=database)

    def open_secondaries(self, database: Database) -> list[BarSource]:
        """Clients of the venues of `CRYPTAI_SECONDARY`, in their order."""
        from cryptai_pipelines.orchestration.store import open_secondaries

        return open_secondaries(self.settings(), database)

    def settings(self) -> Settings:
        """The settings of this process."""
        return settings()


class ProgressResource(dg.ConfigurableResource):
    """Where the chain tells how far it is. A run of the daemon has nobody watching and shows what is done in its log."""

    def callback(self) -> OnProgress:
        """Called with each `Progress`, from several threads."""
        from cryptai_pipelines.orchestration.chain.outcome import ignore_progress

        return ignore_progress
