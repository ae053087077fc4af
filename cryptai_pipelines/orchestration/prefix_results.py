"""The asset checks `prefix_invariance` of the per-bar assets: which series of a run are looked at, and how it is told. What is
compared stands in `chain.prefix_check`."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.orchestration.alerts.findings import show_findings

if TYPE_CHECKING:
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.prefix_check import PerBar
    from cryptai_pipelines.orchestration.chain.walk import SeriesResult
    from cryptai_pipelines.settings import Settings
    from cryptai_pipelines.storage.database import Database

NAME = "prefix_invariance"
MOST_SERIES = 4
"""How many series of a run are looked at for each asset: a run of a thousand series shall not take longer for it."""

_ASSETS = ("technical_indicators", "signals")
_WHAT = (
    "Stored rows are what the stored bars up to their own give, to the bit: computed anew at a few cut points of up to "
    f"{MOST_SERIES} series of the run, other ones after each new bar."
)

PREFIX_SPECS: tuple[dg.AssetCheckSpec, ...] = tuple(
    dg.AssetCheckSpec(NAME, asset=asset, description=_WHAT) for asset in _ASSETS
)


def prefix_result(
    spec: dg.AssetCheckSpec, database: Database, settings: Settings, results: Sequence[SeriesResult]
) -> dg.AssetCheckResult:
    """What the check says of the series whose asset was brought up to date. One that did not get this far is a finding."""
    from cryptai_pipelines.orchestration.chain.prefix_check import first_change

    asset = spec.asset_key.to_user_string()
    per_bar = _per_bar(asset, database, settings)
    reached = [result for result in results if asset in {outcome.asset for outcome in result.outcomes}]
    chosen = _chosen(asset, reached)
    changes = {series: first_change(database, per_bar, series) for series in chosen}
    findings = [f"{series}: {change}" for series, change in changes.items() if change is not None]
    unknown = [f"{result.series}: not known, it failed at {result.failed_at}" for result in results if result not in reached]
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=not findings and not unknown,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            "series": len(reached),
            "looked_at": ", ".join(map(str, chosen)) or "none",
            "findings": dg.MetadataValue.md(show_findings([*findings, *unknown])),
        },
    )


def _chosen(asset: str, reached: Sequence[SeriesResult]) -> list[Series]:
    """Those of which rows were written, in an order that another revision of them shuffles anew; then the others."""

    def order(result: SeriesResult) -> tuple[bool, int]:
        outcome = next(outcome for outcome in result.outcomes if outcome.asset == asset)
        return not outcome.written, zlib.crc32(f"{result.series.key} {outcome.revision}".encode())

    return [result.series for result in sorted(reached, key=order)[:MOST_SERIES]]


def _per_bar(asset: str, database: Database, settings: Settings) -> PerBar:
    from cryptai_pipelines.indicators.registry import DEFAULT_SET
    from cryptai_pipelines.orchestration.chain import signals, technical_indicators
    from cryptai_pipelines.orchestration.chain.prefix_check import PerBar
    from cryptai_pipelines.orchestration.chain.steps import scheduled_trial

    if asset == technical_indicators.ASSET:
        return PerBar(
            asset,
            technical_indicators.BARS,
            {},
            lambda series, within: technical_indicators.computed(database, series, DEFAULT_SET, within),
        )
    trial = scheduled_trial(settings)
    return PerBar(
        asset,
        signals.INDICATORS,
        {"strategy": trial.strategy.name},
        lambda series, within: signals.computed(database, series, trial.strategy, trial.rules, within),
    )
