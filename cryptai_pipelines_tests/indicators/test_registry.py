"""What the registry holds, and that one entry is all it takes to add an indicator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import talib

from cryptai_pipelines.indicators.chunks import CHUNK_BARS, compute
from cryptai_pipelines.indicators.filling import talib_fill
from cryptai_pipelines.indicators.registry import DEFAULT_SET, REGISTRY, find_indicator, index_by_name
from cryptai_pipelines.indicators.spec import CLOSE, HIGH_LOW_CLOSE, IndicatorSpec, talib_indicator
from cryptai_pipelines.indicators.warmup import window_bars
from cryptai_pipelines.market.bars import BAR_COLUMNS
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import random_bars, settled

SMA_20 = find_indicator("sma_20")


def test_the_default_set() -> None:
    assert {spec.name: dict(spec.parameters) for spec in DEFAULT_SET} == {
        **{f"sma_{n}": {"timeperiod": n} for n in (20, 50, 200)},
        **{f"ema_{n}": {"timeperiod": n} for n in (12, 26, 50, 200)},
        "rsi_14": {"timeperiod": 14},
        "macd": {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9},
        "bollinger": {"timeperiod": 20, "nbdevup": 2.0, "nbdevdn": 2.0, "matype": 0},
        "atr_14": {"timeperiod": 14},
        "stochastic": {"fastk_period": 14, "slowk_period": 3, "slowk_matype": 0, "slowd_period": 3, "slowd_matype": 0},
        "cci_20": {"timeperiod": 20},
        "adx_14": {"timeperiod": 14},
        "obv": {},
    }
    expected = "sma_20 sma_50 sma_200 ema_12 ema_26 ema_50 ema_200 rsi_14 macd macd_signal macd_histogram "
    expected += "bb_upper bb_middle bb_lower atr_14 stoch_k stoch_d cci_20 adx_14 obv"
    assert [output for spec in DEFAULT_SET for output in spec.outputs] == expected.split()


@pytest.mark.parametrize("spec", DEFAULT_SET, ids=lambda spec: spec.name)
def test_an_entry_is_consistent(spec: IndicatorSpec) -> None:
    assert set(spec.inputs) <= set(BAR_COLUMNS)
    bars = random_bars(1, spec.warmup + 50, Timeframe.H1)
    outputs = spec.compute({name: bars[name].to_numpy() for name in spec.inputs})
    assert len(outputs) == len(spec.outputs)
    assert all(np.isfinite(values[spec.warmup :]).all() for values in outputs)
    with pytest.raises(TypeError):
        spec.parameters["timeperiod"] = 3  # type: ignore[index]


def test_window_warm_ups_are_exact() -> None:
    """One bar less would leave the first value of a chunk without its whole window."""
    for name in ("sma_20", "sma_50", "sma_200", "bollinger", "stochastic", "cci_20"):
        spec = REGISTRY[name]
        bars = random_bars(1, spec.warmup + 1, Timeframe.H1)
        columns = {column: bars[column].to_numpy() for column in spec.inputs}
        assert all(np.isfinite(values[-1]) for values in spec.compute(columns))
        shorter = spec.compute({column: values[1:] for column, values in columns.items()})
        assert all(np.isnan(values[-1]) for values in shorter)


def test_two_entries_may_not_share_a_name_or_a_column() -> None:
    with pytest.raises(ValueError, match="'sma_20' is registered twice"):
        index_by_name((SMA_20, SMA_20))
    thief = talib_indicator("mean", "SMA", CLOSE, window_bars(20), ("sma_20",), timeperiod=20)
    with pytest.raises(ValueError, match="'mean' writes the column 'sma_20', which 'sma_20' writes"):
        index_by_name((SMA_20, thief))


def test_adding_an_indicator_of_talib_is_one_entry() -> None:
    added = talib_indicator("willr_14", "WILLR", HIGH_LOW_CLOSE, window_bars(14), timeperiod=14)
    bars = random_bars(1, 3 * CHUNK_BARS, Timeframe.H1, missing=0.1)
    ours = compute(bars, (added,), Timeframe.H1, 0)["willr_14"].to_numpy()
    assert np.allclose(ours, talib.WILLR(*(bars[name].to_numpy() for name in HIGH_LOW_CLOSE), 14), atol=1e-9, equal_nan=True)


def test_adding_an_indicator_of_ones_own_is_one_function_and_one_entry() -> None:
    def momentum(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        close = columns["close"]
        change = np.full(len(close), np.nan)
        change[10:] = close[10:] / close[:-10] - 1
        return (change,)

    added = IndicatorSpec("momentum_10", CLOSE, ("momentum_10",), {"period": 10}, warmup=10, compute=momentum)
    bars = random_bars(1, 3 * CHUNK_BARS, Timeframe.H1, missing=0.1)
    ours = compute(bars, (added, SMA_20), Timeframe.H1, 0)
    assert np.array_equal(ours["momentum_10"], bars["close"].pct_change(10).to_numpy(), equal_nan=True)


def test_an_indicator_with_the_wrong_number_of_arrays_is_named() -> None:
    wrong = IndicatorSpec("twins", CLOSE, ("one", "two"), {}, 0, lambda columns: (columns["close"],))
    with pytest.raises(ValueError, match="'twins'.* 1 .* 2 outputs"):
        compute(random_bars(1, 30, Timeframe.H1), (wrong,), Timeframe.H1, 0)
    short = talib_indicator("macd_only", "MACD", CLOSE, 600, ("macd_only",), fastperiod=12)
    with pytest.raises(ValueError, match="3 outputs, not 1 and 1"):
        compute(random_bars(1, 30, Timeframe.H1), (short,), Timeframe.H1, 0)


def test_parameters_that_talib_does_not_know_or_refuses_are_errors() -> None:
    bars = random_bars(1, 30, Timeframe.H1)
    with pytest.raises(ValueError, match="SMA takes the parameters timeperiod, not period"):
        compute(bars, (talib_indicator("x", "SMA", CLOSE, 9, period=10),), Timeframe.H1, 0)
    with pytest.raises(ValueError, match="return code"):
        compute(bars, (talib_indicator("x", "SMA", CLOSE, 9, timeperiod=-5),), Timeframe.H1, 0)


def test_candle_patterns_are_integers_in_talib_and_float64_here() -> None:
    inputs = ("open", "high", "low", "close")
    doji = talib_indicator("doji", "CDLDOJI", inputs, 10)
    bars = random_bars(1, 500, Timeframe.H1)
    assert talib_fill("CDLDOJI", ()) is None
    ours = compute(bars, (doji,), Timeframe.H1, 0)
    assert ours["doji"].dtype == np.float64
    peer = settled(talib.CDLDOJI(*(bars[name].to_numpy() for name in inputs)), doji)
    assert np.array_equal(ours["doji"], peer, equal_nan=True) and set(peer[10:]) == {0.0, 100.0}


def test_memory_that_talib_could_misread_is_refused() -> None:
    fill = talib_fill("SMA", (("timeperiod", 3),))
    assert fill is not None
    good, out = np.arange(10.0), np.zeros(10)
    for values in (good.astype("float32"), np.arange(20.0)[::2], np.arange(9.0), good.reshape(2, 5)):
        with pytest.raises(ValueError):
            fill({"close": values}, [out], [(0, 10)])
    for piece in ((0, 11), (-1, 5), (5, 5)):
        with pytest.raises(ValueError, match="outside"):
            fill({"close": good}, [out], [piece])
    fill({"close": good}, [out], [(4, 10), (0, 5)])
    assert bits_equal(out, [np.nan, np.nan, 1, 2, 3, np.nan, 5, 6, 7, 8])


def bits_equal(values: np.ndarray, expected: list[float]) -> bool:
    return np.array_equal(values, np.array(expected), equal_nan=True)
