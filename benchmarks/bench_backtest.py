"""One TP/SL backtest over 1,000,000 bars, trades and metrics included, beside vectorbt's on the same bars and signals.

Bars are a simulated random walk: one-minute steps with the volatility of a liquid coin, seeded, so that the figures can be
repeated anywhere. vectorbt is an extra of the benchmarks only; without it the row has no peer.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; the ratio is peer over ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest import SimulationResult, simulate

BARS = 1_000_000
REPEATS = 5
GOAL = 20.0
TAKE_PROFIT, STOP_LOSS, FEE_RATE, CAPITAL = 0.15, 0.08, 0.001, 10_000.0


def random_walk(n: int, seed: int = 7) -> tuple[pd.DataFrame, pd.Series]:
    """Bars of one minute and entry signals at about one bar in a hundred."""
    rng = np.random.default_rng(seed)
    close = 30_000 * np.exp(np.cumsum(rng.normal(0, 0.0009, n)))
    open_ = np.concatenate(([30_000.0], close[:-1]))
    high = np.maximum(open_, close) * np.exp(rng.exponential(0.0004, n))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(0.0004, n))
    index = pd.date_range("2022-01-01", periods=n, freq="min", tz="UTC", unit="ms", name="ts")
    columns = {"open": open_, "high": high, "low": low, "close": close, "volume": rng.uniform(1, 50, n)}
    return pd.DataFrame(columns, index=index), pd.Series(rng.random(n) < 0.01, index=index)


def ours(bars: pd.DataFrame, entries: pd.Series) -> SimulationResult:
    return simulate(bars, entries, TAKE_PROFIT, STOP_LOSS, FEE_RATE, 0.0, CAPITAL)


def theirs(bars: pd.DataFrame, entries: pd.Series) -> tuple[pd.DataFrame, dict[str, float]]:
    """vectorbt's trades, and those of our metrics that it has. `bars` and `entries` are indexed without a time zone."""
    import vectorbt as vbt

    portfolio = vbt.Portfolio.from_signals(
        bars["close"],
        entries=entries.shift(1, fill_value=False),
        exits=False,
        open=bars["open"],
        high=bars["high"],
        low=bars["low"],
        price=bars["open"],
        sl_stop=STOP_LOSS,
        tp_stop=TAKE_PROFIT,
        stop_entry_price="price",
        fees=FEE_RATE,
        init_cash=CAPITAL,
        freq="1min",
    )
    trades = portfolio.trades
    metrics = {
        "total_return": portfolio.total_return(),
        "sharpe": portfolio.sharpe_ratio(),
        "sortino": portfolio.sortino_ratio(),
        "max_drawdown": portfolio.max_drawdown(),
        "volatility": portfolio.annualized_volatility(),
        "cagr": portfolio.annualized_return(),
        "var_95": portfolio.value_at_risk(),
        "win_rate": trades.win_rate(),
        "profit_factor": trades.profit_factor(),
        "expectancy": trades.expectancy(),
    }
    return trades.records_readable, metrics


def assert_same(result: SimulationResult, records: pd.DataFrame) -> None:
    """The same trades: bars of entry and exit, prices, quantities, profits. An open position is closed at the end by ours
    only, at the same price less the fee."""
    trades = result.trades
    assert len(trades) == len(records), (len(trades), len(records))
    for name, other in (("entry_ts", "Entry Timestamp"), ("exit_ts", "Exit Timestamp")):
        assert (trades[name].dt.tz_localize(None).to_numpy() == records[other].to_numpy()).all(), name
    closed = (records["Status"] == "Closed").to_numpy()
    assert closed.sum() >= len(trades) - 1
    pairs = (("entry_price", "Avg Entry Price"), ("exit_price", "Avg Exit Price"), ("quantity", "Size"), ("pnl", "PnL"))
    for name, other in pairs:
        np.testing.assert_allclose(trades[name][closed], records[other][closed], rtol=1e-9, err_msg=name)


def run() -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    bars, entries = random_walk(BARS)
    cold = best_of(lambda: ours(bars, entries), 1)
    result = ours(bars, entries)
    ours_s = best_of(lambda: ours(bars, entries), REPEATS)
    first = {"name": "first backtest of a process (numba loaded or compiled)", "ours_s": cold}
    name = f"backtest, {BARS:,} simulated 1m bars, {len(result.trades):,} trades"
    # With a time zone vectorbt turns the index into a million Python objects several times over, ten times slower.
    naive = bars.tz_localize(None), entries.tz_localize(None)
    try:
        records, _ = theirs(*naive)
    except ImportError:
        peer_s = math.nan
        name += " (vectorbt not installed)"
    else:
        assert_same(result, records)
        peer_s = best_of(lambda: theirs(*naive), REPEATS)
    row = {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, "goal": f">= {GOAL:g} x"}
    return [row, first | {"peer_s": math.nan, "ratio": math.nan, "goal": ""}]


def best_of(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest of `repeats` runs."""
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


if __name__ == "__main__":
    for line in run():
        print(line)
