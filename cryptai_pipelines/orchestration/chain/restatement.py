"""The ledger of restatements: which stored rows depend on a bar that its source has changed, told in the transaction that
stores the change. Computing them again follows from what each asset was made of (`staleness`), not from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.intervals import Interval, runs
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import TIMEFRAMES, parse_timeframe
from cryptai_pipelines.orchestration.chain import (
    backtest_results,
    market_structure,
    signals,
    technical_indicators,
    validated_bars,
)
from cryptai_pipelines.orchestration.chain.finer_bars import finer_than
from cryptai_pipelines.orchestration.chain.staleness import reach_end, stored_reach
from cryptai_pipelines.storage import market_data, restatements, state
from cryptai_pipelines.storage.changes import Change
from cryptai_pipelines.storage.database import Cursor, Database
from cryptai_pipelines.storage.restatements import RestatedBars, Restatement
from cryptai_pipelines.strategy.signals import STRATEGIES

CHAIN: dict[str, tuple[str, ...]] = {
    validated_bars.ASSET: (),
    technical_indicators.ASSET: (validated_bars.ASSET,),
    market_structure.ASSET: (validated_bars.ASSET,),
    signals.ASSET: (technical_indicators.ASSET, market_structure.ASSET),
    backtest_results.ASSET: (signals.ASSET,),
}
"""What may depend on a bar, each with what it is made of."""
PREDICTIONS = "ml_predictions"
# A file that restates every second bar is one entry, not a thousand.
_MOST_ENTRIES = 50


def record_restatements(
    cursor: Cursor,
    source: str,
    series: Series,
    fetch_ids: Sequence[int] | np.ndarray,
    known_at_ms: int | np.ndarray,
    sync_id: int | None,
    change: Change,
) -> int:
    """Enter into the ledger what the fetches `fetch_ids` have restated, one entry per run of consecutive bars; how many.

    Call it in the transaction that appended their rows to `raw_ohlcv`, with the `change` that this made. `known_at_ms`: when
    the rows became known, one moment or one per row, of which the last counts.
    """
    if not change.restated or change.first_ts is None or change.last_ts is None:
        return 0
    ids = [int(one) for one in fetch_ids]
    opens = restatements.restated_opens(cursor, source, series, ids, Interval(change.first_ts, change.last_ts + 1))
    found = _entries(opens, series, (min(ids), max(ids)))
    for restated in found:
        inside = opens[(opens >= restated.first_ts) & (opens <= restated.last_ts)]
        touched = _touched(cursor, source, series, restated, inside, int(np.min(known_at_ms)))
        restatements.add(cursor, source, series, restated, int(np.max(known_at_ms)), sync_id, touched)
    return len(found)


def _entries(opens: np.ndarray, series: Series, fetch_ids: tuple[int, int]) -> list[RestatedBars]:
    length = series.timeframe.ms
    found = runs(opens, series.timeframe)
    if len(found) > _MOST_ENTRIES:
        return [RestatedBars(int(opens[0]), int(opens[-1]), len(opens), fetch_ids)]
    return [RestatedBars(start, end - length, (end - start) // length, fetch_ids) for start, end in found]


def _touched(
    cursor: Cursor, source: str, series: Series, restated: RestatedBars, opens: np.ndarray, known_at_ms: int
) -> dict[str, Any]:
    """What is stored now and depends on the bars. Nothing does while a more believed source has all of them."""
    held, superseded = restatements.standing(cursor, source, series, opens.tolist())
    touched: dict[str, Any] = {
        validated_bars.ASSET: {"rows": held},
        technical_indicators.ASSET: {"rows": 0},
        market_structure.ASSET: {"rows": 0},
        PREDICTIONS: {"rows": 0},
        signals.ASSET: [],
        backtest_results.ASSET: [],
    }
    stored = market_data.span(cursor, series)
    if superseded == len(opens) or stored is None:
        return touched
    change = Interval(series.timeframe.floor(restated.first_ts), series.timeframe.floor(restated.last_ts) + series.timeframe.ms)
    end = max(change.end_ms, stored.end_ms + series.timeframe.ms)
    seen = _seen(cursor, series, change, stored_reach(state.read_state(cursor, technical_indicators.ASSET, series)), end)
    touched[technical_indicators.ASSET] = _rows(restatements.count_rows(cursor, "technical_indicators", series, seen), seen)
    # Structure is carried on: how far it will have changed is not known before.
    over = Interval(change.start_ms, end)
    touched[market_structure.ASSET] = _rows(restatements.count_rows(cursor, "market_structure", series, over), over)
    made = state.read_state(cursor, signals.ASSET, series)
    for name in sorted({*STRATEGIES, *restatements.scheduled_strategies(cursor, series)}):
        within = _seen(cursor, series, seen, _signals_reach(name, series, made), end)
        told = _rows(restatements.count_signals(cursor, series, name, within), within)
        touched[signals.ASSET] += [{"strategy": name, **told}] if told["rows"] else []
    touched[backtest_results.ASSET] = [
        *restatements.backtests_over(cursor, series, over, known_at_ms),
        *_looking_into(cursor, series, change, known_at_ms),
    ]
    return touched


def _looking_into(cursor: Cursor, series: Series, change: Interval, known_at_ms: int) -> list[dict[str, Any]]:
    """The results of longer timeframes that the bars may tell something else now: of a bar that shorter ones told apart, or
    that was not ambiguous, none was asked."""
    coarser = [one for one in TIMEFRAMES if series.timeframe in finer_than(one)]
    told_by = [one for one in TIMEFRAMES if one.ms >= series.timeframe.ms]
    return restatements.backtests_looking_into(cursor, series, change, known_at_ms, coarser, told_by)


def _signals_reach(name: str, series: Series, made: state.SeriesState | None) -> int | None:
    """How many bars after changed indicators a strategy's signals may change; None for all of them, as where it reads the
    structure, which is carried on, or is not one of ours. What is stored was made with parameters that somebody chose: their
    warm-up counts where it is longer."""
    strategy = STRATEGIES.get(name)
    if strategy is None or strategy.structure(strategy.parameters()) is not None:
        return None
    warmup = strategy.warmup_bars(strategy.parameters(), series.timeframe)
    if made is None or made.state is None:
        return warmup
    stored = stored_reach(made)
    return None if stored is None else max(warmup, stored)


def _seen(cursor: Cursor, series: Series, change: Interval, warmup: int | None, end_ms: int) -> Interval:
    last = reach_end(cursor, series, change, warmup)
    return Interval(change.start_ms, end_ms if last is None else min(last, end_ms))


def _rows(count: int, within: Interval) -> dict[str, Any]:
    return {"rows": count, "from": format_time(within.start_ms), "until": format_time(within.end_ms)}


def read_ledger(
    database: Database, symbol: str | None = None, timeframe: str | None = None, limit: int = 100
) -> list[dict[str, Any]]:
    """The latest restatements, the newest first, as plain data: what changed from what to what, what it touched, and since when
    the last of that is up to date again (`recomputed_at`, None while it is not)."""
    return [_told(database, one) for one in restatements.read_restatements(database, CHAIN, symbol, timeframe, limit)]


def _told(database: Database, entry: Restatement) -> dict[str, Any]:
    done = _recomputed_ms(database, entry)
    return {
        "id": entry.id,
        "symbol": entry.series.symbol,
        "timeframe": entry.series.timeframe.code,
        "source": entry.source,
        "first_bar": format_time(entry.bars.first_ts),
        "last_bar": format_time(entry.bars.last_ts),
        "bars": entry.bars.bars,
        "known_at": format_time(entry.known_at_ms),
        "sync_id": entry.sync_id,
        "touched": dict(entry.touched),
        "recomputed_at": None if done is None else format_time(done),
        "values": [
            {
                "at": format_time(one.ts_ms),
                "revision": one.revision,
                "changed": sorted(name for name, value in one.after.items() if not _equal(value, one.before[name])),
                "before": one.before,
                "after": one.after,
            }
            for one in restatements.read_values(database, entry)
        ],
    }


def _equal(one: float, another: float) -> bool:
    return one == another or (np.isnan(one) and np.isnan(another))


def _recomputed_ms(database: Database, entry: Restatement) -> int | None:
    """When the last that had rows which depend on the bars was computed again; None while something is not. A person's trials
    stay as they were."""
    done = [entry.done_ms[name] for name in _deepest(entry)]
    coarser = _scheduled(entry) - {entry.series.timeframe.code}
    if coarser:
        places = {code: finer_than(parse_timeframe(code)).index(entry.series.timeframe) for code in coarser}
        seen = restatements.seen_by_coarser(database, entry, validated_bars.ASSET, backtest_results.ASSET, places)
        done += [seen.get(code) for code in coarser]
    return None if None in done else max(done)


def _scheduled(entry: Restatement) -> set[str]:
    """The timeframes of the scheduled results that depended on the bars; older entries know those of their own one only."""
    own = entry.series.timeframe.code
    return {one.get("timeframe", own) for one in entry.touched[backtest_results.ASSET] if one["kind"] == "scheduled"}


def _deepest(entry: Restatement) -> Sequence[str]:
    """What of the series had rows that depend on the bars, as far down the chain as there were any."""
    touched = entry.touched
    if entry.series.timeframe.code in _scheduled(entry):
        return (backtest_results.ASSET,)
    if any(one["rows"] for one in touched[signals.ASSET]):
        return (signals.ASSET,)
    # Entries that are older than the asset do not tell of it.
    beside = (technical_indicators.ASSET, market_structure.ASSET)
    return [name for name in beside if touched.get(name, {"rows": 0})["rows"]] or (validated_bars.ASSET,)
