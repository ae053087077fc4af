"""`backtest_results`: the trades of a series' signals. New bars continue the engine from where it stopped; the engine itself,
its fills and its costs live in `backtest`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.drill_down import NONE_ASKED, ReadFiner, advance_with_finer, ambiguity_counts, counts_among
from cryptai_pipelines.backtest.engine import EngineState, is_readable, settle, start
from cryptai_pipelines.backtest.fingerprint import trades_sha256
from cryptai_pipelines.backtest.funding_rates import FundingRates
from cryptai_pipelines.backtest.inputs import decision_arrays
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.backtest.metrics import DAYS_PER_YEAR, trade_metrics
from cryptai_pipelines.backtest.parameters import NO_RULES, EngineParameters, MarketRules
from cryptai_pipelines.backtest.records import TRADE_DTYPE, trade_records, trades_frame
from cryptai_pipelines.backtest.subject import chosen
from cryptai_pipelines.market.bars import OHLCV
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.finer_bars import (
    asked_frame,
    asked_records,
    finer_readers,
    finer_revisions,
    retold,
)
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.staleness import Stale, blocks, find_stale, made_from, made_otherwise, remember
from cryptai_pipelines.storage import ambiguous_bars, backtests, checkpoints, derived, market_data, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import SeriesLease, check_lease
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS
from cryptai_pipelines.strategy.protocol import Strategy

ASSET = "backtest_results"
SIGNALS = "signals"
# Finer bars come a tick late, a venue restates its last bars: both are far fewer, and simulating these costs nothing.
CHECKPOINT_BARS = 64


@dataclass(frozen=True)
class Trial:
    """What a backtest of a series is made of: everything that a person could have chosen otherwise. `kind` keeps the one that
    the schedule carries on apart from those that a person ran. `rules`: the strategy's parameters. `known_at_ms`: of which
    moment the bars were, if not of now. `market`: its rules, which nobody chooses but the venue (`market_rules`)."""

    kind: str
    strategy: Strategy
    rules: Any
    engine: EngineParameters
    window: Interval | None = None
    known_at_ms: int | None = None
    market: MarketRules = NO_RULES
    funding: FundingRates | None = None

    @property
    def config(self) -> dict[str, object]:
        """Plain data for the row; its hash is the trial's identity."""
        known_at = {} if self.known_at_ms is None else {"known_at": self.known_at_ms}
        market = {"market": self.market.told} if self.market.told else {}
        funding = {} if self.funding is None else {"funding": self.funding.told}
        return {
            "kind": self.kind,
            **chosen(self.strategy, self.rules, self.engine),
            "window": None if self.window is None else list(self.window),
            **known_at,
            **market,
            **funding,
        }


