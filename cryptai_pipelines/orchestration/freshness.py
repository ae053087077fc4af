"""How old the latest materialization of an asset may be before Dagster calls it stale.

Dagster looks at the latest materialization of any partition, so this tells that nothing runs any more and no more than that.
Whether a series is stale is told by its bars: the check `bar_age` and the sensor `stale_series`.
"""

from datetime import timedelta

import dagster as dg

# The daily catch-up logs every asset anew, whatever timeframes are configured; a day and a slow run may pass between two.
_DAILY = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=50), warn_window=timedelta(hours=28))
# Made on demand: after a change of the engine or of a peer, when somebody has an idea, and a few times a year otherwise.
_ON_DEMAND = dg.FreshnessPolicy.time_window(fail_window=timedelta(days=400), warn_window=timedelta(days=190))
_BY_ASSET = {
    "engine_parity": _ON_DEMAND,
    "strategy_trial": _ON_DEMAND,
    "latest_prices": dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2), warn_window=timedelta(minutes=65)),
    "reconciliation": dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8)),
    "data_quality": dg.FreshnessPolicy.time_window(fail_window=timedelta(days=15), warn_window=timedelta(days=8)),
}


def freshness_policy(asset: str) -> dg.FreshnessPolicy:
    """The policy of an asset, by the schedule or the occasion that makes it."""
    return _BY_ASSET.get(asset, _DAILY)
