"""What a run may consist of."""

from __future__ import annotations

import dagster as dg

from cryptai_pipelines.orchestration.maintenance import BACKUP_JOB, MAINTENANCE_JOB
from cryptai_pipelines.orchestration.trial_config import scheduled_config

CHAIN_ASSETS = (
    "raw_ohlcv",
    "validated_bars",
    "technical_indicators",
    "market_structure",
    "signals",
    "backtest_results",
    "performance_metrics",
)

CHAIN_JOB = dg.define_asset_job(
    "bring_up_to_date",
    selection=dg.AssetSelection.assets(*CHAIN_ASSETS),
    description="From the venue to performance metrics for the chosen series, in one run and one process.",
)
SYMBOLS_JOB = dg.define_asset_job(
    "sync_symbols",
    selection=dg.AssetSelection.assets("symbols"),
    description="The venue's listing, and the grid's symbols.",
)
PRICES_JOB = dg.define_asset_job(
    "sync_latest_prices",
    selection=dg.AssetSelection.assets("latest_prices"),
    description="What every active symbol last traded at.",
)
QUALITY_JOB = dg.define_asset_job(
    "mend_and_assess",
    selection=dg.AssetSelection.assets("data_quality", "reconciliation"),
    description="Classes and closes the gaps of all stored series, assesses them, and holds their sources against each other.",
)
REVIEW_JOB = dg.define_asset_job(
    "review_backtests",
    selection=dg.AssetSelection.assets("backtest_review"),
    description="What the reviews of the scheduled backtests complain of, as asset checks.",
)
TRIAL_JOB = dg.define_asset_job(
    "try_strategy",
    selection=dg.AssetSelection.assets("strategy_trial"),
    config={"ops": {"strategy_trial": {"config": scheduled_config()}}},
    description="A strategy with parameters of your own on stored bars: choose one in the launchpad.",
)
ALL_JOBS = [CHAIN_JOB, SYMBOLS_JOB, PRICES_JOB, QUALITY_JOB, REVIEW_JOB, TRIAL_JOB, BACKUP_JOB, MAINTENANCE_JOB]