def bring_up_to_date(
    database: Database, lease: SeriesLease, trial: Trial, *, run_id: str, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Simulate the bars that the stored result has not seen. When an earlier signal, or finer bars that it was told apart by,
    have changed, simulate from the last checkpoint before that on, or without one all bars, as for another trial.

    The result, its trades and the engine's states are one transaction at the end.
    """
    series = lease.series
    own, finer = state.read_state(database, ASSET, series), finer_revisions(database, series)
    changed = _retold(database, series, trial, own, finer)
    stale = find_stale(database, ASSET, SIGNALS, series, _made_of(trial), besides=changed)
    if stale is None:
        if own is not None and own.further_revisions != finer and not changed:
            _note_finer(database, lease, finer)
        return _outcome(database, series, trial, 0, own)
    past = _resumed(database, series, trial, stale) or _Past(
        start(engine_for(trial, series), (trial.market,)), np.zeros(0, dtype=TRADE_DTYPE), NONE_ASKED, {}, stale.source.first_ts
    )
    run = _simulated(database, trial, stale, past, finer_readers(database, series, finer), on_progress)
    closed, asked = np.concatenate((past.closed, run.trades)), np.concatenate((past.asked, run.asked))
    result = settled_result(trial, series, run.after, closed, asked, stale.source.revision, run_id)
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        identity = backtests.save_backtest(cursor, result.header)
        backtests.replace_trades(cursor, identity, len(past.closed), result.trades.iloc[len(past.closed) :])
        ambiguous_bars.replace_ambiguous_bars(cursor, identity, past.end_ms if len(past.asked) else 0, asked_frame(run.asked))
        checkpoints.replace_checkpoints(cursor, identity, run.checkpoints)
        remember(cursor, replace(stale, start_ms=past.end_ms, further_revisions=finer), run.after.to_bytes())
    new = len(result.trades) - len(past.closed)
    return _outcome(database, series, trial, new, state.read_state(database, ASSET, series))


def of_others(database: Database, series: Series, trial: Trial) -> bool:
    """Is the result that is stored, if any, that of another trial, of other signals or of other code?"""
    return made_otherwise(database, ASSET, SIGNALS, series, _made_of(trial))


def _made_of(trial: Trial) -> str:
    return made_from(lineage_version(ASSET), trial.config)


def _retold(
    database: Database, series: Series, trial: Trial, own: state.SeriesState | None, finer: tuple[int, ...]
) -> list[Interval]:
    """The bars of the stored result that finer ones may tell apart otherwise than they did. While there are none, it is what
    these finer bars would give, too."""
    if own is None or own.further_revisions == finer:
        return []
    found = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    return [] if found is None else retold(database, series, found[0], own.further_revisions, finer)


def _note_finer(database: Database, lease: SeriesLease, finer: tuple[int, ...]) -> None:
    """The stored result is that of these finer bars, too: it need not be asked again."""
    with database.transaction() as cursor:
        check_lease(cursor, lease)
        state.write_further_revisions(cursor, ASSET, lease.series, finer)


@dataclass(frozen=True)
class _Past:
    """What of a result stays: the engine after all bars before `end_ms`, the trades it had closed by then, the bars that finer
    ones were asked of, and its earlier states (`storage.checkpoints`)."""

    state: EngineState
    closed: np.ndarray
    asked: np.ndarray
    checkpoints: Mapping[int, bytes]
    end_ms: int


def _resumed(database: Database, series: Series, trial: Trial, stale: Stale) -> _Past | None:
    """The latest stored engine that has seen nothing of what changed: that after the last bar when only new ones follow, or a
    checkpoint. None when it must start anew, as after an engine of another version."""
    stored = None if stale.anew else backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    if stored is None:
        return None
    earlier = checkpoints.read_checkpoints(database, stored[0])
    known = [stale.own.state] if stale.continues else [state for end, state in earlier.items() if end <= stale.start_ms]
    if not known or known[-1] is None or not is_readable(known[-1]):
        return None
    before = EngineState.from_bytes(known[-1])
    trades = backtests.read_trades(database, stored[0])
    closed, count = trade_records(trades[~trades["is_open"]]), int(before.book["trades"])
    if len(closed) < count or (stale.continues and len(closed) > count):
        return None
    asked = asked_records(ambiguous_bars.read_ambiguous_bars(database, stored[0]))
    end_ms = stale.start_ms if stale.continues else before.last_ts + series.timeframe.ms
    return _Past(before, closed[:count], asked[asked["ts"] <= before.last_ts], earlier, end_ms)


def checkpoint_times(last_ts: int, timeframe: Timeframe) -> tuple[int, int]:
    """Up to where the engine's earlier states are kept of a result that ends with the bar `last_ts`: the two last multiples of
    `CHECKPOINT_BARS` bar lengths since 1970. News of that many of the last bars never costs a simulation from the first."""
    length = CHECKPOINT_BARS * timeframe.ms
    return last_ts // length * length - length, last_ts // length * length


@dataclass(frozen=True)
class _Run:
    """What follows a `_Past`; `checkpoints`: those of the whole result."""

    after: EngineState
    trades: np.ndarray
    asked: np.ndarray
    checkpoints: dict[int, bytes]


def _simulated(
    database: Database,
    trial: Trial,
    stale: Stale,
    past: _Past,
    finer: Mapping[Timeframe, ReadFiner],
    on_progress: OnProgress,
) -> _Run:
    """The engine from the end of `past` to that of the series, with a stop wherever its state is kept."""
    series, after, begin = stale.series, past.state, past.end_ms
    last_ts, kept = past.state.last_ts, dict[int, bytes]()
    trades, asked = [np.zeros(0, dtype=TRADE_DTYPE)], [NONE_ASKED]

    def tell(done_ms: int, simulated: int) -> None:
        on_progress(Progress(ASSET, series, done_ms - past.end_ms, stale.end_ms - past.end_ms, simulated))

    tell(begin, 0)
    stops = checkpoint_times(stale.source.last_ts, series.timeframe)
    for stop in (*stops, stale.end_ms):
        if last_ts is not None and stop <= last_ts:
            kept |= {stop: past.checkpoints[stop]} if stop in past.checkpoints else {}
            continue
        inputs = _inputs(database, series, trial, begin, stop)
        after, closed, looked_into = simulate_blocks(after, inputs, tell, series.timeframe, finer)
        trades.append(closed)
        asked.append(looked_into)
        begin = max(begin, stop)
        if stop in stops and after.last_ts is not None:
            kept[stop] = after.to_bytes()
    return _Run(after, np.concatenate(trades), np.concatenate(asked), kept)


def engine_for(trial: Trial, series: Series) -> EngineParameters:
    """The trial's engine parameters, with the bars that a year of the series has where they do not say it."""
    if trial.engine.bars_per_year is not None:
        return trial.engine
    return replace(trial.engine, bars_per_year=DAYS_PER_YEAR * Timeframe.D1.ms / series.timeframe.ms)


def simulate_blocks(
    before: EngineState,
    inputs: Iterable[tuple[int, BarArrays]],
    tell: Callable[[int, int], None],
    timeframe: Timeframe,
    finer: Mapping[Timeframe, ReadFiner],
) -> tuple[EngineState, np.ndarray, np.ndarray]:
    """The engine over consecutive blocks (`end_ms`, bars with decisions): its state after them, the trades they closed and the
    bars of which finer ones were asked (`drill_down.ASKED_DTYPE`). `tell(end_ms, bars_so_far)` is called after each block."""
    after, trades, asked = before, [np.zeros(0, dtype=TRADE_DTYPE)], [NONE_ASKED]
    for end_ms, arrays in inputs:
        step, looked_into = advance_with_finer(after, arrays, timeframe, finer)
        after = step.state
        trades.append(step.trades)
        asked.append(looked_into)
        tell(end_ms, int(after.book["bars"]))
    return after, np.concatenate(trades), np.concatenate(asked)


def _inputs(database: Database, series: Series, trial: Trial, begin: int, end: int) -> Iterator[tuple[int, BarArrays]]:
    keys = {"strategy": trial.strategy.name, "symbol": series.symbol, "timeframe": series.timeframe.code}
    for interval in blocks(begin, end, series.timeframe):
        bars = market_data.read(database, series, *interval, columns=(*OHLCV, "is_filled"))
        signals = derived.read(database, SIGNALS, keys, *interval, columns=DECISION_COLUMNS)
        if not signals.index.equals(bars.index):
            raise CryptaiError(f"signals of {series} do not match its bars; materialize technical_indicators and signals first")
        yield interval.end_ms, decision_arrays(bars, signals, series.symbol)


@dataclass(frozen=True)
class Result:
    """A result as it is stored. `trades`: closed ones in order and, where a position is open, its settlement as the last."""

    header: backtests.BacktestHeader
    trades: pd.DataFrame


def settled_result(
    trial: Trial,
    series: Series,
    after: EngineState,
    closed: np.ndarray,
    asked: np.ndarray,
    coverage_revision: int,
    run_id: str,
) -> Result:
    """The result of an engine that has come to `after` with `closed` trades and had `asked` finer bars of some; metrics that
    need days are not among it yet."""
    settled, last_trade, _ = settle(after)
    trades = pd.concat(
        [trades_frame(closed).assign(is_open=False), trades_frame(last_trade).assign(is_open=True)], ignore_index=True
    )
    header = backtests.BacktestHeader(
        strategy=trial.strategy.name,
        series=series,
        config=trial.config,
        first_ts=int(after.book["first_ts"]),
        last_ts=int(after.book["last_ts"]),
        bars=int(after.book["bars"]),
        trade_count=int(settled.book["trades"]),
        ambiguous_count=int(settled.book["ambiguous"]),
        metrics={
            **trade_metrics(settled.book),
            **ambiguity_counts(asked),
            "final_equity": float(settled.book["cash"]),
            "open_equity": float(after.book["last_equity"]),
            **({} if trial.funding is None else {"funding": float(trades["funding"].sum())}),
        },
        trades_sha256=trades_sha256(np.concatenate((closed, last_trade))),
        code_version=lineage_version(ASSET),
        coverage_revision=coverage_revision,
        run_id=run_id,
    )
    return Result(header, trades)


def _outcome(database: Database, series: Series, trial: Trial, written: int, own: state.SeriesState | None) -> Outcome:
    found = backtests.read_backtest(database, trial.strategy.name, series, trial.config)
    if own is None or found is None:
        return Outcome(ASSET, series, written, 0, 0)
    header = found[1]
    facts = {
        "trade_count": header.trade_count,
        "ambiguous_count": header.ambiguous_count,
        **counts_among(header.metrics),
        "trades_sha256": header.trades_sha256,
        "bars": header.bars,
    }
    return Outcome(ASSET, series, written, header.trade_count, own.revision, facts)
