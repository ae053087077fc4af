"""What a person's trial reads of a series: the validated bars, as they are or as they were known at a moment of the past, with
what its strategy decides on them. What is made of them is `trial`'s affair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from cryptai_pipelines.backtest.inputs import decision_arrays
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.market.bars import BAR_COLUMNS, index_ms
from cryptai_pipelines.market.clock import format_moment, format_time
from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.intervals import Interval, clipped
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.assessment import GateEvidence, gates_of
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.bar_history import known_span, nothing_known, read_bars
from cryptai_pipelines.orchestration.chain.decided import decided
from cryptai_pipelines.storage import state
from cryptai_pipelines.storage.database import Database


@dataclass(frozen=True)
class TrialInputs:
    """`whole`: the series as far as it can be simulated. `span`: what of that the trial's window leaves. `revision`: that of
    the validated bars. `blocks`: the bars of `span` with what is decided on them, in parts, each with its end (epoch ms). While
    they are read, `day_ends` gets the closes at the last bar of each day of a part, `filled` the number of its filled bars,
    `gates` what its gates said."""

    whole: Interval
    span: Interval
    revision: int
    blocks: Iterator[tuple[int, BarArrays]]
    day_ends: list[pd.Series]
    filled: list[int]
    gates: list[GateEvidence]

    def daily_closes(self) -> pd.Series:
        """A close a day over what was read, indexed by `day`."""
        closes = pd.concat(self.day_ends)
        return closes.groupby(closes.index.floor("D")).last().rename_axis("day")


def read_inputs(database: Database, series: Series, trial: Trial) -> TrialInputs:
    """The bars of the trial's window and what its strategy decides, which is computed from the first bar of the series on.
    `CryptaiError` when nothing is stored, or was not known at the trial's moment; `BadInput` for funding of other times."""
    judged = state.read_state(database, validated_bars.ASSET, series)
    whole = _whole(database, series, trial, judged)
    if judged is None or whole is None:
        raise no_bars(series)
    span = _within(whole, trial.window)
    if trial.funding is not None:
        trial.funding.check_within(span)
    # What `signals` reads, and no more: the sources of bars, a text each, take long to read.
    bars = read_bars(database, series, Interval(0, span.end_ms), trial.known_at_ms, (*BAR_COLUMNS, "is_filled"))
    notes = list[pd.Series](), list[int](), list[GateEvidence]()
    return TrialInputs(whole, span, judged.revision, _blocks(series, trial, bars, span, *notes), *notes)


def _whole(database: Database, series: Series, trial: Trial, judged: state.SeriesState | None) -> Interval | None:
    if trial.known_at_ms is not None:
        whole = known_span(database, series, trial.known_at_ms)
        if whole is None and (reason := nothing_known(database, series, trial.known_at_ms)) is not None:
            raise reason
        return whole
    if judged is None or judged.first_ts is None or judged.last_ts is None:
        return None
    return Interval(judged.first_ts, judged.last_ts + series.timeframe.ms)


def _blocks(
    series: Series,
    trial: Trial,
    bars: Iterator[pd.DataFrame],
    span: Interval,
    day_ends: list[pd.Series],
    filled: list[int],
    gates: list[GateEvidence],
) -> Iterator[tuple[int, BarArrays]]:
    for block, signals in decided(series, trial.strategy, trial.rules, bars):
        opens = index_ms(block.index)
        inside = (opens >= span.start_ms) & (opens < span.end_ms)
        if inside.any():
            chosen = block[inside]
            day_ends.append(chosen["close"].groupby(chosen.index.floor("D")).tail(1))
            filled.append(int(chosen["is_filled"].sum()))
            gates.append(gates_of(signals[inside], trial.strategy))
            arrays = decision_arrays(chosen, signals[inside], series.symbol)
            if trial.funding is not None:
                arrays = replace(arrays, funding_ts=trial.funding.ts, funding_rate=trial.funding.rate)
            yield int(opens[inside][-1]) + series.timeframe.ms, arrays


def no_bars(series: Series) -> CryptaiError:
    """Nothing is stored of `series`, and how to change that."""
    how = f"cryptai sync {series.symbol} --timeframe {series.timeframe.code}"
    return CryptaiError(f"no validated bars of {series} are stored; fetch them with: {how}")


def nothing_simulated(trial: Trial, series: Series, whole: Interval) -> CryptaiError:
    """None of what is stored of `series` is for the trial."""
    stored = f"stored: {format_time(whole.start_ms)} to {format_time(whole.end_ms)}"
    if trial.window is not None:
        return BadInput(f"no bars of {series} are stored between --start and --end; {stored}")
    known = "" if trial.known_at_ms is None else f" was known at {format_moment(trial.known_at_ms)}"
    return CryptaiError(f"no good bar of {series}{known or ' is stored'}; {stored}")


def _within(whole: Interval, window: Interval | None) -> Interval:
    return whole if window is None else clipped(window, whole)
