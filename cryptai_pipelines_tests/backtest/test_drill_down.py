"""Looking into finer bars only where they are asked gives what all of them at once give, and nothing else can change it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest import EngineParameters, drill_down
from cryptai_pipelines.backtest.drill_down import (
    ASKED_DTYPE,
    NONE_ASKED,
    advance_together_with_finer,
    advance_with_finer,
    ambiguity_counts,
    told_ambiguity,
)
from cryptai_pipelines.backtest.engine import EngineState, advance, advance_together, start
from cryptai_pipelines.backtest.inputs import decision_arrays
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.backtest.parameters import MarketRules
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.timeframe import Timeframe

from .conftest import random_finer_bars, random_portfolio

SEEDS = st.integers(0, 2**32 - 1)
HOUR = Timeframe.H1.ms


class Market:
    """One symbol with finer bars of two timeframes, more of the shorter ones missing, and a shelf that they are read from."""

    def __init__(self, seed: int) -> None:
        portfolio = random_portfolio(seed, 100).with_one_symbol()
        [(symbol, bars)] = portfolio.bars.items()
        rng = np.random.default_rng([seed, 9])
        # Where few of them are complete the books part, and finer bars are asked of bars of the optimistic one alone.
        shares = {Timeframe.M15: rng.choice([0.0, 0.3]), Timeframe.M5: rng.choice([0.0, 0.05])}
        frames = {timeframe: random_finer_bars(rng, bars, timeframe.ms // 60_000) for timeframe in shares}
        self.finer = {timeframe: frame[rng.random(len(frame)) >= shares[timeframe]] for timeframe, frame in frames.items()}
        self.bars = decision_arrays(bars, portfolio.decisions[symbol], symbol)
        self.state = start(EngineParameters(**portfolio.parameters), [MarketRules(**portfolio.rules[symbol])])
        self.asked: dict[Timeframe, list[int]] = {timeframe: [] for timeframe in self.finer}

    def readers(self) -> dict[Timeframe, drill_down.ReadFiner]:
        def reader(timeframe: Timeframe) -> drill_down.ReadFiner:
            def read(opens: np.ndarray) -> pd.DataFrame:
                self.asked[timeframe] += opens.tolist()
                frame = self.finer[timeframe]
                return frame[np.isin(index_ms(frame.index) // HOUR * HOUR, opens)]

            return read

        return {timeframe: reader(timeframe) for timeframe in self.finer}

    def with_all_finer(self) -> BarArrays:
        """The bars with the finer ones behind all of them, chosen bar by bar."""
        starts, rows = [], [np.zeros((3, 0))]
        for ts in self.bars.ts.tolist():
            parts = next(filter(len, (self.parts(ts, timeframe) for timeframe in (Timeframe.M5, Timeframe.M15))), [])
            begin = sum(part.shape[1] for part in rows)
            starts.append((begin, begin + len(parts)))
            rows.append(np.array([[part[name] for part in parts] for name in ("open", "high", "low")]).reshape(3, -1))
        return replace(self.bars, finer_starts=np.array(starts, np.int64), finer=np.concatenate(rows, axis=1))

    def parts(self, ts: int, timeframe: Timeframe) -> list[dict]:
        frame = self.finer[timeframe]
        opens = index_ms(frame.index)
        inside = frame[(opens >= ts) & (opens < ts + HOUR)].to_dict("records")
        complete = len(inside) == HOUR // timeframe.ms and not any(part["is_filled"] for part in inside)
        return [part for part in inside if part["volume"] > 0] if complete else []

    def drilled(self, cuts: list[int]) -> tuple[EngineState, tuple[np.ndarray, ...], np.ndarray]:
        """The state at the end, the trades of both books and what was asked, with the bars cut into parts."""
        state, steps = self.state, []
        edges = [0, *sorted(cuts), len(self.bars.ts)]
        for begin, end in zip(edges, edges[1:], strict=False):
            steps.append(advance_with_finer(state, self.bars.rows(begin, end), Timeframe.H1, self.readers()))
            state = steps[-1][0].state
        trades = (np.concatenate([getattr(step, name) for step, _ in steps]) for name in ("trades", "optimistic_trades"))
        return state, tuple(trades), np.concatenate([asked for _, asked in steps])


def bits(state: EngineState, trades: tuple[np.ndarray, ...]) -> tuple[bytes, ...]:
    return state.to_bytes(), *(part.tobytes() for part in trades)


@given(SEEDS, st.lists(st.integers(0, 120), max_size=4))
def test_equals_all_finer_bars_at_once(seed, cuts):
    market = Market(seed)
    whole = advance(market.state, market.with_all_finer())
    state, trades, asked = market.drilled(cuts)
    assert bits(state, trades) == bits(whole.state, (whole.trades, whole.optimistic_trades))
    assert asked["ts"].tolist() == market.bars.ts[whole.judged > 0].tolist()
    assert asked["ambiguous"].tolist() == (whole.judged[whole.judged > 0] == 1).tolist()
    for ts, finer_ms in asked[["ts", "finer_ms"]].tolist():
        lengths = [timeframe.ms for timeframe in (Timeframe.M5, Timeframe.M15) if market.parts(ts, timeframe)]
        assert finer_ms == min(lengths, default=0)


@given(SEEDS)
def test_symbols_on_one_capital_equal_all_their_finer_bars_at_once(seed):
    """What one symbol's finer bars tell may change what another's are asked."""
    portfolio = random_portfolio(seed, 120)
    rng = np.random.default_rng([seed, 9])
    finer = {symbol: random_finer_bars(rng, bars, 15) for symbol, bars in portfolio.bars.items()}
    plain, rules = portfolio._replace(finer={}).arrays()
    behind, _ = portfolio._replace(finer=finer).arrays()
    state = start(EngineParameters(**portfolio.parameters), rules)

    def reader(frame: pd.DataFrame) -> drill_down.ReadFiner:
        return lambda opens: frame[np.isin(index_ms(frame.index) // HOUR * HOUR, opens)]

    readers = [{Timeframe.M15: reader(frame)} for frame in finer.values()]
    whole = advance_together(state, behind, with_ledger=True)
    step, asked = advance_together_with_finer(state, plain, Timeframe.H1, readers, with_ledger=True)
    trades, wanted = ((one.trades, one.optimistic_trades) for one in (step, whole))
    assert bits(step.state, trades) == bits(whole.state, wanted)
    assert step.ledger.tobytes() == whole.ledger.tobytes()
    judged = np.split(whole.judged, np.cumsum([len(bars.ts) for bars in plain])[:-1])
    assert [one["ts"].tolist() for one in asked] == [bars.ts[of > 0].tolist() for bars, of in zip(plain, judged, strict=True)]


@given(SEEDS)
def test_no_other_finer_bar_matters_nor_is_read(seed):
    market = Market(seed)
    state, trades, asked = market.drilled([])
    assert all(len(opens) == len(set(opens)) for opens in market.asked.values()), "no bar is looked into twice"
    assert set(market.asked[Timeframe.M5]) >= set(asked["ts"].tolist())
    rng = np.random.default_rng(seed)
    for timeframe, frame in market.finer.items():
        free = ~np.isin(index_ms(frame.index) // HOUR * HOUR, asked["ts"])
        changed = frame.assign(high=np.where(free, frame["high"] * 2, frame["high"]))
        market.finer[timeframe] = changed[~free | (rng.random(len(frame)) < 0.7)]
    again = market.drilled([])
    assert bits(*again[:2]) == bits(state, trades) and again[2].tobytes() == asked.tobytes()


@given(SEEDS)
def test_reading_in_small_parts_is_the_same(seed):
    market = Market(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drill_down, "_ROWS_AT_ONCE", 1)
        state, trades, asked = market.drilled([])
    other = market.drilled([])
    assert bits(*other[:2]) == bits(state, trades) and other[2].tobytes() == asked.tobytes()


def test_the_markets_ask_and_are_told():
    counts = dict.fromkeys(("ambiguous_bars", "told_apart_by_5m", "told_apart_by_15m"), 0)
    again = 0
    for seed in range(60):
        market = Market(seed)
        asked = market.drilled([])[2]
        again += len(set(market.asked[Timeframe.M5]) - set(asked["ts"].tolist()))
        for name in counts:
            counts[name] += ambiguity_counts(asked).get(name, 0)
    assert min(counts.values()) > 20, counts
    assert again > 0, "some bars are no longer asked once finer bars have told of those before them"


def test_without_finer_bars_it_is_the_plain_engine():
    market = Market(5)
    plain, (step, asked) = advance(market.state, market.bars), advance_with_finer(market.state, market.bars, Timeframe.H1, {})
    assert bits(step.state, (step.trades,)) == bits(plain.state, (plain.trades,))
    assert len(asked) == np.count_nonzero(plain.judged) > 0 and not asked["finer_ms"].any() and asked["ambiguous"].all()


def test_the_counts_in_words():
    rows = [(0, 60_000, False), (1, 60_000, False), (2, 300_000, False), (3, 60_000, True), (4, 0, True)]
    counts = ambiguity_counts(np.array(rows, dtype=ASKED_DTYPE))
    assert counts == {"ambiguous_bars": 2, "told_apart_bars": 3, "told_apart_by_1m": 2, "told_apart_by_5m": 1}
    assert told_ambiguity(counts) == "ambiguous bars: 2, told apart by finer ones: 2 by 1m bars, 1 by 5m bars"
    assert told_ambiguity(ambiguity_counts(NONE_ASKED)) == "ambiguous bars: 0, told apart by finer ones: 0"
    assert told_ambiguity({"sharpe": 1.0}) is None
