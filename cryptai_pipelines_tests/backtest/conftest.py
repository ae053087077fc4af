"""Random markets for the tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import EngineParameters, MarketRules, PortfolioResult, simulate_portfolio
from cryptai_pipelines.backtest.finer_bars import usual_step, with_finer_bars
from cryptai_pipelines.backtest.inputs import bar_arrays, decision_arrays, funding_arrays
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.market.bars import index_ms

Market = tuple[pd.DataFrame, pd.Series]


class Portfolio(NamedTuple):
    """Arguments of `simulate_portfolio`, as plain data: parameters and rules as dicts, all but the parameters by symbol."""

    bars: dict[str, pd.DataFrame]
    decisions: dict[str, pd.DataFrame]
    parameters: dict[str, object]
    rules: dict[str, dict[str, float]]
    funding: dict[str, pd.Series]
    finer: dict[str, pd.DataFrame]

    def simulate(self, **changes: object) -> PortfolioResult:
        """The engine's result, with some parameters changed."""
        return simulate_portfolio(
            self.bars,
            self.decisions,
            EngineParameters(**self.parameters | changes),
            {symbol: MarketRules(**rules) for symbol, rules in self.rules.items()},
            self.funding,
            self.finer,
        )

    def arrays(self) -> tuple[list[BarArrays], tuple[MarketRules, ...]]:
        """What the engine reads of it."""
        parts = []
        for symbol, bars in self.bars.items():
            part = decision_arrays(bars, self.decisions[symbol], symbol)
            if symbol in self.funding:
                times, rates = funding_arrays(self.funding[symbol], symbol)
                part = replace(part, funding_ts=times, funding_rate=rates)
            if symbol in self.finer:
                part = with_finer_bars(part, self.finer[symbol], symbol)
            parts.append(part)
        return parts, tuple(MarketRules(**rules) for rules in self.rules.values())

    def clock(self) -> pd.DatetimeIndex:
        """Every time at which a symbol has a bar."""
        times = [bars.index for bars in self.bars.values()]
        return times[0].append(times[1:]).unique().sort_values()

    def same_steps(self, bars: dict[str, pd.DataFrame], finer: dict[str, pd.DataFrame]) -> bool:
        """Are these bars, a part of the own ones, as far apart as they?"""
        pairs = [(self.bars[symbol], bars[symbol]) for symbol in bars] + [
            (self.finer[symbol], finer[symbol]) for symbol in finer
        ]
        return all(
            len(part) > 1 and usual_step(index_ms(whole.index)) == usual_step(index_ms(part.index)) for whole, part in pairs
        )

    def with_one_symbol(self) -> Portfolio:
        """Only the first symbol, without lots and least notional, which make quantities jump."""
        name = next(iter(self.bars))
        parts = ({s: v for s, v in part.items() if s == name} for part in (self.bars, self.decisions))
        rules = {name: self.rules[name] | {"lot": 0.0, "min_notional": 0.0}}
        funding, finer = ({s: v for s, v in part.items() if s == name} for part in (self.funding, self.finer))
        return Portfolio(*parts, self.parameters, rules, funding, finer)

    def with_first_signal_only(self) -> Portfolio:
        """One symbol that is entered once, at the market."""
        alone = self.with_one_symbol()
        for symbol, frame in alone.decisions.items():
            side = frame["side"].where(frame["side"].ne(0) & ~frame["side"].ne(0).cumsum().gt(1), 0).astype("int8")
            alone.decisions[symbol] = frame.assign(side=side, limit_price=np.nan)
        return alone


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


def random_decisions(seed: int, bars: pd.DataFrame, entries: pd.Series) -> pd.DataFrame:
    """Decisions at the entries of a random market: both sides, levels on either side of the price, limits, exits; now and then
    some of the columns are left to their defaults."""
    rng = np.random.default_rng([seed, 2])
    n, close = len(bars), bars["close"].to_numpy()

    def sometimes(share: float, values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(n) < share, values, np.nan)

    shorts = rng.random(n) < rng.choice([0.0, 0.5])
    side = np.where(entries, np.where(shorts, -1, 1), 0)
    # Seldom on the wrong side of the price, or beyond the next open.
    away = side * close * np.where(rng.random(n) < 0.05, -1, 1)
    chance = rng.choice([0.0, 0.5, 1.0], 3)
    columns = {
        "side": side,
        "exit_long": rng.random(n) < rng.choice([0.0, 0.1]),
        "exit_short": rng.random(n) < rng.choice([0.0, 0.1]),
        "stop_level": sometimes(chance[0], np.maximum(close - away * rng.uniform(0.002, 0.1, n), 0.01)),
        "target_level": sometimes(chance[1], np.maximum(close + away * rng.uniform(0.002, 0.1, n), 0.01)),
        "limit_price": sometimes(chance[2], np.maximum(close - away * rng.uniform(-0.01, 0.05, n), 0.01)),
        "volatility": sometimes(0.9, rng.choice([0.0, 0.001, 0.01, 0.1], n)),
        "priority": rng.choice([0.0, 1.0, 2.5], n),
    }
    return pd.DataFrame(columns, index=bars.index).astype({"side": "int8"})


