"""`performance_metrics`: the portfolio day by day, the metrics, a picture and a report. Days are told from trades and closes,
not from the engine, so that a check can hold the two against each other. Formulas live in `backtest`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import performance_rows
from cryptai_pipelines.backtest.engine import EngineState, is_readable, settle
from cryptai_pipelines.backtest.fingerprint import trades_sha256
from cryptai_pipelines.backtest.metrics import METRICS_VERSION, summary
from cryptai_pipelines.backtest.valuation import equity_at_closes
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain import backtest_results
from cryptai_pipelines.orchestration.chain.assessment import assess, stored_gates
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, gates_markdown, ignore_progress
from cryptai_pipelines.orchestration.chain.publish import Published, files_of, publish
from cryptai_pipelines.orchestration.chain.staleness import blocks, find_stale, made_from, remember
from cryptai_pipelines.storage import backtests, market_data, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease

ASSET = "performance_metrics"
_SHOWN = ("total_return", "buy_and_hold_return", "sharpe", "max_drawdown", "win_rate", "profit_factor", "fees_paid")


def bring_up_to_date(
    database: Database, lease: SeriesLease, trial: Trial, reports: Path, *, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Value the days that changed bars or trades touch and renew the metrics, in one transaction; publish picture and report
    when a day or a closed trade is new (an hourly tick of many series must not render as many reports)."""
    series = lease.series
    found = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    made_of = made_from(lineage_version(ASSET), {"metrics": METRICS_VERSION})
    stale = find_stale(database, ASSET, backtest_results.ASSET, series, made_of)
    made = state.read_state(database, backtest_results.ASSET, series)
    if found is None or made is None or made.state is None or not is_readable(made.state):
        return Outcome(ASSET, series, 0, 0, 0)
    engine, files = EngineState.from_bytes(made.state), files_of(reports, series, trial.strategy.name)
    published, written = False, Change()
    if stale is not None:
        on_progress(Progress(ASSET, series, 0, 1, 0))
        identity, header = found
        begin = stale.source.first_ts if stale.anew else stale.start_ms
        trades, stored = backtests.read_trades(database, identity), backtests.read_daily(database, identity)
        days = value_days(
            stored_closes(database, series), series.timeframe, trial, trades, stored, Interval(begin, stale.end_ms)
        )
        filled = count_filled(database, header)
        with database.transaction() as cursor:
            check_lease(cursor, lease)
            written = backtests.replace_daily(cursor, identity, Timeframe.D1.floor(begin), days.new)
            backtests.save_backtest(cursor, replace(header, metrics=full_metrics(header, engine, days.values, filled)))
        news = _news(header, trades)
        if news != (stale.own.state if stale.own else None) or not files.exist:
            _publish(database, lease, trial, engine, files)
            published = True
        with database.transaction() as cursor:
            check_lease(cursor, lease)
            remember(cursor, replace(stale, start_ms=begin), news)
        on_progress(Progress(ASSET, series, 1, 1, header.bars))
    elif not files.exist:
        _publish(database, lease, trial, engine, files)
        published = True
    return _outcome(database, series, trial, files, written, published)


def _publish(database: Database, lease: SeriesLease, trial: Trial, engine: EngineState, files: Published) -> None:
    series = lease.series
    identity, header = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    prices = market_data.read_daily_closes(database, series)
    assessment = assess(database, identity, header, prices, stored_gates(database, trial, series))
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        backtests.save_review(cursor, identity, *assessment.told)
    publish(database, lease.source, identity, header, settle(engine)[0], prices, assessment, files)


def _news(header: backtests.BacktestHeader, trades: pd.DataFrame) -> bytes:
    """What a report of these results would show for good: its last day and its closed trades, not the position of the hour."""
    closed = trades_sha256(trades[~trades["is_open"]])
    return f"{header.last_ts // Timeframe.D1.ms}:{closed}".encode()


@dataclass(frozen=True)
class Days:
    """`new`: rows of `backtest.daily` that replace all stored ones from their first day on. `values`: total value of every day
    of the history, stored and new."""

    new: pd.DataFrame
    values: np.ndarray


ReadCloses = Callable[[Interval], Iterable[pd.Series]]
"""Closes of the bars of a span in consecutive parts: float64, indexed by UTC open time. Of a day its last bar is enough."""


def stored_closes(database: Database, series: Series) -> ReadCloses:
    """Those of the validated bars, block by block: no more than a block of bars is held."""

    def read(within: Interval) -> Iterator[pd.Series]:
        for interval in blocks(*within, series.timeframe):
            yield market_data.read(database, series, *interval, columns=("close",))["close"]

    return read


def value_days(
    read_closes: ReadCloses,
    timeframe: Timeframe,
    trial: Trial,
    trades: pd.DataFrame,
    stored: pd.DataFrame,
    within: Interval,
) -> Days:
    """The days from that of `within.start_ms` on. `trades`: all of the result; `stored`: its days so far, as read."""
    start = Timeframe.D1.floor(within.start_ms)
    before = stored[stored.index < pd.Timestamp(start, unit="ms", tz="UTC")]
    equity = pd.concat([_day_ends(closes, trades, trial) for closes in read_closes(Interval(start, within.end_ms))])
    capital, yearly = trial.engine.initial_capital, timeframe.values_per_year
    new = performance_rows(equity, trades, capital, before, periods_per_year=yearly)
    return Days(new, np.concatenate((before["total_value"].to_numpy(), new["total_value"].to_numpy())))


def _day_ends(closes: pd.Series, trades: pd.DataFrame, trial: Trial) -> pd.Series:
    """Equity at the last bar of every day."""
    equity = equity_at_closes(trades, closes, trial.engine.initial_capital, trial.engine.fee_rate)
    return equity.groupby(equity.index.floor("D")).tail(1)


def full_metrics(
    header: backtests.BacktestHeader, engine: EngineState, values: np.ndarray, filled: int
) -> dict[str, float | int | None]:
    """The header's metrics, those of `backtest.metrics` over daily values, and the share of the simulated bars that are
    among the `filled` ones."""
    settled = settle(engine)[0]
    optimistic = float(settled.books[1]["cash"]) / settled.parameters.initial_capital - 1
    metrics = summary(settled, values, header.series.timeframe.values_per_year)
    share = filled / header.bars if header.bars else None
    return {**header.metrics, **metrics, "optimistic_total_return": optimistic, "filled_share": share}


def count_filled(database: Database, header: backtests.BacktestHeader) -> int:
    """How many of the bars that were simulated are filled ones, by the bars that are stored now."""
    if header.first_ts is None or header.last_ts is None:
        return 0
    return market_data.count_filled(database, header.series, header.first_ts, header.last_ts + 1)


def _outcome(database: Database, series: Series, trial: Trial, files: Published, written: Change, published: bool) -> Outcome:
    identity, header = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    own = state.read_state(database, ASSET, series)
    facts = {name: header.metrics.get(name) for name in _SHOWN}
    facts["gates"] = gates_markdown(backtests.read_gates(database, identity))
    if files.exist:
        facts |= {"report": str(files.report), "picture": str(files.picture), "report_is_new": published}
    days = backtests.count_days(database, identity)
    return Outcome(ASSET, series, written.rows, days, own.revision if own else 0, facts)
