"""The asset checks `prefix_invariance` of the per-bar assets: which series of a run are looked at, and how it is told. What is
compared stands in `chain.prefix_check`."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.orchestration.alerts.findings import read_findings, show_findings

if TYPE_CHECKING:
    import pandas as pd

    from cryptai_pipelines.market.intervals import Interval
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.prefix_check import PerBar
    from cryptai_pipelines.orchestration.chain.walk import SeriesResult
    from cryptai_pipelines.settings import Settings
    from cryptai_pipelines.storage.database import Database

NAME = "prefix_invariance"
MOST_SERIES = 4
"""How many series of a run are looked at for each asset: a run of a thousand series shall not take longer for it."""

_EVALUATIONS = 20
_ASSETS = ("technical_indicators", "market_structure", "signals")
_WHAT = (
    "Stored rows are what the stored bars up to their own give, to the bit: computed anew at a few cut points of up to "
    f"{MOST_SERIES} series of the run, other ones after each new bar."
)

PREFIX_SPECS: tuple[dg.AssetCheckSpec, ...] = tuple(
    dg.AssetCheckSpec(NAME, asset=asset, description=_WHAT) for asset in _ASSETS
)


def prefix_result(
    spec: dg.AssetCheckSpec,
    database: Database,
    settings: Settings,
    results: Sequence[SeriesResult],
    look_again: Collection[str] = (),
) -> dg.AssetCheckResult:
    """What the check says of the series whose asset was brought up to date. One that did not get this far is a finding.
    `look_again`: the series (as text) that are looked at whatever else is, so that no finding goes because nobody looked."""
    from cryptai_pipelines.orchestration.chain.prefix_check import first_change

    asset = spec.asset_key.to_user_string()
    per_bar = _per_bar(asset, database, settings)
    reached = [result for result in results if asset in {outcome.asset for outcome in result.outcomes}]
    chosen = _chosen(asset, reached, look_again)
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


def wrong_lately(instance: dg.DagsterInstance, spec: dg.AssetCheckSpec) -> set[str]:
    """The series, as text, of which one of the last evaluations of the check had a finding. The very last one alone does not
    tell: each is of the timeframes of its own run."""
    found: set[str] = set()
    for record in instance.event_log_storage.get_asset_check_execution_history(spec.key, limit=_EVALUATIONS):
        evaluation = record.event.asset_check_evaluation if record.event and record.event.dagster_event else None
        if evaluation is not None:
            found |= read_findings(str(evaluation.metadata["findings"].value), evaluation.passed).keys()
    return found


def _chosen(asset: str, reached: Sequence[SeriesResult], look_again: Collection[str]) -> list[Series]:
    """All of `look_again`; and up to `MOST_SERIES` others, those of which rows were written first, in an order that
    another revision of them shuffles anew."""

    def order(result: SeriesResult) -> tuple[bool, int]:
        outcome = next(outcome for outcome in result.outcomes if outcome.asset == asset)
        return not outcome.written, zlib.crc32(f"{result.series.key} {outcome.revision}".encode())

    known = [result.series for result in reached if str(result.series) in look_again]
    return known + [result.series for result in sorted(reached, key=order) if result.series not in known][:MOST_SERIES]


def _per_bar(asset: str, database: Database, settings: Settings) -> PerBar:
    return {"technical_indicators": _indicators, "market_structure": _structure, "signals": _signals}[asset](database, settings)


def _indicators(database: Database, settings: Settings) -> PerBar:
    from cryptai_pipelines.orchestration.chain import technical_indicators as chain
    from cryptai_pipelines.orchestration.chain.prefix_check import PerBar
    from cryptai_pipelines.orchestration.chain.trial_parameters import stored_indicators

    specs = stored_indicators(settings)
    return PerBar(
        chain.ASSET,
        (chain.BARS,),
        lambda series, within: chain.computed(database, series, specs, within),
        partial(_stored, database, chain.ASSET, {}),
    )


def _structure(database: Database, settings: Settings) -> PerBar:
    from cryptai_pipelines.orchestration.chain import market_structure as chain
    from cryptai_pipelines.orchestration.chain.prefix_check import PerBar
    from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial, stored_swing_length

    return PerBar(
        chain.ASSET,
        (chain.BARS,),
        partial(chain.computed, database, stored_swing_length(settings, scheduled_trial(settings))),
        partial(chain.read_structure, database),
    )


def _signals(database: Database, settings: Settings) -> PerBar:
    from cryptai_pipelines.orchestration.chain import signals as chain
    from cryptai_pipelines.orchestration.chain.prefix_check import PerBar
    from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial

    trial = scheduled_trial(settings)
    return PerBar(
        chain.ASSET,
        (chain.INDICATORS, *chain.FURTHER_INPUTS),
        lambda series, within: chain.computed(database, series, trial.strategy, trial.rules, within),
        partial(_stored, database, chain.ASSET, {"strategy": trial.strategy.name}),
    )


def _stored(
    database: Database, asset: str, keys: Mapping[str, str], series: Series, within: Interval, columns: Sequence[str]
) -> pd.DataFrame:
    from cryptai_pipelines.storage import derived

    of_series = {**keys, "symbol": series.symbol, "timeframe": series.timeframe.code}
    return derived.read(database, asset, of_series, *within, columns)