def random_parameters(seed: int) -> dict[str, object]:
    """Every engine parameter; each feature is off in a good part of the seeds."""
    rng = np.random.default_rng([seed, 3])

    def pick(*values: object) -> object:
        return values[rng.integers(len(values))]

    take_profit = pick(0.01, 0.05, 0.15, np.inf)
    return random_arguments(seed) | {
        "take_profit": take_profit,
        "stop_loss": pick(0.01, 0.05, 0.08, np.inf),
        "maker_fee_rate": pick(None, 0.0, 0.0005),
        "slippage_range_share": pick(0.0, 0.0, 0.1),
        "volume_impact": pick(0.0, 0.0, 0.02),
        "volume_share": pick(np.inf, np.inf, 0.05, 5.0),
        "sizing": pick("fraction", "risk", "volatility"),
        "risk_per_trade": pick(0.005, 0.02, 0.3),
        "target_volatility": pick(0.1, 1.0),
        "bars_per_year": 8760.0,
        "max_positions": pick(0, 1, 2),
        "short": pick(True, True, False),
        "cooldown_bars": pick(0, 0, 1, 3),
        "time_stop_bars": pick(0, 0, 1, 4),
        "trailing_stop": pick(0.0, 0.0, 0.02, 0.1),
        "break_even_at": pick(0.0, 0.0, 0.01, 0.05),
        "partial_take_profit": pick(0.0, 0.0, 0.3, 0.5),
        "partial_at": min(pick(0.005, 0.03), take_profit / 2),
        "limit_expiry_bars": pick(1, 2, 5),
    }


def random_portfolio(seed: int, n: int | None = None) -> Portfolio:
    """One to three symbols whose bars are not at the same times, with decisions, market rules, funding and finer bars."""
    rng = np.random.default_rng([seed, 4])
    bars, decisions, rules, funding, finer = {}, {}, {}, {}, {}
    for place in range(int(rng.integers(1, 4))):
        symbol = f"COIN{place}"
        bars[symbol], entries = random_market(seed * 3 + place, n)
        decisions[symbol] = random_decisions(seed * 3 + place, bars[symbol], entries)
        rules[symbol] = {
            "tick": float(rng.choice([0.0, 0.01, 0.5, 3.0])),
            "lot": float(rng.choice([0.0, 0.001, 0.5])),
            "min_notional": float(rng.choice([0.0, 10.0])),
        }
        if rng.random() < 0.3:
            times = bars[symbol].index[::3] + pd.Timedelta(int(rng.integers(0, 90)), "min")
            funding[symbol] = pd.Series(rng.normal(0, 0.002, len(times)), index=times)
        if rng.random() < 0.5:
            finer[symbol] = random_finer_bars(rng, bars[symbol])
    return Portfolio(bars, decisions, random_parameters(seed), rules, funding, finer)


def random_finer_bars(rng: np.random.Generator, bars: pd.DataFrame, minutes: int = 15) -> pd.DataFrame:
    """Parts of every hour that mostly make up the bar: random extremes, of which one has the bar's high and one its low;
    some are absent, filled or without volume."""
    parts = 60 // minutes
    rows = []
    for ts, bar in zip(bars.index, bars.to_dict("records"), strict=True):
        extremes = np.sort(rng.uniform(bar["low"], bar["high"], (parts, 2)), axis=1)
        extremes[rng.integers(parts), 1], extremes[rng.integers(parts), 0] = bar["high"], bar["low"]
        for part, (low, high) in enumerate(extremes):
            open_ = bar["open"] if part == 0 else rng.uniform(low, high)
            flags = {"volume": float(rng.random() > 0.05), "is_filled": rng.random() < 0.02}
            prices = {"open": open_, "high": max(high, open_), "low": min(low, open_), "close": rng.uniform(low, high)}
            rows.append({"ts": ts + pd.Timedelta(minutes * part, "min"), **prices, **flags})
    frame = pd.DataFrame(rows).set_index("ts")
    return frame[rng.random(len(frame)) > 0.01]


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
