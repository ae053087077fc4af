"""One backtest with parameters of a person's choice, on stored bars: computed, logged as a trial and published. The scheduled
one, which goes on bar by bar with the settings' parameters, is `chain.backtest_results`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cryptai_pipelines.backtest.engine import settle, start
from cryptai_pipelines.backtest.records import refused_entries
from cryptai_pipelines.market.clock import format_moment, format_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.assessment import assess, together
from cryptai_pipelines.orchestration.chain.backtest_results import Trial, engine_for, settled_result, simulate_blocks
from cryptai_pipelines.orchestration.chain.finer_bars import asked_frame, finer_readers, finer_revisions
from cryptai_pipelines.orchestration.chain.market_rules import in_market
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress
from cryptai_pipelines.orchestration.chain.performance_metrics import full_metrics, value_days
from cryptai_pipelines.orchestration.chain.publish import (
    fees_of_config,
    files_of,
    funding_of_result,
    render_files,
    rules_of_result,
)
from cryptai_pipelines.orchestration.chain.steps import holding
from cryptai_pipelines.orchestration.chain.trial_inputs import no_bars, nothing_simulated, read_inputs
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import ambiguous_bars, backtests, market_data, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import check_lease


def run_trial(
    database: Database, settings: Settings, series: Series, trial: Trial, run_id: str, on_progress: OnProgress
) -> dict[str, Any]:
    """Simulate, store and publish; the stored result with its metrics and the report's path. Result, trades and days are one
    transaction, from which on there is no verdict until they are judged. With `trial.known_at_ms` the bars are those that were
    known then, whatever has become of them since.

    `CryptaiError` when the series has no bars, or had none then; `BadInput` when there are none in the window.
    """
    if market_data.span(database, series) is None:
        raise no_bars(series)
    trial = in_market(database, settings.exchange, series, trial)
    with holding(database, settings.exchange, settings, run_id)(series) as lease:
        inputs = read_inputs(database, series, trial)

        def tell(done_ms: int, bars: int) -> None:
            span = inputs.span
            on_progress(Progress("backtest", series, done_ms - span.start_ms, span.end_ms - span.start_ms, bars))

        finer = finer_readers(database, series, finer_revisions(database, series), trial.known_at_ms)
        begin = start(engine_for(trial, series), (trial.market,))
        after, closed, asked = simulate_blocks(begin, inputs.blocks, tell, series.timeframe, finer)
        if not after.book["bars"]:
            raise nothing_simulated(trial, series, inputs.whole)
        result = settled_result(trial, series, after, closed, asked, inputs.revision, run_id)
        days = value_days(lambda _: inputs.day_ends, series.timeframe, trial, result.trades, backtests.no_days(), inputs.span)
        metrics = full_metrics(result.header, after, days.values, sum(inputs.filled))
        header = replace(result.header, metrics=metrics)
        with database.transaction() as cursor:
            check_lease(cursor, lease)
            identity = backtests.save_backtest(cursor, header)
            backtests.forget_review(cursor, identity)
            backtests.replace_trades(cursor, identity, 0, result.trades)
            ambiguous_bars.replace_ambiguous_bars(cursor, identity, 0, asked_frame(asked))
            backtests.replace_daily(cursor, identity, 0, days.new)
        prices = inputs.daily_closes()
        assessment = assess(database, identity, header, prices, together(inputs.gates))
        files = files_of(settings.home.resolve() / "reports", series, f"{trial.strategy.name}_trial_{identity}")
        rendered = render_files(database, settings.exchange, identity, header, settle(after)[0], prices, assessment)
        with database.transaction() as cursor:
            check_lease(cursor, lease)
            backtests.save_review(cursor, identity, *assessment.told)
            files.replace(rendered)
    told = stored_result(database, settings.exchange, identity, header)
    refused = refused_entries(after.refused[0])
    return {**told, "all_metrics": dict(assessment.full), "refused": refused, "report": str(files.report)}


def stored_result(database: Database, venue: str, identity: int, header: backtests.BacktestHeader) -> dict[str, Any]:
    """A result as plain data, for whoever shows it. `as_of`: the moment of which its bars were, None for those of now."""
    known_at = header.config.get("known_at")
    verdict, findings = backtests.read_review(database, identity)
    return {
        "backtest_id": identity,
        "strategy": header.strategy,
        "symbol": header.series.symbol,
        "timeframe": header.series.timeframe.code,
        "simulated": bool(symbols.is_simulated(database, venue, header.series.symbol)),
        "first_bar": None if header.first_ts is None else format_time(header.first_ts),
        "last_bar": None if header.last_ts is None else format_time(header.last_ts),
        "bars": header.bars,
        "trade_count": header.trade_count,
        "ambiguous_count": header.ambiguous_count,
        "trades_sha256": header.trades_sha256,
        "as_of": None if known_at is None else format_moment(int(known_at)),
        "config": dict(header.config),
        "fees": fees_of_config(venue, header.config),
        "market_rules": rules_of_result(header),
        "funding": funding_of_result(header),
        "metrics": {name: _counted(name, value) for name, value in header.metrics.items()},
        "verdict": verdict,
        "findings": [one for one in findings if one["holds"]],
        "gates": backtests.read_gates(database, identity),
    }


def _counted(name: str, value: float | None) -> float | int | None:
    """Counts are whole numbers to whoever reads them as JSON."""
    return int(value) if value is not None and name in ("trade_count", "ambiguous_count", "metrics_version") else value
