"""`performance_metrics`: the portfolio day by day, the metrics, a picture and a report. Days are told from trades and closes,
not from the engine, so that a check can hold the two against each other. Formulas live in `backtest`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import daily_rows
from cryptai_pipelines.backtest.engine import EngineState, settle
from cryptai_pipelines.backtest.metrics import DAYS_PER_YEAR, METRICS_VERSION, summary
from cryptai_pipelines.backtest.valuation import equity_at_closes
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain import backtest_results
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.derive import BARS
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.publish import Published, files_of, publish
from cryptai_pipelines.orchestration.chain.staleness import blocks, made_from, stale_from
from cryptai_pipelines.storage import backtests, market_data, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database

ASSET = "performance_metrics"
_SHOWN = ("total_return", "buy_and_hold_return", "sharpe", "max_drawdown", "win_rate", "profit_factor", "fees_paid")


def bring_up_to_date(
    database: Database,
    venue: str,
    series: Series,
    trial: Trial,
    reports: Path,
    *,
    on_progress: OnProgress = ignore_progress,
) -> Outcome:
    """Value the days that changed bars or trades touch and renew the metrics, in one transaction; publish picture and report
    when a day or a trade is new (an hourly tick of many series must not render as many reports)."""
    bars = state.read_state(database, BARS, series)
    made = state.read_state(database, backtest_results.ASSET, series)
    found = backtests.read_backtest(database, trial.strategy, series, trial.config)
    files = files_of(reports, series, trial.strategy)
    if bars is None or made is None or made.state is None or found is None:
        return Outcome(ASSET, series, 0, 0, 0)
    version = made_from(lineage_version(ASSET), {**trial.config, "metrics": METRICS_VERSION})
    stale = stale_from(database, ASSET, series, BARS, version)
    written, engine = Change(), EngineState.from_bytes(made.state)
    if stale is not None:
        on_progress(Progress(ASSET, series, 0, 1, 0))
        own = state.read_state(database, ASSET, series)
        restarted = own is None or own.code_version != version or stale <= own.last_ts
        first = bars.first_ts if restarted else stale
        written = write_days(database, found[0], found[1], series, trial, engine, first, bars.last_ts + 1)
        seen = _publish_news(database, venue, series, trial, engine, files, None if own is None else own.state)
        _remember(database, series, bars, version, replace(written, first_ts=first, last_ts=bars.last_ts), seen)
        on_progress(Progress(ASSET, series, 1, 1, found[1].bars))
    elif not files.exist:
        publish(database, venue, series, *found, settle(engine)[0], files)
    return _outcome(database, series, trial, files, written)


def _publish_news(
    database: Database,
    venue: str,
    series: Series,
    trial: Trial,
    engine: EngineState,
    files: Published,
    seen: bytes | None,
) -> bytes:
    """Publish unless the files show these days and trades already; what they show now."""
    identity, header = backtests.read_backtest(database, trial.strategy, series, trial.config)
    now = f"{identity}:{header.last_ts // Timeframe.D1.ms}:{header.metrics.get('trade_count')}".encode()
    if now != seen or not files.exist:
        publish(database, venue, series, identity, header, settle(engine)[0], files)
    return now


def _remember(
    database: Database, series: Series, bars: state.SeriesState, version: str, written: Change, seen: bytes
) -> None:
    with database.transaction() as cursor:
        state.record_change(cursor, ASSET, series, written)
        state.write_state(
            cursor,
            ASSET,
            series,
            input_revision=bars.revision,
            code_version=version,
            first_ts=bars.first_ts,
            last_ts=bars.last_ts,
            state=seen,
        )


def write_days(
    database: Database,
    identity: int,
    header: backtests.BacktestHeader,
    series: Series,
    trial: Trial,
    engine: EngineState,
    from_ms: int,
    end_ms: int,
) -> Change:
    """Value every day from that of `from_ms` on and renew the metrics, in one transaction."""
    stored = backtests.read_daily(database, identity)
    start = Timeframe.D1.floor(from_ms)
    before = stored[stored.index < pd.Timestamp(start, unit="ms", tz="UTC")]
    equity = _day_ends(database, identity, series, trial, Interval(start, end_ms))
    value, peak = (None, None) if before.empty else (before["total_value"].iloc[-1], before["total_value"].max())
    new = daily_rows(equity, trial.parameters.initial_capital, value, peak)
    values = np.concatenate((before["total_value"].to_numpy(), new["total_value"].to_numpy()))
    with database.transaction() as cursor:
        change = backtests.upsert_daily(cursor, identity, new)
        backtests.save_backtest(cursor, replace(header, metrics=_metrics(header, engine, values)))
    return change


def _day_ends(database: Database, identity: int, series: Series, trial: Trial, within: Interval) -> pd.Series:
    """Equity at the last bar of every day of `within`, block by block: no more than a block of bars is held."""
    trades = backtests.read_trades(database, identity)
    parts = []
    for interval in blocks(*within, series.timeframe):
        closes = market_data.read(database, series, *interval)["close"]
        equity = equity_at_closes(trades, closes, trial.parameters.initial_capital, trial.parameters.fee_rate)
        parts.append(equity.groupby(equity.index.floor("D")).tail(1))
    return pd.concat(parts)


def _metrics(header: backtests.BacktestHeader, engine: EngineState, values: np.ndarray) -> dict[str, float | int | None]:
    settled = settle(engine)[0]
    optimistic = float(settled.books[1]["cash"]) / settled.parameters.initial_capital - 1
    return {**header.metrics, **summary(settled, values, DAYS_PER_YEAR), "optimistic_total_return": optimistic}


def _outcome(database: Database, series: Series, trial: Trial, files: Published, written: Change) -> Outcome:
    identity, header = backtests.read_backtest(database, trial.strategy, series, trial.config)
    own = state.read_state(database, ASSET, series)
    facts = {name: header.metrics.get(name) for name in _SHOWN}
    if files.exist:
        facts |= {"report": str(files.report), "picture": str(files.picture)}
    days = len(backtests.read_daily(database, identity))
    return Outcome(ASSET, series, written.rows, days, own.revision if own else 0, facts)
