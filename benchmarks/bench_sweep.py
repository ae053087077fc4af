"""Many combinations of target and stop: 1,000 of them on a million bars beside vectorbt's own broadcasting over the same bars
and signals, with the same trades, and 10,000 of them on five years of hours.

vectorbt holds arrays of bars times combinations, so it is given a handful of combinations, of which all trades are compared,
and its seconds are scaled up to all. It comes with the extra `peers`; without it the row has no peer.
"""

from __future__ import annotations

import itertools
import math
import resource
import time
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.bench_backtest import TERMS, best_of, random_walk
from cryptai_pipelines.backtest.exit_grid import exit_grid, grid_trades
from cryptai_pipelines.backtest.parameters import EngineParameters

BARS, HOURS = 1_000_000, 43_800
TARGETS, STOPS = np.linspace(0.02, 0.30, 40), np.linspace(0.01, 0.15, 25)
MANY_TARGETS, MANY_STOPS = np.linspace(0.01, 0.40, 100), np.linspace(0.01, 0.20, 100)
FEE_RATE, CAPITAL = TERMS.fee_rate, TERMS.initial_capital
GOAL, MANY_GOAL_S, MANY_GOAL_MB = 300, 10, 1_500
PEER_COMBINATIONS, REPEATS = 8, 3


def pairs_of(targets: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every target with every stop, as two columns."""
    target, stop = np.array(list(itertools.product(targets, stops))).T
    return target, stop


def theirs(bars: pd.DataFrame, entries: pd.Series, targets: np.ndarray, stops: np.ndarray) -> pd.DataFrame:
    """vectorbt's trades of all combinations, broadcast over columns. `bars` and `entries` are indexed without a time zone."""
    import vectorbt as vbt

    columns = pd.RangeIndex(len(targets), name="combination")
    wide = pd.DataFrame(np.repeat(entries.shift(1, fill_value=False).to_numpy()[:, None], len(targets), 1), bars.index, columns)
    portfolio = vbt.Portfolio.from_signals(
        bars["close"],
        entries=wide,
        exits=False,
        open=bars["open"],
        high=bars["high"],
        low=bars["low"],
        price=bars["open"],
        sl_stop=stops[None, :],
        tp_stop=targets[None, :],
        stop_entry_price="price",
        fees=FEE_RATE,
        init_cash=CAPITAL,
        freq="1min",
    )
    portfolio.total_return()
    portfolio.max_drawdown()
    return portfolio.trades.records


def assert_same(bars: pd.DataFrame, entries: pd.Series, targets: np.ndarray, stops: np.ndarray, records: pd.DataFrame) -> int:
    """The same trades of every combination: bars and prices of entry and exit, quantities, profits. How many there are."""
    opens = bars.index.as_unit("ms").asi8
    for column, (target, stop) in enumerate(zip(targets.tolist(), stops.tolist(), strict=True)):
        trades = grid_trades(bars, entries, EngineParameters(target, stop, FEE_RATE, 0.0, CAPITAL))
        other = records[records["col"] == column]
        assert len(trades) == len(other), (target, stop, len(trades), len(other))
        assert (trades["entry_ts"] == opens[other["entry_idx"]]).all() and (trades["exit_ts"] == opens[other["exit_idx"]]).all()
        # An open position is closed at the end by ours only, at the same price less the fee.
        closed = (other["status"] == 1).to_numpy()
        names = (("entry_price", "entry_price"), ("exit_price", "exit_price"), ("quantity", "size"), ("pnl", "pnl"))
        for name, name_there in names:
            np.testing.assert_allclose(trades[name][closed], other[name_there].to_numpy()[closed], rtol=1e-9, err_msg=name)
    return len(records)


def peer_seconds(bars: pd.DataFrame, entries: pd.Series) -> tuple[float, int]:
    """vectorbt's seconds per combination, and how many of its trades were compared; NaN and 0 without it."""
    rows = np.linspace(0, len(TARGETS) * len(STOPS) - 1, PEER_COMBINATIONS).astype(int)
    targets, stops = (column[rows] for column in pairs_of(TARGETS, STOPS))
    # With a time zone vectorbt turns the index into a million Python objects several times over.
    naive = bars.tz_localize(None), entries.tz_localize(None)
    try:
        theirs(naive[0].iloc[:1_000], naive[1].iloc[:1_000], targets, stops)  # compiles
    except ImportError:
        return math.nan, 0
    started = time.perf_counter()
    records = theirs(*naive, targets, stops)
    elapsed = time.perf_counter() - started
    return elapsed / PEER_COMBINATIONS, assert_same(bars, entries, targets, stops, records)


def run() -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    return [*_five_years(), _million()]


def _million() -> dict[str, Any]:
    bars, entries = random_walk(BARS)
    targets, stops = pairs_of(TARGETS, STOPS)
    exit_grid(bars, entries, targets[:2], stops[:2], FEE_RATE)
    ours_s = best_of(lambda: exit_grid(bars, entries, targets, stops, FEE_RATE, 0.0, CAPITAL), REPEATS)
    per_combination, compared = peer_seconds(bars, entries)
    peer_s = per_combination * len(targets)
    name = f"{len(targets):,} targets and stops x {BARS:,} bars, metrics of each; vectorbt's {PEER_COMBINATIONS} scaled up"
    name += f", {compared:,} trades the same" if compared else " (vectorbt not installed)"
    return {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, "goal": f">= {GOAL} x"}


def _five_years() -> list[dict[str, Any]]:
    """Measured first: the process has held nothing else by then."""
    bars, entries = random_walk(HOURS)
    bars.index = entries.index = pd.date_range("2020-01-01", periods=HOURS, freq="h", tz="UTC", unit="ms", name="ts")
    targets, stops = pairs_of(MANY_TARGETS, MANY_STOPS)
    exit_grid(bars, entries, targets[:2], stops[:2], FEE_RATE)
    ours_s = best_of(lambda: exit_grid(bars, entries, targets, stops, FEE_RATE, 0.0, CAPITAL, keep_returns=True), REPEATS)
    held_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = f"{len(targets):,} targets and stops x {HOURS:,} hours, metrics and daily returns of each"
    none = {"peer_s": math.nan, "ratio": math.nan}
    return [
        {"name": name, "ours_s": ours_s, **none, "goal": f"< {MANY_GOAL_S} s"},
        {"name": f"{name}: memory of the process, MB", "ours_s": held_mb, **none, "goal": f"< {MANY_GOAL_MB} MB"},
    ]


if __name__ == "__main__":
    for line in run():
        print(line)
