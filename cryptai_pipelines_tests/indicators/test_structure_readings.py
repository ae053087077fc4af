"""The readings of both timeframes equal their definition at every bar, know no later bar, and come to the same bits in any
number of steps, also where the state is kept as bytes in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators import higher_structure
from cryptai_pipelines.indicators.higher_structure import FAST, HIGHER_EVENTS, HIGHER_OUTPUTS, SLOW, TREND_BARS
from cryptai_pipelines.indicators.market_structure import readings
from cryptai_pipelines.indicators.structure_kernel import EVENTS, OUTPUTS
from cryptai_pipelines.indicators.structure_readings import (
    READINGS,
    STATE_VERSION,
    ReadingsState,
    begin_readings,
    carry_readings,
    structure_readings,
)
from cryptai_pipelines.market.bars import index_ms, ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import HIGHER, TIMEFRAMES, Timeframe
from cryptai_pipelines_tests.indicators import structure_reference
from cryptai_pipelines_tests.indicators.samples import bits, random_bars, recorded_bars

HOUR, QUARTER = Timeframe.H1, Timeframe.H4
FIVE_SERIES = {
    "binance/BTCUSDT_1h": Timeframe.H1,
    "binance/BTCUSDT_5m": Timeframe.M5,
    "binance/ETHUSDT_4h": Timeframe.H4,
    "binance/BTCUSDT_1m": Timeframe.M1,
    "kraken/BTCUSD_1h": Timeframe.H1,
}
WITH_HIGHER = [timeframe for timeframe in TIMEFRAMES if HIGHER[timeframe]]
SHORT = {"FAST": 2, "SLOW": 4, "TREND_BARS": 6}


@pytest.fixture
def short_averages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, bars in SHORT.items():
        monkeypatch.setattr(higher_structure, name, bars)


@st.composite
def rough_bars(draw: st.DrawFn, most: int = 90) -> pd.DataFrame:
    """Bars on few price levels; some missing, also several on end, and some filled."""
    gone = draw(st.sets(st.integers(0, most + 30), max_size=40))
    start = draw(st.integers(0, 7))
    slots = [slot for slot in range(start, start + draw(st.integers(1, most))) if slot not in gone] or [start]
    rows = []
    for _ in slots:
        low = draw(st.integers(10, 24))
        high = low + draw(st.integers(0, 5))
        rows.append((high, low, draw(st.integers(low, high)), draw(st.integers(0, 9)) == 0))
    frame = pd.DataFrame(rows, columns=["high", "low", "close", "is_filled"], index=ts_index(np.array(slots) * HOUR.ms))
    return frame.astype({"high": float, "low": float, "close": float})


Row = tuple[int, float, float, float]


def known_higher(given_bars: Sequence[Row], step_ms: int, higher: Timeframe) -> list[Row]:
    """The higher bars whose interval has ended at the close of the last of `given_bars`."""
    now = given_bars[-1][0] + step_ms
    intervals: dict[int, list[Row]] = {}
    for bar in given_bars:
        intervals.setdefault(higher.floor(bar[0]), []).append(bar)
    return [
        (start, max(b[1] for b in bars), min(b[2] for b in bars), bars[-1][3])
        for start, bars in intervals.items()
        if start + higher.ms <= now
    ]


def trend_of(closes: Sequence[float], fast: int, slow: int, enough: int) -> float:
    if len(closes) < enough:
        return math.nan
    (fast_before, fast_now), (slow_before, slow_now) = (_last_two_averages(closes, period) for period in (fast, slow))
    if fast_now > slow_now and fast_now > fast_before and slow_now > slow_before:
        return 1.0
    return -1.0 if fast_now < slow_now and fast_now < fast_before and slow_now < slow_before else 0.0


def _last_two_averages(closes: Sequence[float], period: int) -> list[float]:
    averages = [sum(closes[:period]) / period]
    for close in closes[period:]:
        averages.append(averages[-1] + (close - averages[-1]) * 2 / (period + 1))
    return averages[-2:]


def expected_higher(given_bars: Sequence[Row], before: int, length: int, timeframe: Timeframe, higher: Timeframe) -> dict:
    """What is known of the higher timeframe at the last of `given_bars`. `before`: higher bars known at the bar before."""
    known = known_higher(given_bars, timeframe.ms, higher)
    told = {"higher_trend": trend_of([bar[3] for bar in known], *SHORT.values())}
    told |= {"higher_bias": 0, "higher_swing_high": math.nan, "higher_swing_low": math.nan, "higher_bos": 0, "higher_choch": 0}
    for count in range(max(before, min(1, len(known))), len(known) + 1):
        if not count:
            continue
        structure = structure_reference.reading(known[:count], length, higher.ms)
        told |= {f"higher_{name}": structure[name] for name in ("bias", "swing_high", "swing_low")}
        if count > before:
            told |= {f"higher_{name}": structure[name] for name in ("bos", "choch") if structure[name]}
    return told


@given(bars=rough_bars(), length=st.integers(1, 3))
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_higher_reading_is_that_of_the_definition(short_averages: None, bars: pd.DataFrame, length: int) -> None:
    """At every bar that a source has given, from those up to it; where none was, how things stood."""
    told = structure_readings(bars, HOUR, length)
    rows, before, stood = [], 0, None
    for ts, bar in zip(index_ms(bars.index).tolist(), bars.itertuples(), strict=True):
        if bar.is_filled:
            if stood is None:
                stood = {name: (math.nan if "swing" in name or "trend" in name else 0) for name in HIGHER_OUTPUTS}
            expected = stood | dict.fromkeys(HIGHER_EVENTS, 0)
        else:
            rows.append((ts, bar.high, bar.low, bar.close))
            expected = stood = expected_higher(rows, before, length, HOUR, QUARTER)
            before = len(known_higher(rows, HOUR.ms, QUARTER))
        for name in HIGHER_OUTPUTS:
            np.testing.assert_equal(told.loc[bar.Index, name], float(expected[name]), err_msg=f"{name} at {bar.Index}")


def test_columns_of_the_series_itself_are_those_of_market_structure() -> None:
    bars = random_bars(4, 2_000, HOUR, missing=0.1)
    filled = np.random.default_rng(4).random(len(bars)) < 0.1
    bars = bars.assign(is_filled=filled)
    told = structure_readings(bars, HOUR, 3)
    assert tuple(told.columns) == READINGS and bits(told[list(OUTPUTS)]) == bits(readings(bars, HOUR, 3))


@given(bars=rough_bars(), length=st.integers(1, 4), data=st.data())
@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_steps_give_the_bits_of_one(short_averages: None, bars: pd.DataFrame, length: int, data: st.DataObject) -> None:
    """The state is written and read between the steps."""
    cuts = sorted({0, len(bars), *data.draw(st.lists(st.integers(0, len(bars)), max_size=12))})
    state, parts = begin_readings(HOUR, length), []
    for start, end in zip(cuts[:-1], cuts[1:], strict=True):
        part, state = carry_readings(ReadingsState.from_bytes(state.to_bytes(), HOUR), bars.iloc[start:end])
        parts.append(part)
    whole, final = carry_readings(begin_readings(HOUR, length), bars)
    assert bits(pd.concat(parts)) == bits(whole)
    assert state.to_bytes() == final.to_bytes() == ReadingsState.from_bytes(final.to_bytes(), HOUR).to_bytes()


@pytest.mark.parametrize("name", FIVE_SERIES)
def test_no_reading_of_a_recorded_series_changes_in_any_prefix(real_data: Path, name: str) -> None:
    """Bar by bar from where both averages are known, made when no later bar is there, against the whole; and 600 prefixes of
    which every reading is compared."""
    timeframe = FIVE_SERIES[name]
    bars = recorded_bars(real_data, name)[["high", "low", "close"]]
    bars = bars[np.isfinite(bars).all(axis=1)]
    whole = structure_readings(bars, timeframe)
    first = len(bars) - 2_000
    _, state = carry_readings(begin_readings(timeframe), bars.iloc[:first])
    alone = []
    for at in range(first, len(bars)):
        told, state = carry_readings(state, bars.iloc[at : at + 1])
        alone.append(told.to_numpy()[0])
    assert np.array_equal(np.array(alone), whole.to_numpy()[first:], equal_nan=True)
    some = bars.iloc[: 600 + TREND_BARS * (HIGHER[timeframe].ms // timeframe.ms)]
    of_some = structure_readings(some, timeframe)
    ends = range(len(some) - 600, len(some))
    changed = sum(bits(structure_readings(some.iloc[:end], timeframe)) != bits(of_some.iloc[:end]) for end in ends)
    assert changed == 0
    assert {1.0, -1.0} <= set(whole["higher_trend"]) and (whole["higher_bos"] != 0).sum() > 5


@pytest.mark.parametrize("name", ["binance/BTCUSDT_1h", "kraken/BTCUSD_1h"])
def test_the_averages_are_those_of_talib(real_data: Path, name: str) -> None:
    """With the real periods, from bars that pandas has made, in the places that pandas joins them to."""
    import talib

    bars = recorded_bars(real_data, name)[["high", "low", "close"]]
    told = structure_readings(bars, HOUR)["higher_trend"]
    closes = bars["close"].resample("4h").last().dropna()
    fast, slow = talib.EMA(closes.to_numpy(), FAST), talib.EMA(closes.to_numpy(), SLOW)
    with np.errstate(invalid="ignore"):
        up = (fast > slow)[1:] & (np.diff(fast) > 0) & (np.diff(slow) > 0)
        down = (fast < slow)[1:] & (np.diff(fast) < 0) & (np.diff(slow) < 0)
    trend = pd.Series(np.append(np.nan, up.astype(float) - down), index=closes.index + pd.Timedelta("4h"))
    trend.iloc[: TREND_BARS - 1] = np.nan
    lower = pd.DataFrame({"close_ts": bars.index + pd.Timedelta("1h")})
    joined = pd.merge_asof(lower, trend.rename("trend"), left_on="close_ts", right_index=True)
    np.testing.assert_array_equal(told.to_numpy(), joined["trend"].to_numpy())


@pytest.mark.parametrize("timeframe", WITH_HIGHER, ids=lambda t: t.code)
def test_a_higher_bar_is_known_at_its_close_and_no_earlier(short_averages: None, timeframe: Timeframe) -> None:
    """A bar that is changed shows in the higher readings from the close of its interval on."""
    higher = HIGHER[timeframe]
    assert higher.ms % timeframe.ms == 0 and higher.ms > timeframe.ms
    ratio = higher.ms // timeframe.ms
    bars = random_bars(8, 30 * ratio, timeframe)
    told = structure_readings(bars, timeframe, 1)[list(HIGHER_OUTPUTS)].to_numpy()
    first = int(np.argmax(index_ms(bars.index) == higher.floor(int(index_ms(bars.index)[20 * ratio]))))
    last, seen = first + ratio - 1, []
    for factor in (3, 1 / 3):
        other = bars.copy()
        other.iloc[first : first + ratio, :] *= factor
        changed = structure_readings(other, timeframe, 1)[list(HIGHER_OUTPUTS)].to_numpy()
        assert np.array_equal(told[:last], changed[:last], equal_nan=True)
        seen.append(not np.array_equal(told[last], changed[last], equal_nan=True))
    assert any(seen)


def test_filled_bars_make_nothing_up() -> None:
    """With the filled bars and without them the given ones read the same."""
    bars = random_bars(6, 4_000, HOUR, missing=0.05)
    filled = np.random.default_rng(6).random(len(bars)) < 0.2
    told = structure_readings(bars.assign(is_filled=filled), HOUR)
    assert bits(told[~filled]) == bits(structure_readings(bars[~filled], HOUR))
    at_filled = told[filled]
    assert not at_filled[["bos", "choch", "fair_value_gap", *HIGHER_EVENTS]].any().any()
    standing = [name for name in READINGS if name not in EVENTS and name not in HIGHER_EVENTS]
    after = np.flatnonzero(filled[1:]) + 1
    assert np.array_equal(told[standing].to_numpy()[after], told[standing].to_numpy()[after - 1], equal_nan=True)


def test_weeks_have_no_higher_timeframe() -> None:
    bars = random_bars(2, 300, Timeframe.W1)
    told, state = carry_readings(begin_readings(Timeframe.W1), bars)
    assert told[list(HIGHER_OUTPUTS)].isna().all().all() and state.higher is None
    assert bits(told[list(OUTPUTS)]) == bits(readings(bars, Timeframe.W1))
    assert ReadingsState.from_bytes(state.to_bytes(), Timeframe.W1).to_bytes() == state.to_bytes()


def test_states_that_know_the_same_are_the_same() -> None:
    """After a restated bar, and after one that was missing, the state becomes that of the series that had it from the start:
    at once where no level saw it, and when the averages have forgotten it otherwise."""
    bars = random_bars(12, 60_000, HOUR)
    restated, missing = bars.copy(), bars.drop(index=bars.index[10_001])
    restated.iloc[10_000, restated.columns.get_loc("volume")] += 1
    restated.iloc[10_003, restated.columns.get_loc("close")] *= 0.999
    for other in (restated, missing):
        assert (
            carry_readings(begin_readings(HOUR), other)[1].to_bytes()
            == carry_readings(begin_readings(HOUR), bars)[1].to_bytes()
        )


def test_bytes_of_others_are_refused() -> None:
    _, state = carry_readings(begin_readings(HOUR), random_bars(1, 100, HOUR))
    data = state.to_bytes()
    with pytest.raises(BadInput, match="none of market structure"):
        ReadingsState.from_bytes(b"CryptAI backtest" + data[16:], HOUR)
    with pytest.raises(BadInput, match="none of market structure"):
        ReadingsState.from_bytes(b"", HOUR)
    with pytest.raises(BadInput, match=f"version {STATE_VERSION + 1}, accepted: {STATE_VERSION}"):
        ReadingsState.from_bytes(data[:16] + (STATE_VERSION + 1).to_bytes(4, "little") + data[20:], HOUR)
    with pytest.raises(BadInput, match="one of 1h bars, not of 4h"):
        ReadingsState.from_bytes(data, QUARTER)
    for cut in (data[:40], data[:-1], data[: len(data) // 2], data + b"x"):
        with pytest.raises(BadInput):
            ReadingsState.from_bytes(cut, HOUR)
