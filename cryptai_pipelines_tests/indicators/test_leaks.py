"""Every planted leak is found and no clean column is accused; our own columns are held against it in `test_no_leaks`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.indicators.leaks import find_leak
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.leak_corpus import CLEAN, LEAKS
from cryptai_pipelines_tests.indicators.samples import random_bars, recorded_bars

BARS = random_bars(31, 700, Timeframe.H1)


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(LEAKS) >= 30 and len(CLEAN) >= 20


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found(name: str) -> None:
    for seed in range(3):
        assert find_leak(LEAKS[name], BARS, seed=seed) is not None


@pytest.mark.parametrize("name", CLEAN)
def test_what_is_clean_is_not_accused(name: str) -> None:
    for seed in range(3):
        assert find_leak(CLEAN[name], BARS, seed=seed) is None


@pytest.mark.parametrize("name", ["binance/BTCUSDT_1h", "kraken/BTCUSD_1h"])
def test_a_recorded_market_gives_the_same_verdicts(real_data: Path, name: str) -> None:
    bars = recorded_bars(real_data, name)[["open", "high", "low", "close", "volume"]].iloc[-900:]
    assert [one for one, columns in LEAKS.items() if find_leak(columns, bars) is None] == []
    assert [one for one, columns in CLEAN.items() if find_leak(columns, bars) is not None] == []


def test_the_first_bar_and_column_are_named() -> None:
    """Of two columns the second leaks, from the bar 400 on only."""
    ts = index_ms(BARS.index)

    def columns(bars: pd.DataFrame) -> pd.DataFrame:
        ahead = bars["close"].shift(-1).where(np.arange(len(bars)) >= 400, bars["close"])
        return pd.DataFrame({"honest": bars["close"], "ahead": ahead})

    found = find_leak(columns, BARS, cuts=1_500)
    assert found is not None and (found.column, found.ts_ms, found.known_until_ms) == ("ahead", int(ts[400]), int(ts[400]))
    close = BARS["close"].to_numpy()
    assert found.whole == close[401]
    assert str(found).startswith("ahead at 20") and f"{close[401]:.10g}" in str(found)


def test_an_infinite_value_hides_nothing() -> None:
    found = find_leak(
        lambda bars: pd.DataFrame({"up": np.where(bars["close"].shift(-1).notna(), np.inf, 0.0)}, bars.index), BARS
    )
    assert found is not None and found.whole == np.inf


def test_rounding_of_a_column_that_is_mostly_nothing_is_no_leak() -> None:
    def smoothed(bars: pd.DataFrame) -> pd.DataFrame:
        rare = (bars["close"] > bars["high"].rolling(100).max().shift(1)).to_numpy(float)
        spectrum = np.fft.rfft(rare, 2_048) * np.fft.rfft([0.5, 0.3, 0.2], 2_048)
        return pd.DataFrame({"smoothed": np.fft.irfft(spectrum, 2_048)[: len(bars)]}, index=bars.index)

    assert find_leak(smoothed, BARS) is None


def test_no_more_prefixes_are_made_than_asked_for() -> None:
    made = []

    def many(bars: pd.DataFrame) -> pd.DataFrame:
        made.append(len(bars))
        return pd.DataFrame({f"c{number}": bars["close"] * number for number in range(300)}, index=bars.index)

    assert find_leak(many, BARS, cuts=20) is None and len(made) <= 2 + 2 * 20


def test_input_that_cannot_be_judged_is_named() -> None:
    with pytest.raises(BadInput, match="99 bars are not enough.*100 and more"):
        find_leak(CLEAN["the_close"], BARS.iloc[:99])
    with pytest.raises(BadInput, match="at least one, not Series"):
        find_leak(lambda bars: bars["close"], BARS)
    with pytest.raises(BadInput, match="another index"):
        find_leak(lambda bars: bars[["close"]].iloc[1:], BARS)
    with pytest.raises(BadInput, match="'word' holds"):
        find_leak(lambda bars: pd.DataFrame({"word": ["up"] * len(bars)}, index=bars.index), BARS)
    with pytest.raises(BadInput, match="two columns have one name: close, close"):
        find_leak(lambda bars: bars[["close", "close"]], BARS)
    with pytest.raises(BadInput, match="'noise' has other values when it is computed again"):
        find_leak(lambda bars: pd.DataFrame({"noise": np.random.default_rng().random(len(bars))}, index=bars.index), BARS)
    with pytest.raises(BadInput, match="with all of them"):
        find_leak(lambda bars: pd.DataFrame({f"of_{len(bars)}": bars["close"]}), BARS)
