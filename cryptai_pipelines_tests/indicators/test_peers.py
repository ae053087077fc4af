"""Equality with TA-Lib on the whole history, the warm-ups that make it so, and the places where TA-Lib itself is inexact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from cryptai_pipelines.indicators.chunks import CHUNK_BARS, compute
from cryptai_pipelines.indicators.registry import DEFAULT_SET, REGISTRY
from cryptai_pipelines.indicators.warmup import LULL_BARS, wilder_bars
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import RECORDED, random_bars, recorded_bars, settled

TOLERANCE = 1e-9
RECURSIVE = [name for name in REGISTRY if name.startswith(("ema", "rsi", "macd", "atr"))]


def whole_history(bars: pd.DataFrame) -> dict[str, np.ndarray]:
    """TA-Lib, called once per indicator on all bars, without the registry."""
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    result = {f"sma_{n}": talib.SMA(close, timeperiod=n) for n in (20, 50, 200)}
    result |= {f"ema_{n}": talib.EMA(close, timeperiod=n) for n in (12, 26, 50, 200)}
    result["rsi_14"] = talib.RSI(close, timeperiod=14)
    macd = talib.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    result |= dict(zip(("macd", "macd_signal", "macd_histogram"), macd, strict=True))
    bands = talib.BBANDS(close, timeperiod=20, nbdevup=2.0, nbdevdn=2.0, matype=0)
    result |= dict(zip(("bb_upper", "bb_middle", "bb_lower"), bands, strict=True))
    result["atr_14"] = talib.ATR(high, low, close, timeperiod=14)
    stochastic = talib.STOCH(high, low, close, 14, 3, 0, 3, 0)
    result |= dict(zip(("stoch_k", "stoch_d"), stochastic, strict=True))
    result["cci_20"] = talib.CCI(high, low, close, timeperiod=20)
    result["adx_14"] = talib.ADX(high, low, close, timeperiod=14)
    result["obv"] = talib.OBV(close, bars["volume"].to_numpy())
    return result


def scale(name: str, values: np.ndarray, close: np.ndarray) -> np.ndarray:
    """What an error of `name` is measured against: the price for differences of prices, 100 for oscillators."""
    if name.startswith(("macd", "bb")):
        return close
    if name.startswith(("rsi", "stoch", "adx")):
        return np.full(len(close), 100.0)
    if name.startswith("cci"):
        return np.maximum(100.0, np.abs(values))
    if name == "obv":
        return np.full(len(close), np.max(np.abs(values)))
    return np.abs(values)


def assert_peer(bars: pd.DataFrame, timeframe: Timeframe) -> None:
    ours, peer, close = compute(bars, DEFAULT_SET, timeframe, 0), whole_history(bars), bars["close"].to_numpy()
    assert list(ours.columns) == [name for spec in DEFAULT_SET for name in spec.outputs]
    assert set(ours.columns) == set(peer)
    declared = {output: spec for spec in DEFAULT_SET for output in spec.outputs}
    for name, whole in peer.items():
        values, expected = ours[name].to_numpy(), settled(whole, declared[name])
        assert np.array_equal(np.isnan(values), np.isnan(expected)), name
        error = np.abs(values - expected) / scale(name, expected, close)
        assert np.nanmax(error, initial=0.0) < TOLERANCE, f"{name} differs by {np.nanmax(error)}"


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_series_equal_talib(real_data: Path, name: str) -> None:
    assert_peer(recorded_bars(real_data, name), RECORDED[name])


@pytest.mark.parametrize("price", [1e-8, 1.0, 1e6])
@pytest.mark.parametrize("volatility", [1e-4, 0.003, 0.02])
def test_random_series_equal_talib(price: float, volatility: float) -> None:
    assert_peer(random_bars(17, 30_000, Timeframe.H1, missing=0.05, volatility=volatility, price=price), Timeframe.H1)


@pytest.mark.parametrize("count", [1, 2, 20, 200, 300, 519, 3_000])
def test_short_series_equal_talib(count: int) -> None:
    assert_peer(random_bars(4, count, Timeframe.D1), Timeframe.D1)


@pytest.mark.parametrize("fall", [1e-2, 1e-3])
def test_a_crash_within_the_warm_up_is_forgotten_in_time(fall: float) -> None:
    """The price falls to a thousandth just before the warm-up of a chunk begins: the margin the warm-ups are made for."""
    bars = random_bars(8, 4 * CHUNK_BARS, Timeframe.H1, volatility=0.002)
    begins = np.flatnonzero(np.diff(bars.index.asi8 // (CHUNK_BARS * Timeframe.H1.ms))) + 1
    for name in ("ema_12", "ema_200", "macd", "atr_14"):
        spec = REGISTRY[name]
        factor = np.where(np.arange(len(bars)) < begins[1] - spec.warmup + 1, 1.0, fall)
        crashed = bars.mul(factor, axis=0)
        ours, peer = compute(crashed, (spec,), Timeframe.H1, 0), whole_history(crashed)
        for output in spec.outputs:
            error = np.abs(ours[output].to_numpy() - peer[output]) / crashed["close"].to_numpy()
            assert np.nanmax(error[begins[1] :]) < TOLERANCE


@pytest.mark.parametrize("name", RECURSIVE)
def test_the_declared_warm_up_is_needed_and_enough(real_data: Path, name: str) -> None:
    """Measured at 60 places of a real series: the error left by the declared warm-up, and by a third of it."""
    bars = recorded_bars(real_data, "binance/BTCUSDT_1h")
    spec, close = REGISTRY[name], bars["close"].to_numpy()
    columns = {column: bars[column].to_numpy() for column in spec.inputs}
    truth = spec.compute(columns)
    # The lull is a margin for runs of equal closes, of which this series has none.
    needed = spec.warmup - (LULL_BARS if name == "rsi_14" else 0)

    def error(warmup: int) -> float:
        worst = 0.0
        for at in range(5_000, 77_000, 1_200):
            values = spec.compute({column: array[at - warmup : at + 1] for column, array in columns.items()})
            for output, mine, true in zip(spec.outputs, values, truth, strict=True):
                worst = max(worst, float(abs(mine[-1] - true[at]) / scale(output, true[at : at + 1], close[at : at + 1])[0]))
        return worst

    assert error(needed) < TOLERANCE / 10
    assert error(needed // 3) > TOLERANCE


def flat_run(length: int) -> tuple[pd.DataFrame, slice]:
    """A series whose close stands still for `length` bars, and the positions of that run."""
    bars = random_bars(9, 3 * CHUNK_BARS, Timeframe.M1)
    run = slice(CHUNK_BARS // 2, CHUNK_BARS // 2 + length)
    still = bars["close"].iloc[run.start]
    bars.iloc[run, :4] = still
    return bars, run


@pytest.mark.parametrize("before_edge", [100, wilder_bars(14), LULL_BARS - 1])
def test_rsi_outlasts_a_day_of_minutes_without_a_change(before_edge: int) -> None:
    bars = random_bars(9, 3 * CHUNK_BARS, Timeframe.M1)
    edge = int(np.flatnonzero(np.diff(bars.index.asi8 // (CHUNK_BARS * Timeframe.M1.ms)))[0]) + 1
    bars.iloc[edge - before_edge : edge + 500, :4] = bars["close"].iloc[edge - before_edge]
    ours = compute(bars, (REGISTRY["rsi_14"],), Timeframe.M1, 0)["rsi_14"].to_numpy()
    assert np.nanmax(np.abs(ours - talib.RSI(bars["close"].to_numpy(), 14))) < 100 * TOLERANCE
    assert 1 < ours[edge] < 99


def test_rsi_of_a_longer_standstill_is_that_of_a_series_that_never_moved() -> None:
    bars, run = flat_run(2 * CHUNK_BARS)
    ours = compute(bars, (REGISTRY["rsi_14"],), Timeframe.M1, 0)["rsi_14"].to_numpy()
    assert talib.RSI(np.full(50, 7.0), 14)[-1] == 0.0
    assert ours[run.start + 100] > 1 and ours[run.stop - 1] == 0.0


def exact_bands(close: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bollinger 20/2 of every full window, each computed afresh in extended precision."""
    windows = np.lib.stride_tricks.sliding_window_view(close, 20).astype(np.longdouble)
    mean = windows.mean(axis=1)
    width = 2 * np.sqrt(((windows - mean[:, None]) ** 2).mean(axis=1))
    return mean + width, mean, mean - width


