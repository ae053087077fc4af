"""The chain as a list of steps with everything they need filled in from the settings."""

from __future__ import annotations

from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.indicators.registry import DEFAULT_SET
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain import (
    backtest_results,
    performance_metrics,
    raw_ohlcv,
    signals,
    technical_indicators,
    validated_bars,
)
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, ignore_progress
from cryptai_pipelines.orchestration.chain.walk import Step
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.parameters import StrategyParameters
from cryptai_pipelines.strategy.signals import STRATEGY, find_strategy


def data_steps(
    database: Database,
    source: BarSource,
    settings: Settings,
    run_id: str,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
) -> list[Step]:
    """From the venue to validated bars."""
    policy = raw_ohlcv.FetchPolicy(settings.overlap_bars, round(settings.grace_seconds * 1000), settings.lease_seconds)
    return [
        Step(
            raw_ohlcv.ASSET,
            lambda series: raw_ohlcv.bring_up_to_date(
                database, source, series, policy, run_id=run_id, window=window, on_progress=on_progress
            ),
        ),
        Step(
            validated_bars.ASSET,
            lambda series: validated_bars.bring_up_to_date(database, source.name, series, on_progress=on_progress),
        ),
    ]


def research_steps(
    database: Database, venue: str, settings: Settings, run_id: str, on_progress: OnProgress = ignore_progress
) -> list[Step]:
    """From validated bars to performance metrics, with the default strategy."""
    strategy, parameters, trial = find_strategy(STRATEGY), strategy_parameters(settings), default_trial(settings)
    reports = settings.home.resolve() / "reports"
    return [
        Step(
            technical_indicators.ASSET,
            lambda series: technical_indicators.bring_up_to_date(database, series, DEFAULT_SET, on_progress=on_progress),
        ),
        Step(
            signals.ASSET,
            lambda series: signals.bring_up_to_date(database, series, strategy, parameters, on_progress=on_progress),
        ),
        Step(
            backtest_results.ASSET,
            lambda series: backtest_results.bring_up_to_date(
                database, series, trial, run_id=run_id, on_progress=on_progress
            ),
        ),
        Step(
            performance_metrics.ASSET,
            lambda series: performance_metrics.bring_up_to_date(
                database, venue, series, trial, reports, on_progress=on_progress
            ),
        ),
    ]


def chain_steps(
    database: Database,
    source: BarSource,
    settings: Settings,
    run_id: str,
    window: Interval | None = None,
    on_progress: OnProgress = ignore_progress,
) -> list[Step]:
    """The whole chain."""
    return [
        *data_steps(database, source, settings, run_id, window, on_progress),
        *research_steps(database, source.name, settings, run_id, on_progress),
    ]


def default_trial(settings: Settings) -> backtest_results.Trial:
    """The trial that the schedule keeps up to date: the default strategy with the settings' parameters."""
    version = signals.signals_version(find_strategy(STRATEGY), strategy_parameters(settings))
    return backtest_results.Trial(STRATEGY, version, engine_parameters(settings))


def strategy_parameters(settings: Settings) -> StrategyParameters:
    """The strategy's parameters as the settings have them."""
    return StrategyParameters(
        take_profit=settings.take_profit,
        stop_loss=settings.stop_loss,
        min_risk_reward=settings.min_risk_reward,
        fee_rate=settings.fee_rate,
        slippage_bps=settings.slippage_bps,
    )


def engine_parameters(settings: Settings) -> EngineParameters:
    """The engine's parameters as the settings have them."""
    return EngineParameters(
        take_profit=settings.take_profit,
        stop_loss=settings.stop_loss,
        fee_rate=settings.fee_rate,
        slippage_bps=settings.slippage_bps,
        initial_capital=settings.initial_capital,
    )
