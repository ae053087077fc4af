"""The asset `strategy_trial`: a strategy on stored bars with parameters of one's own, from the launchpad. What may be told is
in `trial_config`, what is done in `trial`; `cryptai backtest` is the same from the command line."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import OWNERS
from cryptai_pipelines.orchestration.freshness import freshness_policy
from cryptai_pipelines.orchestration.metadata import facts_metadata, table_schema
from cryptai_pipelines.orchestration.partitions import GRID, ONE_RUN, series_of
from cryptai_pipelines.orchestration.resources import ProgressResource, StoreResource
from cryptai_pipelines.orchestration.review_results import review_results, review_specs
from cryptai_pipelines.orchestration.trial_config import Asked, offered_strategies, read_asked, trial_schema
from cryptai_pipelines.settings import Settings

NAME = "strategy_trial"
_SHOWN = ("total_return", "buy_and_hold_return", "sharpe", "max_drawdown", "win_rate", "profit_factor", "fees_paid")
_DESCRIPTION = (
    "A strategy with parameters of your own on the stored bars of the chosen series, on demand: open the launchpad and choose "
    "one under `strategy`. Each distinct set of parameters is a logged trial with its report; what the schedule follows stays."
)


def build_strategy_trial() -> dg.AssetsDefinition:
    """The asset, with the strategies that can be found when the definitions are loaded."""

    @dg.multi_asset(
        name=NAME,
        specs=[
            dg.AssetSpec(
                NAME,
                deps=["validated_bars"],
                description=_DESCRIPTION,
                group_name="research",
                owners=list(OWNERS),
                kinds={"python", "postgres", "numba"},
                code_version="1",
                freshness_policy=freshness_policy(NAME),
                skippable=True,
                metadata={
                    "dagster/table_name": "backtest_results",
                    "dagster/column_schema": table_schema("backtest_results"),
                },
            )
        ],
        check_specs=review_specs(NAME),
        partitions_def=GRID,
        backfill_policy=ONE_RUN,
        config_schema=trial_schema(offered_strategies()),
    )
    def strategy_trial(
        context: dg.AssetExecutionContext, store: StoreResource, progress: ProgressResource
    ) -> Iterator[dg.AssetCheckResult]:
        yield from _run(context, store, progress)

    return strategy_trial


def _run(context: dg.AssetExecutionContext, store: StoreResource, progress: ProgressResource) -> Iterator[dg.AssetCheckResult]:
    from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
    from cryptai_pipelines.orchestration.trial import run_trial
    from cryptai_pipelines.storage.backtests import read_review

    settings = store.settings()
    asked = read_asked(context.op_execution_context.op_config)
    trial = chosen_trial(settings, _found_as(settings, asked), asked.parameters, asked.window, asked.known_at_ms)
    reviews, failed = dict[Series, Sequence[Mapping[str, Any]]](), dict[Series, Exception]()
    with store.open() as database:
        for series in series_of(context.partition_keys):
            try:
                told = run_trial(database, settings, series, trial, context.run.run_id, progress.callback())
            except Exception as error:  # a fault of one series, of any kind, must not keep the others from their results
                failed[series] = error
                context.log.error(f"{series} failed: {error}", exc_info=not isinstance(error, CryptaiError))
            else:
                context.log_event(_materialization(series, told))
                reviews[series] = read_review(database, told["backtest_id"])[1]
    if reviews:
        yield from review_results(NAME, reviews)
    if failed:
        raise _failure(failed, len(reviews) + len(failed))


def _found_as(settings: Settings, asked: Asked) -> str:
    """The scheduled strategy may be found by its file only."""
    from cryptai_pipelines.strategy.signals import find_strategy

    scheduled = find_strategy(settings.strategy).name
    return settings.strategy if asked.strategy in (None, scheduled) else asked.strategy


def _materialization(series: Series, told: Mapping[str, Any]) -> dg.AssetMaterialization:
    report = str(told["report"])
    return dg.AssetMaterialization(
        NAME,
        partition=dg.MultiPartitionKey({"symbol": series.symbol, "timeframe": series.timeframe.code}),
        metadata=facts_metadata(
            {
                "backtest_id": told["backtest_id"],
                "strategy": told["strategy"],
                "trade_count": told["trade_count"],
                "ambiguous_count": told["ambiguous_count"],
                "trades_sha256": told["trades_sha256"],
                **{name: told["metrics"].get(name) for name in _SHOWN},
                "verdict": told["verdict"]["answer"],
                "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in told["verdict"]["reasons"])),
                "config": dg.MetadataValue.json(told["config"]),
                "report": report,
                "picture": str(Path(report).with_suffix(".png")),
            }
        ),
    )


def _failure(failed: Mapping[Series, Exception], of: int) -> dg.Failure:
    first = "; ".join(f"{series}: {error}" for series, error in list(failed.items())[:5])
    return dg.Failure(
        f"{len(failed)} of {of} series failed: {first}",
        metadata={"failed": dg.MetadataValue.json([series.key for series in failed])},
        allow_retries=False,
    )
