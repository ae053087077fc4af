"""One backtest with parameters of a person's choice, on stored bars: computed, logged as a trial and published. The scheduled
one, which goes on bar by bar with the settings' parameters, is `chain.backtest_results`."""

from __future__ import annotations

from collections.abc import Iterator
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
from cryptai_pipelines.orchestration.chain.backtest_results import Trial, save_result, simulate_blocks
from cryptai_pipelines.orchestration.chain.derive import BARS
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Progress
from cryptai_pipelines.orchestration.chain.performance_metrics import write_days
from cryptai_pipelines.orchestration.chain.publish import files_of, publish
from cryptai_pipelines.orchestration.chain.signals import read_inputs, signals_version
from cryptai_pipelines.orchestration.chain.staleness import blocks
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage import backtests, market_data, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.parameters import StrategyParameters
from cryptai_pipelines.strategy.signals import Strategy, find_strategy


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
    """Simulate, store and publish; the stored result with its metrics and the report's path.

    `BadInput` for an unknown strategy; `CryptaiError` when the series has no bars, or none in the window.
    """
    strategy = find_strategy(strategy_name)
    span = _span(database, series, window)
    technical_indicators.bring_up_to_date(database, series, DEFAULT_SET, on_progress=on_progress)
    trial = Trial(strategy.name, signals_version(strategy, rules), engine, window)

    def tell(done_ms: int, bars: int) -> None:
        on_progress(Progress("backtest", series, done_ms - span.start_ms, span.end_ms - span.start_ms, bars))

    before = start(engine)
    after, closed = simulate_blocks(before, _inputs(database, series, strategy, rules, span), tell)
    revision = state.read_state(database, BARS, series).revision
    with database.transaction() as cursor:
        save_result(cursor, series, trial, before, after, closed, revision, run_id)
    identity, header = backtests.read_backtest(database, trial.strategy, series, trial.config)
    write_days(database, identity, header, series, trial, after, span.start_ms, span.end_ms)
    identity, header = backtests.read_backtest(database, trial.strategy, series, trial.config)
    files = files_of(settings.home.resolve() / "reports", series, f"{trial.strategy}_trial_{identity}")
    publish(database, settings.exchange, series, identity, header, settle(after)[0], files)
    return {
        "backtest_id": identity,
        "strategy": header.strategy,
        "symbol": series.symbol,
        "timeframe": series.timeframe.code,
        "bars": header.bars,
        "trade_count": header.trade_count,
        "ambiguous_count": header.ambiguous_count,
        "trades_sha256": header.trades_sha256,
        "metrics": dict(header.metrics),
        "report": str(files.report),
    }


def _span(database: Database, series: Series, window: Interval | None) -> Interval:
    stored = market_data.span(database, series)
    if stored is None:
        raise CryptaiError(
            f"no bars of {series} are stored; fetch them with: cryptai sync {series.symbol} --timeframe {series.timeframe.code}"
        )
    whole = Interval(stored.start_ms, stored.end_ms + series.timeframe.ms)
    if window is None:
        return whole
    span = Interval(max(window.start_ms, whole.start_ms), min(window.end_ms, whole.end_ms))
    if not len(market_data.read_opens(database, series, *span)):
        raise BadInput(f"no bars of {series} are stored between --start and --end; stored: {_told(whole)}")
    return span


def _told(span: Interval) -> str:
    return f"{format_time(span.start_ms)} to {format_time(span.end_ms)}"


def _inputs(
    database: Database, series: Series, strategy: Strategy, rules: StrategyParameters, span: Interval
) -> Iterator[tuple[int, BarArrays]]:
    for interval in blocks(*span, series.timeframe):
        bars, indicators = read_inputs(database, series, strategy, interval)
        signals = strategy.signals(bars, indicators, series.timeframe, rules, interval.start_ms)
        yield interval.end_ms, bar_arrays(bars[index_ms(bars.index) >= interval.start_ms], signals["entry"])
