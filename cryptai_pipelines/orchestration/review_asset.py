"""The asset `backtest_review`: what the reviews of all scheduled backtests complain of, a check for each rule. The reviews are
made where the results are (`chain.assessment`); a person's trial shows its own (`trial_asset`)."""

from __future__ import annotations

import dagster as dg

from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.resources import StoreResource
from cryptai_pipelines.orchestration.review_results import review_page, review_results, review_specs

NAME = "backtest_review"
_COLUMNS = {
    "series": "text",
    "code": "text",
    "severity": "text",
    "holds": "boolean",
    "value": "double precision",
    "threshold": "double precision",
    "sentence": "text",
}


@dg.asset(
    name=NAME,
    deps=["performance_metrics"],
    group_name="research",
    owners=list(OWNERS),
    kinds={"python", "postgres"},
    code_version="1",
    freshness_policy=freshness_policy(NAME),
    metadata={
        "dagster/table_name": "backtest_results",
        "dagster/column_schema": dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in _COLUMNS.items()]),
    },
    check_specs=review_specs(NAME),
)
def backtest_review(store: StoreResource) -> dg.MaterializeResult:
    """What a careful reader complains of in the scheduled backtests, rule by rule and series by series: too few trades, one
    that makes the profit, costs, a gate that never rejects, luck of many trials (docs/review.md). Renewed with the reports."""
    from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial
    from cryptai_pipelines.storage.backtests import scheduled_reviews

    settings = store.settings()
    strategy = scheduled_trial(settings).strategy.name
    with store.open() as database:
        reviews = scheduled_reviews(database, strategy, settings.series)
    held = [one for findings in reviews.values() for one in findings if one["holds"]]
    return dg.MaterializeResult(
        metadata={
            "strategy": strategy,
            "series": len(reviews),
            "complaints": len(held),
            "of_them_severe": sum(one["severity"] == "error" for one in held),
            "page": dg.MetadataValue.md(review_page(reviews)),
        },
        check_results=review_results(NAME, reviews),
    )
