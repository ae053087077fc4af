"""What a person's trial reads of a series: the validated bars with their stored indicators, or the bars as they were known at a
moment of the past. What is made of them is `trial`'s affair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.indicators.registry import indicator_set
from cryptai_pipelines.indicators.spec import IndicatorSpec
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import technical_indicators, validated_bars
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.bar_history import known_span, nothing_known
from cryptai_pipelines.orchestration.chain.known_then import signals_known_then
from cryptai_pipelines.orchestration.chain.outcome import OnProgress
from cryptai_pipelines.orchestration.chain.performance_metrics import ReadCloses, count_filled, stored_closes
from cryptai_pipelines.orchestration.chain.signals import read_inputs, signals_of
from cryptai_pipelines.orchestration.chain.staleness import blocks
from cryptai_pipelines.storage import market_data, state
from cryptai_pipelines.storage.backtests import BacktestHeader
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease


@dataclass(frozen=True)
class TrialInputs:
    """`whole`: the series as far as it can be simulated. `span`: what of that the trial's window leaves. `revision`: that of
    the asset which the inputs are made from. `blocks`: the bars of `span` with their entries in parts, each with its end (epoch
    ms); the functions may be called once these have been read."""

    whole: Interval
    span: Interval
    revision: int
    blocks: Iterator[tuple[int, BarArrays]]
    read_closes: ReadCloses
    read_daily_closes: Callable[[], pd.Series]
    count_filled: Callable[[BacktestHeader], int]


def read_stored(
    database: Database, lease: SeriesLease, trial: Trial, specs: Sequence[IndicatorSpec], on_progress: OnProgress
) -> TrialInputs:
    """The validated bars and their indicators `specs`, which are brought up to date first. `CryptaiError` when there are none;
    `BadInput` when the strategy reads an indicator that is not among them."""
    series = lease.series
    _require_stored(trial, specs)
    technical_indicators.bring_up_to_date(database, lease, specs, on_progress=on_progress)
    made = state.read_state(database, technical_indicators.ASSET, series)
    if made is None or made.first_ts is None or made.last_ts is None:
        raise no_bars(series)
    whole = Interval(made.first_ts, made.last_ts + series.timeframe.ms)
    span = _within(whole, trial.window)

    def read_daily_closes() -> pd.Series:
        closes = market_data.read_daily_closes(database, series)
        days = index_ms(closes.index)
        return closes[(days >= Timeframe.D1.floor(span.start_ms)) & (days < span.end_ms)]

    return TrialInputs(
        whole,
        span,
        made.revision,
        _stored_blocks(database, series, trial, span),
        stored_closes(database, series),
        read_daily_closes,
        partial(count_filled, database),
    )


def _require_stored(trial: Trial, specs: Sequence[IndicatorSpec]) -> None:
    stored = {spec.name for spec in specs}
    for spec in indicator_set(trial.strategy.indicators(trial.rules)):
        if spec.name not in stored:
            how = f"add it to CRYPTAI_INDICATORS, as in CRYPTAI_INDICATORS=default,{spec.name}"
            raise BadInput(f"strategy {trial.strategy.name!r} reads {spec.name!r}, which is not stored; {how}")


def _stored_blocks(database: Database, series: Series, trial: Trial, span: Interval) -> Iterator[tuple[int, BarArrays]]:
    for interval in blocks(*span, series.timeframe):
        bars, indicators = read_inputs(database, series, trial.strategy, trial.rules, interval)
        signals = signals_of(series, trial.strategy, trial.rules, bars, indicators, interval.start_ms)
        yield interval.end_ms, bar_arrays(bars[index_ms(bars.index) >= interval.start_ms], signals["entry"])


def read_known_then(database: Database, lease: SeriesLease, trial: Trial, known_at_ms: int) -> TrialInputs:
    """The bars as they were known at `known_at_ms` with what is computed of them; of each day its last bar is kept in memory.
    `CryptaiError` when nothing was known then."""
    series, judged = lease.series, state.read_state(database, validated_bars.ASSET, lease.series)
    whole = known_span(database, series, known_at_ms)
    if judged is None or whole is None:
        raise nothing_known(database, series, known_at_ms) or no_bars(series)
    span = _within(whole, trial.window)
    day_ends: list[pd.Series] = []
    filled: list[int] = []

    def read_blocks() -> Iterator[tuple[int, BarArrays]]:
        for bars, signals in signals_known_then(database, series, trial, known_at_ms, span.end_ms):
            opens = index_ms(bars.index)
            inside = (opens >= span.start_ms) & (opens < span.end_ms)
            if inside.any():
                chosen = bars[inside]
                day_ends.append(chosen["close"].groupby(chosen.index.floor("D")).tail(1))
                filled.append(int(chosen["is_filled"].sum()))
                yield int(opens[inside][-1]) + series.timeframe.ms, bar_arrays(chosen, signals["entry"][inside])

    def read_daily_closes() -> pd.Series:
        closes = pd.concat(day_ends)
        return closes.groupby(closes.index.floor("D")).last().rename_axis("day")

    return TrialInputs(
        whole, span, judged.revision, read_blocks(), lambda _: iter(day_ends), read_daily_closes, lambda _: sum(filled)
    )


def no_bars(series: Series) -> CryptaiError:
    """Nothing is stored of `series`, and how to change that."""
    how = f"cryptai sync {series.symbol} --timeframe {series.timeframe.code}"
    return CryptaiError(f"no validated bars of {series} are stored; fetch them with: {how}")


def _within(whole: Interval, window: Interval | None) -> Interval:
    return whole if window is None else clipped(window, whole)
