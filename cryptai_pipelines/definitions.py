"""The one object that Dagster loads."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg

# Single-run backfills and grids are beta in name; the pinned range of dagster is what they were verified with.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from cryptai_pipelines.orchestration.jobs import ALL_JOBS  # noqa: E402
from cryptai_pipelines.orchestration.latest_prices_asset import latest_prices  # noqa: E402
from cryptai_pipelines.orchestration.parity_asset import engine_parity  # noqa: E402
from cryptai_pipelines.orchestration.quality_assets import data_quality, reconciliation  # noqa: E402
from cryptai_pipelines.orchestration.resources import ProgressResource, StoreResource, VenueResource  # noqa: E402
from cryptai_pipelines.orchestration.review_asset import backtest_review  # noqa: E402
from cryptai_pipelines.orchestration.schedules import ALL_SCHEDULES  # noqa: E402
from cryptai_pipelines.orchestration.sensors import ALL_SENSORS  # noqa: E402
from cryptai_pipelines.orchestration.series_chain import series_chain  # noqa: E402
from cryptai_pipelines.orchestration.symbols_asset import symbols  # noqa: E402
from cryptai_pipelines.orchestration.trial_asset import build_strategy_trial  # noqa: E402


def build_defs(*, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Everything there is. `overrides` replaces resources by name (`store`, `venue`, `progress`), for tests."""
    resources: dict[str, Any] = {
        "store": StoreResource(),
        "venue": VenueResource(),
        "progress": ProgressResource(),
        **(overrides or {}),
    }
    return dg.Definitions(
        assets=[
            symbols,
            latest_prices,
            series_chain,
            data_quality,
            reconciliation,
            backtest_review,
            build_strategy_trial(),
            engine_parity,
        ],
        jobs=ALL_JOBS,
        schedules=ALL_SCHEDULES,
        sensors=ALL_SENSORS,
        resources=resources,
        executor=dg.in_process_executor,
    )


defs = build_defs()
