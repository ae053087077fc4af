"""The leak detector over its whole corpus, 200 prefixes and as many shuffles of each: every leak found, nothing clean accused,
which is asserted. The corpus is the tests'.

`run()` gives rows of name, ours_s, peer_s, ratio, goal; there is no peer.
"""

from __future__ import annotations

import math
import time

import pandas as pd

from cryptai_pipelines.indicators.leaks import Columns, find_leak
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.leak_targets import strategy_columns
from cryptai_pipelines_tests.indicators import leak_corpus
from cryptai_pipelines_tests.indicators.samples import random_bars
from cryptai_pipelines_tests.strategy import strategy_corpus

BARS = 700
GOAL_S = 60


def run() -> list[dict[str, object]]:
    """One row: seconds of one pass over columns and strategies."""
    bars = random_bars(31, BARS, Timeframe.H1).assign(is_filled=False)
    leaking = {**leak_corpus.LEAKS, **_columns(strategy_corpus.LEAKING)}
    clean = {**leak_corpus.CLEAN, **_columns(strategy_corpus.CLEAN)}
    began = time.perf_counter()
    missed = [name for name, columns in leaking.items() if find_leak(columns, bars) is None]
    accused = [name for name, columns in clean.items() if find_leak(columns, bars) is not None]
    took = time.perf_counter() - began
    assert not missed and not accused, (missed, accused)
    name = f"leak detector: {len(leaking)} planted leaks, {len(clean)} clean columns and strategies, {BARS} bars each"
    return [{"name": name, "ours_s": took, "peer_s": math.nan, "ratio": math.nan, "goal": f"< {GOAL_S} s"}]


def _columns(strategies: dict) -> dict[str, Columns]:
    return {name: strategy_columns(strategy, Timeframe.H1) for name, strategy in strategies.items()}


if __name__ == "__main__":
    print(pd.DataFrame(run()).to_string(index=False))
