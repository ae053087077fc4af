"""`backtest_results`: the trades of a series' signals. New bars continue the engine from where it stopped; the engine itself,
its fills and its costs live in `backtest`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.engine import BarArrays, EngineState, advance, settle, start
from cryptai_pipelines.backtest.fingerprint import trades_sha256
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.metrics import trade_metrics
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.records import TRADE_DTYPE, trade_records, trades_frame
from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.catalog import lineage_version
from cryptai_pipelines.orchestration.chain.derive import BARS
from cryptai_pipelines.orchestration.chain.outcome import OnProgress, Outcome, Progress, ignore_progress
from cryptai_pipelines.orchestration.chain.staleness import blocks, made_from, stale_from
from cryptai_pipelines.storage import backtests, derived, market_data, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database

ASSET = "backtest_results"


@dataclass(frozen=True)
class Trial:
    """What a backtest of a series is made of. `config` is everything that a person could have chosen otherwise."""

    strategy: str
    signals_version: str
    parameters: EngineParameters
    window: Interval | None = None

    @property
    def config(self) -> dict[str, object]:
        """Plain data for the row and its hash."""
        parameters = {name: value if np.isfinite(value) else None for name, value in asdict(self.parameters).items()}
        window = {} if self.window is None else {"window": list(self.window)}
        return {"strategy": self.strategy, "signals": self.signals_version, **parameters, **window}

    @property
    def version(self) -> str:
        """The config's hash, with the code version of the chain so far."""
        return made_from(lineage_version(ASSET), self.config)


def bring_up_to_date(
    database: Database, series: Series, trial: Trial, *, run_id: str, on_progress: OnProgress = ignore_progress
) -> Outcome:
    """Simulate the bars that the stored result has not seen, or all of them when an earlier bar or the trial changed.

    The result, its trades and the engine's state are one transaction at the end.
    """
    bars = state.read_state(database, BARS, series)
    stale = stale_from(database, ASSET, series, BARS, trial.version)
    if bars is None or stale is None:
        return _outcome(database, series, trial, 0)
    own = state.read_state(database, ASSET, series)
    resumes = own is not None and own.code_version == trial.version and own.state is not None and stale > own.last_ts
    before = EngineState.from_bytes(own.state) if resumes else start(trial.parameters)
    begin, end = (stale if resumes else bars.first_ts), bars.last_ts + series.timeframe.ms

    def tell(done_ms: int, simulated: int) -> None:
        on_progress(Progress(ASSET, series, done_ms - begin, end - begin, simulated))

    tell(begin, 0)
    after, new_trades = simulate_blocks(before, _inputs(database, series, trial, begin, end), tell)
    closed = np.concatenate((_closed_before(database, series, trial, before), new_trades))
    with database.transaction() as cursor:
        written = save_result(cursor, series, trial, before, after, closed, bars.revision, run_id)
        _remember(cursor, series, trial, bars, before, after, written)
    return _outcome(database, series, trial, written)


def simulate_blocks(
    before: EngineState, inputs: Iterable[tuple[int, BarArrays]], tell: Callable[[int, int], None]
) -> tuple[EngineState, np.ndarray]:
    """The engine over consecutive blocks (`end_ms`, bars with entries): its state after them and the trades they closed.
    `tell(end_ms, bars_so_far)` is called after each block."""
    after, trades = before, [np.zeros(0, dtype=TRADE_DTYPE)]
    for end_ms, arrays in inputs:
        step = advance(after, arrays)
        after = step.state
        trades.append(step.trades)
        tell(end_ms, int(after.book["bars"]))
    return after, np.concatenate(trades)


