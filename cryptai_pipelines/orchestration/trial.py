"""One backtest with parameters of a person's choice, on stored bars: computed, logged as a trial and published. The scheduled
one, which goes on bar by bar with the settings' parameters, is `chain.backtest_results`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from cryptai_pipelines.backtest.engine import BarArrays, settle, start
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.indicators.registry import DEFAULT_SET
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import technical_indicators
from cryptai_pipelines.orchestration.chain.backtest_results import Trial, settled_result, simulate_blocks
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress
from cryptai_pipelines.orchestration.chain.performance_metrics import full_metrics, value_days
from cryptai_pipelines.orchestration.chain.publish import files_of, publish
from cryptai_pipelines.orchestration.chain.signals import read_inputs
from cryptai_pipelines.orchestration.chain.staleness import blocks
from cryptai_pipelines.orchestration.chain.steps import holding
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import backtests, market_data, state, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import check_lease
from cryptai_pipelines.strategy.parameters import StrategyParameters
from cryptai_pipelines.strategy.signals import find_strategy


def run_trial(
    database: Database,
    settings: Settings,
    series: Series,
    strategy_name: str,
    rules: StrategyParameters,
    engine: EngineParameters,
    window: Interval | None,
    run_id: str,
    on_progress: OnProgress,
) -> dict[str, Any]:
    """Simulate, store and publish; the stored result with its metrics and the report's path. Result, trades and days are one
    transaction.

    `BadInput` for an unknown strategy; `CryptaiError` when the series has no bars, or none in the window.
    """
    trial = Trial("trial", find_strategy(strategy_name), rules, engine, window)
    if market_data.span(database, series) is None:
        raise _no_bars(series)
    with holding(database, settings.exchange, settings, run_id)(series) as lease:
        technical_indicators.bring_up_to_date(database, lease, DEFAULT_SET, on_progress=on_progress)
        made = state.read_state(database, technical_indicators.ASSET, series)
        span = _span(database, series, made, window)

        def tell(done_ms: int, bars: int) -> None:
            on_progress(Progress("backtest", series, done_ms - span.start_ms, span.end_ms - span.start_ms, bars))

        after, closed = simulate_blocks(start(engine), _inputs(database, series, trial, span), tell)
        result = settled_result(trial, series, after, closed, made.revision, run_id)
        nothing = backtests.no_days()
        days = value_days(database, trial, series, result.trades, nothing, span)
        header = replace(result.header, metrics=full_metrics(database, result.header, after, days.values))
        with database.transaction() as cursor:
            check_lease(cursor, lease)
            identity = backtests.save_backtest(cursor, header)
            backtests.replace_trades(cursor, identity, 0, result.trades)
            backtests.replace_daily(cursor, identity, 0, days.new)
    files = files_of(settings.home.resolve() / "reports", series, f"{trial.strategy.name}_trial_{identity}")
    publish(database, settings.exchange, series, identity, header, settle(after)[0], files, span)
    return {**stored_result(database, settings.exchange, identity, header), "report": str(files.report)}


def stored_result(database: Database, venue: str, identity: int, header: backtests.BacktestHeader) -> dict[str, Any]:
    """A result as plain data, for whoever shows it."""
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
        "config": dict(header.config),
        "metrics": {name: _counted(name, value) for name, value in header.metrics.items()},
    }


def _counted(name: str, value: float | None) -> float | int | None:
    """Counts are whole numbers to whoever reads them as JSON."""
    return int(value) if value is not None and name in ("trade_count", "ambiguous_count", "metrics_version") else value


def _no_bars(series: Series) -> CryptaiError:
    how = f"cryptai sync {series.symbol} --timeframe {series.timeframe.code}"
    return CryptaiError(f"no validated bars of {series} are stored; fetch them with: {how}")


def _span(database: Database, series: Series, made: state.SeriesState | None, window: Interval | None) -> Interval:
    """What can be simulated: the bars that have their indicators, within `window`."""
    if made is None or made.first_ts is None or made.last_ts is None:
        raise _no_bars(series)
    whole = Interval(made.first_ts, made.last_ts + series.timeframe.ms)
    if window is None:
        return whole
    span = Interval(max(window.start_ms, whole.start_ms), min(window.end_ms, whole.end_ms))
    if not len(market_data.read_opens(database, series, *span)):
        raise BadInput(f"no bars of {series} are stored between --start and --end; stored: {_told(whole)}")
    return span


def _told(span: Interval) -> str:
    return f"{format_time(span.start_ms)} to {format_time(span.end_ms)}"


def _inputs(database: Database, series: Series, trial: Trial, span: Interval) -> Iterator[tuple[int, BarArrays]]:
    for interval in blocks(*span, series.timeframe):
        bars, indicators = read_inputs(database, series, trial.strategy, interval)
        signals = trial.strategy.signals(bars, indicators, series.timeframe, trial.rules, interval.start_ms)
        yield interval.end_ms, bar_arrays(bars[index_ms(bars.index) >= interval.start_ms], signals["entry"])
