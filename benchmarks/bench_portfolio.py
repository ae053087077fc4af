"""A portfolio of 50 symbols over five years of hours on one capital: long and short, at most ten positions, a tenth of the
equity each, target and stop, fees and slippage; trades, exposure, metrics and the optimistic book included. Warm: from the
second call on.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; there is no peer.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from benchmarks.bench_backtest import best_of
from cryptai_pipelines.backtest import EngineParameters, PortfolioResult, simulate_portfolio

SYMBOLS, BARS = 50, 43_800
REPEATS = 3
GOAL_S = 2
PARAMETERS = EngineParameters(
    take_profit=0.15, stop_loss=0.08, fee_rate=0.001, slippage_bps=2.0, size=0.1, max_positions=10, short=True
)


def markets() -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame]]:
    """Bars and decisions of each symbol: seeded random walks of hours, an order at about one bar in two hundred."""
    rng = np.random.default_rng(7)
    index = pd.date_range("2020-01-01", periods=BARS, freq="h", tz="UTC", unit="ms", name="ts")
    bars, decisions = {}, {}
    for number in range(SYMBOLS):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.008, BARS)))
        opened = np.concatenate(([100.0], close[:-1]))
        high = np.maximum(opened, close) * np.exp(rng.exponential(0.003, BARS))
        low = np.minimum(opened, close) * np.exp(-rng.exponential(0.003, BARS))
        prices = {"open": opened, "high": high, "low": low, "close": close}
        symbol = f"C{number:02}-USDT"
        bars[symbol] = pd.DataFrame({**prices, "volume": rng.uniform(1, 50, BARS)}, index=index)
        side = np.where(rng.random(BARS) < 0.005, rng.choice([-1, 1], BARS), 0).astype("int8")
        decisions[symbol] = pd.DataFrame({"side": side, "priority": rng.random(BARS)}, index=index)
    return bars, decisions


def run() -> list[dict[str, object]]:
    """The row of the benchmark."""
    bars, decisions = markets()

    def ours() -> PortfolioResult:
        return simulate_portfolio(bars, decisions, PARAMETERS)

    result = ours()
    seconds = best_of(ours, REPEATS)
    name = f"portfolio of {SYMBOLS} symbols x {BARS:,} hours, {len(result.trades):,} trades"
    return [{"name": name, "ours_s": seconds, "peer_s": math.nan, "ratio": math.nan, "goal": f"< {GOAL_S} s"}]


if __name__ == "__main__":
    for line in run():
        print(line)
