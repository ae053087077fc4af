"""Random markets for the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest.engine import BarArrays
from cryptai_pipelines.backtest.inputs import bar_arrays

Market = tuple[pd.DataFrame, pd.Series]


def random_market(seed: int, n: int | None = None) -> Market:
    """Bars with everything that makes fills hard: data gaps, price gaps, filled and volume-less bars, prices on a coarse
    tick (ties with levels), ranges wide enough to touch both levels. And entry signals of random density."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60)) if n is None else n
    wide = rng.choice([0.005, 0.02, 0.08])
    close = 100 * np.exp(np.cumsum(rng.normal(0, wide, n)))
    gap = np.where(rng.random(n) < 0.2, rng.normal(0, 3 * wide, n), 0.0)
    open_ = np.concatenate(([100.0], close[:-1])) * np.exp(gap)
    high = np.maximum(open_, close) * np.exp(rng.exponential(wide, n))
    low = np.minimum(open_, close) * np.exp(-rng.exponential(wide, n))
    tick = rng.choice([0.0, 0.5, 2.0])
    prices = np.stack([open_, high, low, close])
    if tick:
        prices = np.maximum(np.round(prices / tick) * tick, tick)
    ts = pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(np.cumsum(rng.choice([1, 1, 1, 1, 5], n)), unit="h")
    bars = pd.DataFrame(dict(zip(("open", "high", "low", "close"), prices, strict=True)))
    bars.index = pd.DatetimeIndex(ts).as_unit("ms").rename("ts")
    bars["volume"] = np.where(rng.random(n) < 0.1, 0.0, rng.uniform(1, 9, n))
    bars["is_filled"] = rng.random(n) < 0.1
    entries = pd.Series(rng.random(n) < rng.choice([0.05, 0.3, 1.0]), index=bars.index)
    return bars, entries


def random_arguments(seed: int) -> dict[str, float]:
    """Arguments of `simulate` over their whole sensible range, levels near enough to be touched."""
    rng = np.random.default_rng([seed, 1])
    return {
        "take_profit": float(rng.choice([0.01, 0.05, 0.15, 0.5])),
        "stop_loss": float(rng.choice([0.01, 0.05, 0.08, 0.5])),
        "fee_rate": float(rng.choice([0.0, 0.001, 0.02])),
        "slippage_bps": float(rng.choice([0.0, 2.0, 100.0])),
        "initial_capital": float(rng.choice([1.0, 10_000.0, 1e9])),
        "size": float(rng.choice([0.1, 0.5, 1.0])),
    }


def slice_arrays(arrays: BarArrays, begin: int, end: int) -> BarArrays:
    return BarArrays(*(getattr(arrays, name)[begin:end] for name in BarArrays.__dataclass_fields__))


@pytest.fixture(scope="session")
def real_hours(real_data) -> Callable[[int, int], pd.DataFrame]:
    """A slice of the recorded Binance BTCUSDT 1h bars as a bars frame."""
    bars = pd.read_parquet(real_data / "binance" / "BTCUSDT_1h.parquet").set_index("ts")
    return lambda begin, end: bars.iloc[begin:end]


@pytest.fixture
def market_arrays() -> Callable[[int], BarArrays]:
    return lambda seed: bar_arrays(*random_market(seed, 200))


@pytest.fixture(scope="session")
def documented() -> dict[str, list[str]]:
    """The metrics of docs/metrics.md: cells of each row of a table of formulas, by name. Daily rows are no metrics."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
    sections = [part for part in text.split("\n## ") if "\n| name | formula | edges | source |" in part]
    # A bar in a cell is written as \\|, which ends no cell.
    lines = [line for part in sections for line in part.splitlines() if line.startswith("| `")]
    # A bar in a cell is written as \\|, which ends no cell.
    rows = [line.replace("\\|", "/").removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
    return {row[0].strip("`"): row for row in rows}
