"""What a person sees of the assets `data_quality` and `reconciliation`: their metadata and the findings of their checks."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.orchestration.alerts.findings import show_findings

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.chain.mend import MendResult
    from cryptai_pipelines.orchestration.chain.quality_page import QualityPage
    from cryptai_pipelines.storage.database import Database
    from cryptai_pipelines.storage.reconciliations import ReconciledMonth

MENDED, COMPLETE, BELIEVED = "series_are_mended", "completeness", "rules_hold"
RECONCILED, AGREE = "series_are_reconciled", "sources_agree"
_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
_LEAST_COMPLETE = 0.99
_LEAST_AGREEING = 0.99
_ALERTS_SHOWN = 10


def last_alerts(database: Database) -> list[str]:
    """The firing alerts and the latest recovered ones, one line each."""
    from cryptai_pipelines.storage.alerts import read_alerts

    return [
        f"{format_time(alert.since_ms)} {alert.subject}: {alert.summary}"
        + (f" (recovered {format_time(alert.recovered_ms)})" if alert.recovered_ms else "")
        for alert in read_alerts(database, _ALERTS_SHOWN)
    ]


def mend_metadata(found: MendResult, page: QualityPage | None) -> dict[str, dg.MetadataValue]:
    """The metadata of `data_quality`. `page`: None when the assessment failed."""
    told: dict[str, dg.MetadataValue] = {
        "series": dg.MetadataValue.int(len(found.series)),
        "closed_by": dg.MetadataValue.json(dict(found.closed_by)),
        "filled_bars": dg.MetadataValue.int(found.filled),
        "missing_bars": dg.MetadataValue.int(found.left),
        "restated_by_the_archive": dg.MetadataValue.int(found.restated),
    }
    if page is None:
        return told
    if page.heatmap_png is not None:
        encoded = base64.b64encode(page.heatmap_png).decode()
        told["heat_map"] = dg.MetadataValue.md(f"![completeness by symbol and month](data:image/png;base64,{encoded})")
    return told | {"page": dg.MetadataValue.md(page.markdown)} | {name: _fact(value) for name, value in page.facts.items()}


def _fact(value: float | int | str) -> dg.MetadataValue:
    if isinstance(value, str):
        return dg.MetadataValue.text(value)
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def mend_checks(found: MendResult) -> list[dg.AssetCheckResult]:
    """What the checks of `data_quality` say."""
    failed = [f"{one.series} failed at {one.failed_at}: {one.error}" for one in found.failed]
    failed += [f"assessment: {found.error}"] if found.error else []
    unknown = [] if found.assessment else ["not known: the assessment failed"]
    assessed = found.assessment.series if found.assessment else ()
    sparse = [
        f"{one.series}: {one.total.completeness:.3%}"
        for one in assessed
        if one.total.completeness is not None and one.total.completeness < _LEAST_COMPLETE
    ]
    wrong = [
        f"{one.series}: {rule} in {len(errors)} places"
        for one in assessed
        for rule, findings in one.findings.items()
        if (errors := [finding for finding in findings if finding.severity == "error"])
    ]
    return [
        _check(MENDED, failed, _ERROR),
        _check(COMPLETE, sparse + unknown, _WARN),
        _check(BELIEVED, wrong + unknown, _ERROR),
    ]


def _disagreeing(months: Sequence[ReconciledMonth]) -> list[str]:
    return [
        f"{month.series} {month.source} / {month.other}, {format_time(month.month_ms)[:7]}: {month.disagreeing} of"
        f" {month.compared}"
        for month in months
        if month.agreeing < _LEAST_AGREEING * month.compared
    ]


def reconciliation_checks(months: Sequence[ReconciledMonth], failed: Sequence[str]) -> list[dg.AssetCheckResult]:
    """What the checks of `reconciliation` say. `failed`: the series that could not be compared, and why."""
    return [_check(RECONCILED, failed, _ERROR), _check(AGREE, _disagreeing(months), _WARN)]


def reconciliation_page(months: Sequence[ReconciledMonth], most: int = 60) -> str:
    """The months in which something disagrees or is only on one side, the latest first."""
    telling = sorted(
        (month for month in months if month.disagreeing or month.only_source or month.only_other),
        key=lambda month: month.month_ms,
        reverse=True,
    )
    if not telling:
        return "all sources agree"
    rows = [
        f"| {month.series} | {month.source} / {month.other} | {format_time(month.month_ms)[:7]} | {month.compared} "
        f"| {month.disagreeing} | {month.only_source} | {month.only_other} | {month.believed} |"
        for month in telling[:most]
    ]
    head = "| series | sources | month | compared | disagreeing | only first | only second | believed |\n" + "|---" * 8 + "|"
    return "\n".join([head, *rows, *([f"\nand {len(telling) - most} more months"] if len(telling) > most else [])])


def _check(name: str, findings: Sequence[str], severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name,
        passed=not findings,
        severity=severity,
        metadata={"findings": dg.MetadataValue.md(show_findings(findings))},
    )