@pytest.mark.parametrize("tick", [0.0, 1e-6, 1e-2])
def test_bands_of_nearly_still_prices_are_exact(tick: float) -> None:
    bars = random_bars(2, 20_000, Timeframe.M1)
    close = 50_000 + tick * np.round(np.random.default_rng(2).normal(0, 2, len(bars)))
    ours = compute(bars.assign(close=close), (REGISTRY["bollinger"],), Timeframe.M1, 0)
    for name, expected in zip(ours.columns, exact_bands(close), strict=True):
        assert np.max(np.abs(ours[name].to_numpy()[19:] - expected) / close[19:]) < TOLERANCE


def test_a_chunk_is_rid_of_a_monstrous_price_that_talib_never_forgets() -> None:
    bars = random_bars(2, 4 * CHUNK_BARS, Timeframe.M1, price=1.0, volatility=1e-4)
    bars.iloc[3_000, :4] = 1e12
    ours = compute(bars, (REGISTRY["sma_20"],), Timeframe.M1, 0)["sma_20"].to_numpy()
    exact, tail = exact_bands(bars["close"].to_numpy())[1], slice(-2 * CHUNK_BARS, None)
    assert np.max(np.abs(ours[tail] - exact[tail])) < TOLERANCE
    assert np.max(np.abs(talib.SMA(bars["close"].to_numpy(), 20)[tail] - exact[tail])) > 100 * TOLERANCE