def _inputs(database: Database, series: Series, trial: Trial, begin: int, end: int) -> Iterator[tuple[int, BarArrays]]:
    keys = {"strategy": trial.strategy, "symbol": series.symbol, "timeframe": series.timeframe.code}
    for interval in blocks(begin, end, series.timeframe):
        bars = market_data.read(database, series, *interval)
        signals = derived.read(database, "signals", keys, *interval)
        if not signals.index.equals(bars.index):
            raise CryptaiError(f"signals of {series} do not match its bars; materialize `signals` first")
        yield interval.end_ms, bar_arrays(bars, signals["entry"].astype(bool))


def _closed_before(database: Database, series: Series, trial: Trial, before: EngineState) -> np.ndarray:
    """The trades that were closed when `before` was stored."""
    stored = backtests.read_backtest(database, trial.strategy, series, trial.config)
    if stored is None or not before.book["trades"]:
        return np.zeros(0, dtype=TRADE_DTYPE)
    trades = backtests.read_trades(database, stored[0])
    return trade_records(trades[~trades["is_open"]])


def save_result(
    cursor: Cursor,
    series: Series,
    trial: Trial,
    before: EngineState,
    after: EngineState,
    closed: np.ndarray,
    coverage_revision: int,
    run_id: str,
) -> int:
    """Write the result and the trades that `before` had not; how many trade rows. `closed`: all closed trades so far."""
    settled, last_trade, _ = settle(after)
    kept = int(before.book["trades"])
    sha256 = trades_sha256(np.concatenate((closed, last_trade)))
    identity = backtests.save_backtest(cursor, _header(series, trial, after, settled, sha256, coverage_revision, run_id))
    rows = pd.concat([_rows(closed[kept:], False), _rows(last_trade, True)], ignore_index=True)
    return backtests.replace_trades(cursor, identity, kept, rows)


def _remember(
    cursor: Cursor,
    series: Series,
    trial: Trial,
    bars: state.SeriesState,
    before: EngineState,
    after: EngineState,
    written: int,
) -> None:
    first = int(bars.first_ts) if before.last_ts is None else before.last_ts
    state.record_change(cursor, ASSET, series, Change(new=max(1, written), first_ts=first, last_ts=int(bars.last_ts)))
    state.write_state(
        cursor,
        ASSET,
        series,
        input_revision=bars.revision,
        code_version=trial.version,
        first_ts=bars.first_ts,
        last_ts=bars.last_ts,
        state=after.to_bytes(),
    )


def _header(
    series: Series,
    trial: Trial,
    after: EngineState,
    settled: EngineState,
    trades_sha256: str,
    coverage_revision: int,
    run_id: str,
) -> backtests.BacktestHeader:
    """The result so far; the metrics that need days are added by `performance_metrics`."""
    return backtests.BacktestHeader(
        strategy=trial.strategy,
        series=series,
        config=trial.config,
        first_ts=int(after.book["first_ts"]),
        last_ts=int(after.book["last_ts"]),
        bars=int(after.book["bars"]),
        trade_count=int(settled.book["trades"]),
        ambiguous_count=int(settled.book["ambiguous"]),
        metrics={
            **trade_metrics(settled.book),
            "final_equity": float(settled.book["cash"]),
            "open_equity": float(after.book["last_equity"]),
        },
        trades_sha256=trades_sha256,
        code_version=lineage_version(ASSET),
        coverage_revision=coverage_revision,
        run_id=run_id,
    )


def _rows(trades: np.ndarray, is_open: bool) -> pd.DataFrame:
    return trades_frame(trades).assign(is_open=is_open)


def _outcome(database: Database, series: Series, trial: Trial, written: int) -> Outcome:
    own = state.read_state(database, ASSET, series)
    found = backtests.read_backtest(database, trial.strategy, series, trial.config)
    if own is None or found is None:
        return Outcome(ASSET, series, written, 0, 0)
    header = found[1]
    facts = {
        "trade_count": header.trade_count,
        "ambiguous_count": header.ambiguous_count,
        "trades_sha256": header.trades_sha256,
        "bars": header.bars,
    }
    return Outcome(ASSET, series, written, header.trade_count, own.revision, facts)
