"""The findings of reviews as asset checks: a check for each rule, the same ones on every asset that has backtests reviewed. The
rules themselves are `backtest.review`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from cryptai_pipelines.backtest.review import RULES
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.alerts.findings import show_findings

_PREFIX = "review_"
_DESCRIBED = 3

Reviews = Mapping[Series, Sequence[Mapping[str, Any]]]
"""By series the findings of a result, each the plain data of a `backtest.findings.Finding`."""


def review_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """A check for each rule of the review."""
    return [dg.AssetCheckSpec(_PREFIX + rule.__name__, asset=asset, description=rule.__doc__) for rule in RULES]


def is_review(key: dg.AssetCheckKey) -> bool:
    """Does the check tell what a review says? It is about what a strategy earned, not about whether the pipeline is well."""
    return key.name.startswith(_PREFIX)


def review_results(asset: str, reviews: Reviews) -> list[dg.AssetCheckResult]:
    """What each rule says of the results that were reviewed. A rule that could judge none of them passes, and says so; when
    nothing was reviewed at all none passes: a check must not be green because nobody looked."""
    return [_result(asset, rule.__name__, reviews) for rule in RULES]


def _result(asset: str, code: str, reviews: Reviews) -> dg.AssetCheckResult:
    found = {series: one for series, findings in reviews.items() for one in findings if one["code"] == code}
    held = {series: one for series, one in found.items() if one["holds"]}
    complaints, others = _lines(held), _lines({series: one for series, one in found.items() if series not in held})
    severe = any(one["severity"] == "error" for one in held.values())
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=_PREFIX + code,
        passed=bool(reviews) and not held,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description="\n".join((complaints or others)[:_DESCRIBED]) or "Nothing was reviewed.",
        metadata={
            "series": len(found),
            "judged": sum(one["value"] is not None for one in found.values()),
            "findings": dg.MetadataValue.md(show_findings(complaints)),
            "without": dg.MetadataValue.md(show_findings(others)),
        },
    )


def _lines(found: Mapping[Series, Mapping[str, Any]]) -> list[str]:
    return [f"{series}: {one['sentence']}" for series, one in found.items()]


def review_page(reviews: Reviews) -> str:
    """A table in markdown: a row per series with how many rules complain, the severe ones by name first."""
    rows = [f"| {series} | {len(held)} | {_codes(held)} |" for series, held in _held(reviews).items()]
    return "\n".join(["| series | complaints | of these |", "|---|---|---|", *rows]) if rows else "nothing was reviewed"


def _held(reviews: Reviews) -> dict[Series, list[Mapping[str, Any]]]:
    return {series: [one for one in findings if one["holds"]] for series, findings in reviews.items()}


def _codes(held: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(held, key=lambda one: one["severity"] != "error")
    return ", ".join(f"**{one['code']}**" if one["severity"] == "error" else one["code"] for one in ordered) or "none"
