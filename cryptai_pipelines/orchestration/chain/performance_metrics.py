"""`performance_metrics`: the portfolio day by day, the metrics, a picture and a report. Days are told from trades and closes,
not from the engine, so that a check can hold the two against each other. Formulas live in `backtest`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import performance_rows
from cryptai_pipelines.backtest.drill_down import counts_among
from cryptai_pipelines.backtest.engine import EngineState, is_readable, settle
from cryptai_pipelines.backtest.fingerprint import trades_sha256
from cryptai_pipelines.backtest.metrics import METRICS_VERSION, summary
from cryptai_pipelines.backtest.report import REPORT_VERSION
from cryptai_pipelines.backtest.review import REVIEW_VERSION
from cryptai_pipelines.backtest.valuation import equity_at_closes
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain import backtest_results
from cryptai_pipelines.orchestration.chain.assessment import assess, stored_gates
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, gates_markdown, ignore_progress
from cryptai_pipelines.orchestration.chain.publish import Published, files_of, render_files
from cryptai_pipelines.orchestration.chain.staleness import Stale, blocks, find_stale, made_from, remember
from cryptai_pipelines.storage import backtests, market_data, state, sweeps
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease

ASSET = "performance_metrics"
_AND = b" "
_SHOWN = ("total_return", "buy_and_hold_return", "sharpe", "max_drawdown", "win_rate", "profit_factor", "fees_paid")


def bring_up_to_date(
    database: Database, lease: SeriesLease, trial: Trial, reports: Path, *, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Value the days that changed bars or trades touch and renew the metrics, in one transaction; judge the result and publish
    picture and report when they would show something new for good, or when there are more trials to judge it among (an hourly
    tick of many series must not render as many reports).

    `CryptaiError` when what is stored is the result of another configuration.
    """
    series = lease.series
    found = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    made_of = made_from(lineage_version(ASSET), {"metrics": METRICS_VERSION})
    stale = find_stale(database, ASSET, backtest_results.ASSET, series, made_of)
    made = state.read_state(database, backtest_results.ASSET, series)
    if made is None or made.state is None or not is_readable(made.state):
        return Outcome(ASSET, series, 0, 0, 0)
    if found is None or backtest_results.of_others(database, series, trial):
        raise CryptaiError(
            f"the stored result of {series} is not of these parameters and market rules; materialize backtest_results first"
        )
    engine, files = EngineState.from_bytes(made.state), files_of(reports, series, trial.strategy.name)
    own, written = stale.own if stale else state.read_state(database, ASSET, series), Change()
    before = (own.state if own else None) or b""
    shown, _, _ = before.partition(_AND)
    if stale is not None:
        on_progress(Progress(ASSET, series, 0, 1, 0))
        written, shown = _value(database, lease, trial, found, engine, stale)
    now = shown + _AND + _judged_by(database, trial, series)
    published = now != before or not files.exist
    if stale is not None or published:
        _conclude(database, lease, trial, engine, now, stale, files if published else None)
    if stale is not None:
        on_progress(Progress(ASSET, series, 1, 1, found[1].bars))
    return _outcome(database, series, trial, files, written, published)


def _value(
    database: Database,
    lease: SeriesLease,
    trial: Trial,
    found: tuple[int, backtests.BacktestHeader],
    engine: EngineState,
    stale: Stale,
) -> tuple[Change, bytes]:
    """Renew the days of the stored result `found` from `stale.start_ms` on and its metrics; what was written and what a report
    now shows (`_shown`)."""
    series, (identity, header) = lease.series, found
    trades, stored = backtests.read_trades(database, identity), backtests.read_daily(database, identity)
    within = Interval(stale.start_ms, stale.end_ms)
    days = value_days(stored_closes(database, series), series.timeframe, trial, trades, stored, within)
    filled = count_filled(database, header)
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        written = backtests.replace_daily(cursor, identity, Timeframe.D1.floor(stale.start_ms), days.new)
        backtests.save_backtest(cursor, replace(header, metrics=full_metrics(header, engine, days.values, filled)))
    return written, _shown(stale.version, header, trades, days.values)


def _conclude(
    database: Database,
    lease: SeriesLease,
    trial: Trial,
    engine: EngineState,
    now: bytes,
    stale: Stale | None,
    files: Published | None,
) -> None:
    """Judge the result and publish it, if `files` are given, and remember what of; one transaction at the end."""
    series = lease.series
    if files is not None:
        identity, header = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
        prices = market_data.read_daily_closes(database, series)
        assessment = assess(database, identity, header, prices, stored_gates(database, trial, series))
        rendered = render_files(database, lease.source, identity, header, settle(engine)[0], prices, assessment)
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        if files is not None:
            backtests.save_review(cursor, identity, *assessment.told)
            files.replace(rendered)
        if stale is not None:
            remember(cursor, stale, now)
        else:
            state.write_own_state(cursor, ASSET, series, now)


def _shown(version: str, header: backtests.BacktestHeader, trades: pd.DataFrame, values: np.ndarray) -> bytes:
    """A short text of what a report of this result shows for good: what it is made of, the days that are over, the closed
    trades, the bars that were told apart; not the position of the hour."""
    told = [
        version,
        header.last_ts // Timeframe.D1.ms,
        hashlib.sha256(values[:-1].tobytes()).hexdigest(),
        trades_sha256(trades[~trades["is_open"]]),
        header.ambiguous_count,
        counts_among(header.metrics),
    ]
    return hashlib.sha256(repr(told).encode()).hexdigest().encode()


def _judged_by(database: Database, trial: Trial, series: Series) -> bytes:
    """By which rules, and among how much that was tried, a result is judged now."""
    tried = sweeps.count_tried(database, trial.strategy.name, series)
    return f"{REVIEW_VERSION}.{REPORT_VERSION}:{tried}".encode()


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
