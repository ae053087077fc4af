"""Every indicator of the registry: it has what it declares, its warm-up is as long as it must be, its chunks are TA-Lib's
values, and it knows no later bar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from talib import abstract

from cryptai_pipelines.indicators import candles
from cryptai_pipelines.indicators.chunks import CHUNK_BARS, compute
from cryptai_pipelines.indicators.filling import talib_fill
from cryptai_pipelines.indicators.registry import REGISTRY
from cryptai_pipelines.indicators.spec import HIGH_LOW_CLOSE, IndicatorSpec, talib_indicator
from cryptai_pipelines.market.bars import BAR_COLUMNS
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import bits, random_bars, recorded_bars, settled

TOLERANCE = 1e-9
ALL = tuple(REGISTRY.values())
FORGETTING = tuple(spec for spec in ALL if spec.carry is None)
# What depends on a window of bars and on nothing before it; the others are recursive.
WINDOWED = (
    "sma_20 sma_50 sma_200 wma_20 trima_20 hma_20 vwma_20 midpoint_14 midprice_14 linear_regression_14"
    " linear_regression_slope_14 time_series_forecast_14 bollinger donchian acceleration ichimoku aroon aroon_oscillator_14"
    " vortex vertical_horizontal_filter_28 efficiency_ratio_10 stochastic stochastic_fast cci_20 williams_r_14 momentum_10"
    " rate_of_change_10 ultimate_oscillator awesome_oscillator accelerator balance_of_power coppock detrended_price_20"
    " forecast_oscillator_5 intraday_momentum_14 qstick_10 true_range average_range_14 standard_deviation_20 variance_20"
    " average_deviation_14 vwap_20 mfi_14 cmf_20 market_facilitation relative_volume_20"
).split()


def arrays(bars: pd.DataFrame, spec: IndicatorSpec, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(bars[name].to_numpy("float64")[rows]) for name in spec.inputs}


def scale(values: np.ndarray) -> np.ndarray:
    """What an error is measured against: the value, or its usual size where it crosses zero."""
    return np.maximum(np.abs(values), np.nanmedian(np.abs(values)))


def test_how_many_there_are() -> None:
    assert len(REGISTRY) - len(candles.CANDLES) >= 60
    assert {f"CDL{name}" for name in candles.NAMES} == set(talib.get_function_groups()["Pattern Recognition"])
    assert len(candles.CANDLES) == 61


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_an_entry_is_what_it_declares(spec: IndicatorSpec) -> None:
    assert set(spec.inputs) <= set(BAR_COLUMNS)
    bars = random_bars(1, spec.warmup + 300, Timeframe.H1)
    outputs = spec.compute(arrays(bars, spec))
    assert len(outputs) == len(spec.outputs)
    for values in outputs:
        assert len(values) == len(bars) and np.isfinite(np.asarray(values, float)[spec.warmup :]).all()


@pytest.mark.parametrize("name", WINDOWED)
def test_the_warm_up_of_a_window_is_exact(name: str) -> None:
    """One bar less, and the last value would be another one or none."""
    spec = REGISTRY[name]
    bars = random_bars(1, spec.warmup + 1, Timeframe.H1)
    assert all(np.isfinite(values[-1]) for values in spec.compute(arrays(bars, spec)))
    if spec.warmup:
        shorter = spec.compute(arrays(bars, spec, slice(1, None)))
        assert any(np.isnan(values[-1]) for values in shorter)


@pytest.mark.parametrize(
    "name", sorted({spec.name for spec in FORGETTING} - set(WINDOWED) - {spec.name for spec in candles.CANDLES})
)
def test_a_recursive_one_has_a_longer_warm_up_than_its_first_value(name: str) -> None:
    spec = REGISTRY[name]
    bars = random_bars(1, spec.warmup + 1, Timeframe.H1)
    first = max(int(np.argmax(np.isfinite(values))) for values in spec.compute(arrays(bars, spec)))
    assert spec.warmup > 2 * first


@pytest.fixture(scope="module")
def markets(real_data: Path) -> list[pd.DataFrame]:
    recorded = [recorded_bars(real_data, name).iloc[-40_000:] for name in ("binance/BTCUSDT_1h", "binance/BTCUSDT_5m")]
    return [random_bars(1, 30_000, Timeframe.H1), random_bars(2, 30_000, Timeframe.H1, volatility=0.001), *recorded]


@pytest.mark.parametrize("spec", FORGETTING, ids=lambda spec: spec.name)
def test_after_the_warm_up_no_value_remembers_what_was_before(markets: list[pd.DataFrame], spec: IndicatorSpec) -> None:
    """The value from the warm-up alone is the one from all of the past, to 1e-9."""
    rng = np.random.default_rng(5)
    for bars in markets:
        columns = arrays(bars, spec)
        whole = [np.asarray(values, float) for values in spec.compute(columns)]
        for at in rng.integers(spec.warmup + 1, len(bars), 8).tolist():
            part = {name: values[at - spec.warmup : at + 1] for name, values in columns.items()}
            for output, values, alone in zip(spec.outputs, whole, spec.compute(part), strict=True):
                error = abs(values[at] - alone[-1]) / max(abs(values[at]), np.nanmedian(np.abs(values)), 1e-300)
                assert error < TOLERANCE, (output, at, values[at], alone[-1])


@pytest.mark.parametrize("number", range(4))
def test_chunks_are_the_values_of_one_call_of_talib(markets: list[pd.DataFrame], number: int) -> None:
    """Over the whole history, for all at once, with NaN in the same places and before the warm-up."""
    timeframe = (Timeframe.H1, Timeframe.H1, Timeframe.H1, Timeframe.M5)[number]
    bars = markets[number]
    ours = compute(bars, ALL, timeframe, 0)
    for spec in ALL:
        for name, peer in zip(spec.outputs, spec.compute(arrays(bars, spec)), strict=True):
            values, expected = ours[name].to_numpy(), settled(peer, spec)
            assert np.array_equal(np.isnan(values), np.isnan(expected)), name
            assert np.nanmax(np.abs(values - expected) / np.maximum(scale(expected), 1e-300), initial=0.0) < TOLERANCE, name


def test_no_value_of_any_indicator_knows_a_later_bar() -> None:
    bars = random_bars(23, 2 * CHUNK_BARS + 500, Timeframe.H1, missing=0.02)
    whole = compute(bars, ALL, Timeframe.H1, 0)
    ends = np.random.default_rng(3).integers(1, len(bars), 25).tolist()
    for end in [*ends, 1, 2, len(bars) - 1]:
        assert bits(compute(bars.iloc[:end], ALL, Timeframe.H1, 0)) == bits(whole.iloc[:end])


def test_the_volume_weighted_price_of_a_worked_example() -> None:
    """Typical prices 2, 4, 6, ... with volumes 1, 0, 1, 0, ...: the mean of every second one; none where nothing was traded."""
    typical = 2.0 * np.arange(1, 26)
    volume = np.tile([1.0, 0.0], 13)[:25]
    columns = {"high": typical + 1, "low": typical - 1, "close": typical, "volume": volume}
    (found,) = volume_weighted(columns)
    assert np.isnan(found[:19]).all()
    assert found[19:].tolist() == [20.0, 24.0, 24.0, 28.0, 28.0, 32.0]
    (nothing,) = volume_weighted({**columns, "volume": np.zeros(25)})
    assert np.isnan(nothing).all()


def volume_weighted(columns: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    return REGISTRY["vwap_20"].compute(columns)


def test_what_weighs_by_volume_is_talibs_while_something_is_traded() -> None:
    bars = random_bars(11, 3_000, Timeframe.H1)
    high, low, close, volume = (bars[name].to_numpy() for name in ("high", "low", "close", "volume"))
    peers = {
        "vwma_20": talib.VWMA(close, volume, timeperiod=20),
        "cmf_20": talib.CMF(high, low, close, volume, timeperiod=20),
        "relative_volume_20": talib.RVOL(volume, timeperiod=20),
    }
    for name, peer in peers.items():
        (ours,) = REGISTRY[name].compute(arrays(bars, REGISTRY[name]))
        np.testing.assert_allclose(ours, peer, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", ["vwap_20", "vwma_20", "cmf_20", "relative_volume_20"])
def test_where_nothing_is_traded_nothing_is_made_of_rounding(name: str) -> None:
    """A hole of 30 filled bars: no value in the windows that lie in it, and sound ones right behind."""
    bars = random_bars(12, 600, Timeframe.H1, price=30_000.0)
    bars.iloc[300:330, bars.columns.get_loc("volume")] = 0.0
    (values,) = REGISTRY[name].compute(arrays(bars, REGISTRY[name]))
    within = values[320:330] if name != "relative_volume_20" else values[321:331]
    assert np.isnan(within).all()
    sound = values[np.isfinite(values)]
    low, high = {"cmf_20": (-1, 1), "relative_volume_20": (0, 1_000)}.get(name, (bars["low"].min(), bars["high"].max()))
    assert sound.min() >= low and sound.max() <= high and len(sound) > 500


def test_ichimoku_of_a_worked_example() -> None:
    """A straight rise by 1 a bar with a range of 2: the middle of n bars lies (n - 1) / 2 below the last middle."""
    middle = np.arange(100.0, 180.0)
    found = REGISTRY["ichimoku"].compute({"high": middle + 1, "low": middle - 1})
    conversion, base, leading_a, leading_b = (values[-1] for values in found)
    assert (conversion, base, leading_b) == (179 - 4, 179 - 12.5, 179 - 25.5)
    assert leading_a == (conversion + base) / 2
    assert [int(np.argmax(np.isfinite(values))) for values in found] == [8, 25, 25, 51]


def test_integers_of_talib_are_not_written_as_floats() -> None:
    """The side of the supertrend is one, though its name does not say so."""
    bars = random_bars(1, 3_000, Timeframe.H1)
    columns = [bars[name].to_numpy() for name in ("high", "low", "close")]
    level, side = talib.SUPERTREND(*columns, timeperiod=10, multiplier=3.0)
    assert side.dtype.kind == "i" and talib_fill("SUPERTREND", ()) is None
    spec = talib_indicator(
        "supertrend", "SUPERTREND", HIGH_LOW_CLOSE, 400, ("supertrend", "supertrend_side"), timeperiod=10, multiplier=3.0
    )
    ours = compute(bars, (spec,), Timeframe.H1, 0)
    assert np.array_equal(ours["supertrend_side"], settled(side, spec), equal_nan=True)
    assert np.array_equal(ours["supertrend"], settled(level, spec), equal_nan=True)


def test_talib_has_what_is_written_of_its_windows() -> None:
    """TA-Lib's own look-back of the windowed ones that it has under one name."""
    for name, function in (("hma_20", "HMA"), ("ultimate_oscillator", "ULTOSC"), ("coppock", "COPPOCK"), ("vortex", "VORTEX")):
        peer = abstract.Function(function)
        peer.parameters = dict(REGISTRY[name].parameters)
        assert peer.lookback == REGISTRY[name].warmup
