"""Data versions as Dagster compares them: what an asset's rows are, and which rows of its inputs they were made from. Dagster
adds these tags to what a step yields; the chain logs its materializations itself, series by series, and so adds them here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.orchestration.catalog import CHAIN, lineage_version

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.chain.walk import SeriesResult
    from cryptai_pipelines.storage.database import Database

SYMBOLS = "symbols"
_DATA_VERSION = "dagster/data_version"
_UNKNOWN = "unknown"


def symbols_version(instance: dg.DagsterInstance) -> str:
    """The data version of the listing that the grid was made from; `unknown` before the first one."""
    event = instance.get_latest_materialization_event(dg.AssetKey(SYMBOLS))
    materialization = event.asset_materialization if event else None
    tags = materialization.tags if materialization else None
    return (tags or {}).get(_DATA_VERSION, _UNKNOWN)


@dataclass(frozen=True)
class Versions:
    """The versions of one series after a walk. `listing` is that of `symbols`."""

    database: Database
    result: SeriesResult
    listing: str

    def tags(self, asset: str) -> dict[str, str]:
        """The tags of a materialization of `asset`: its version, its code, and the versions of its inputs."""
        entry = next(entry for entry in CHAIN if entry.name == asset)
        tags = {
            "dagster/code_version": lineage_version(asset),
            _DATA_VERSION: self.version(asset),
            "dagster/data_version_is_user_provided": "true",
        }
        for dep in entry.deps:
            tags[f"dagster/input_data_version/{dep}"] = self.version(dep)
            tags[f"dagster/input_event_pointer/{dep}"] = "NULL"
        return tags

    def version(self, asset: str) -> str:
        """Code version and revision. An asset that was not part of the walk is looked up."""
        if asset == SYMBOLS:
            return self.listing
        for outcome in self.result.outcomes:
            if outcome.asset == asset:
                return f"{lineage_version(asset)}@{outcome.revision}"
        from cryptai_pipelines.storage import state

        stored = state.read_state(self.database, asset, self.result.series)
        return f"{lineage_version(asset)}@{stored.revision if stored else 0}"
