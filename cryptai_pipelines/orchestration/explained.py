"""Why a strategy decided as it did at a bar: of the scheduled trial as it is stored, of any other, and of one that the schedule
has not come to yet, as it is computed on the bars that are stored. The words are `strategy.explanation`'s."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import signals
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.bar_history import read_bars
from cryptai_pipelines.orchestration.chain.decided import decided
from cryptai_pipelines.orchestration.chain.trial_inputs import no_bars
from cryptai_pipelines.storage import derived, market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.explanation import explain, with_undeclared


def explain_bar(database: Database, series: Series, trial: Trial, at_ms: int) -> dict[str, Any]:
    """`explanation.explain` of the bar that covers `at_ms`. Signals that are stored from before the parameters of the schedule
    became others are not explained with these: the decision is computed. `CryptaiError` when the bar is not stored, or, of the
    scheduled trial, when its signal is not."""
    stored = market_data.span(database, series)
    if stored is None:
        raise no_bars(series)
    at = series.timeframe.floor(at_ms)
    as_stored = trial.kind == "scheduled" and not signals.of_others(database, series, trial.strategy, trial.rules)
    row = _stored(database, series, trial, at) if as_stored else _computed(database, series, trial, at)
    if row is None:
        within = f"{format_time(stored.start_ms)} to {format_time(stored.end_ms)}"
        what = "signal" if as_stored else "bar"
        raise CryptaiError(f"no {what} of {series} is stored at {format_time(at)}; bars are stored from {within}")
    # Of what it does not declare nothing is stored.
    strategy = trial.strategy if as_stored else with_undeclared(trial.strategy, row)
    return explain(row.iloc[-1], strategy, trial.rules)


def _stored(database: Database, series: Series, trial: Trial, at_ms: int) -> pd.DataFrame | None:
    keys = {"strategy": trial.strategy.name, "symbol": series.symbol, "timeframe": series.timeframe.code}
    rows = derived.read(database, signals.ASSET, keys, at_ms, at_ms + 1)
    return rows if len(rows) else None


def _computed(database: Database, series: Series, trial: Trial, at_ms: int) -> pd.DataFrame | None:
    bars = read_bars(database, series, Interval(0, at_ms + series.timeframe.ms))
    row = None
    for _, rows in decided(series, trial.strategy, trial.rules, bars):
        row = rows.tail(1)
    return row if row is not None and int(index_ms(row.index)[0]) == at_ms else None
