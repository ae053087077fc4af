"""One TP/SL backtest over 1,000,000 bars, trades and metrics included, beside vectorbt's and backtesting.py's on the same bars
and signals; freqtrade's has a module of its own.

Bars are a simulated random walk: one-minute steps with the volatility of a liquid coin, seeded, so that the figures can be
repeated anywhere. The peers come with the extra `peers`; without one its row has no figure. The same trades are asserted by
`backtest.parity`: on these bars nothing may differ but the position that is open at the end.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; the ratio is peer over ours.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest import SimulationResult, peer_backtesting, peer_vectorbt, simulate
from cryptai_pipelines.backtest.parity import Terms, compare
from cryptai_pipelines.backtest.parity_exits import LEFT_OPEN

BARS = 1_000_000
REPEATS, PEER_REPEATS = 5, 3
VECTORBT_GOAL, BACKTESTING_GOAL = 50.0, 100.0
TERMS = Terms(take_profit=0.15, stop_loss=0.08, fee_rate=0.001, initial_capital=10_000.0)
# backtesting.py buys whole units: with so much capital one is less than 1e-9 of a position.
WHOLE = TERMS._replace(initial_capital=1e15)


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


def ours(bars: pd.DataFrame, entries: pd.Series, terms: Terms = TERMS) -> SimulationResult:
    return simulate(bars, entries, **terms._asdict())


def with_vectorbt(bars: pd.DataFrame, entries: pd.Series, *, readable: bool) -> dict[str, float]:
    """vectorbt's trades, and those of our metrics that it has. Bars and entries are indexed without a time zone. `readable`:
    trades with their times, as ours are; else the rows of the bars, which takes vectorbt a fraction of the time."""
    portfolio = peer_vectorbt.portfolio(bars, entries, TERMS, freq="1min")
    trades = portfolio.trades
    return {
        "trades": len(trades.records_readable if readable else trades.records),
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


def run() -> list[dict[str, Any]]:
    """The rows of the benchmark."""
    bars, entries = random_walk(BARS)
    cold = {"name": "first backtest of a process (numba loaded or compiled)", "ours_s": best_of(lambda: ours(bars, entries), 1)}
    naive = bars.tz_localize(None), entries.tz_localize(None)
    vectorbt, backtesting = peer_vectorbt.NAME, peer_backtesting.NAME
    readable, raw = (partial(with_vectorbt, *naive, readable=choice) for choice in (True, False))
    whole = partial(peer_backtesting.run, bars, entries, WHOLE)
    return [
        _row(vectorbt, peer_vectorbt, bars, entries, TERMS, readable, f">= {VECTORBT_GOAL:g} x"),
        _row(f"{vectorbt}, its trades without times", peer_vectorbt, bars, entries, TERMS, raw, ""),
        _row(backtesting, peer_backtesting, bars, entries, WHOLE, whole, f">= {BACKTESTING_GOAL:g} x"),
        cold | {"peer_s": math.nan, "ratio": math.nan, "goal": ""},
    ]


def _row(
    side: str,
    peer: ModuleType,
    bars: pd.DataFrame,
    entries: pd.Series,
    terms: Terms,
    work: Callable[[], object],
    goal: str,
) -> dict[str, Any]:
    trades = ours(bars, entries, terms).trades
    ours_s, peer_s = best_of(lambda: ours(bars, entries, terms), REPEATS), math.nan
    name = f"backtest, {BARS:,} simulated 1m bars, {len(trades):,} trades / {side}"
    try:
        parity = compare(bars, entries, trades, peer.trades(bars, entries, terms), terms, peer.HABITS)
    except ImportError:
        name += " (not installed)"
    else:
        assert not parity.unexplained and parity.equal >= len(trades) - 1 and set(parity.explained) <= {LEFT_OPEN}, parity
        peer_s = best_of(work, PEER_REPEATS)
    return {"name": name, "ours_s": ours_s, "peer_s": peer_s, "ratio": peer_s / ours_s, "goal": goal}


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
