"""Structure equals its definition at every bar, knows no later bar, and comes to the same bits in any number of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.indicators import structure_kernel
from cryptai_pipelines.indicators.market_structure import begin, carry_on, pivots, readings
from cryptai_pipelines.indicators.structure_kernel import OUTPUTS
from cryptai_pipelines.market.bars import index_ms, ts_index
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines_tests.indicators.samples import bits, random_bars, recorded_bars
from cryptai_pipelines_tests.indicators.structure_reference import reading

HOUR = Timeframe.H1
FIVE_SERIES = {
    "binance/BTCUSDT_1h": Timeframe.H1,
    "binance/BTCUSDT_5m": Timeframe.M5,
    "binance/ETHUSDT_4h": Timeframe.H4,
    "binance/SOLUSDT_1h": Timeframe.H1,
    "kraken/BTCUSD_1h": Timeframe.H1,
}


@st.composite
def rough_bars(draw: st.DrawFn, most: int = 60) -> pd.DataFrame:
    """Bars on few price levels, so that equal highs, gaps, breaks and bars that swallow others are common; some are missing,
    some filled."""
    slots = sorted(draw(st.sets(st.integers(0, most + 10), min_size=1, max_size=most)))
    rows = []
    for _ in slots:
        low = draw(st.integers(10, 30))
        high = low + draw(st.integers(0, 6))
        rows.append((high, low, draw(st.integers(low, high)), draw(st.integers(0, 9)) == 0))
    frame = pd.DataFrame(rows, columns=["high", "low", "close", "is_filled"], index=ts_index(np.array(slots) * HOUR.ms))
    return frame.astype({"high": float, "low": float, "close": float})


@given(bars=rough_bars(), length=st.integers(1, 7))
@settings(max_examples=150)
def test_every_reading_is_that_of_the_definition(bars: pd.DataFrame, length: int) -> None:
    """At every bar, from the bars up to it that a source has given."""
    known = readings(bars, HOUR, length)
    real = bars[~bars["is_filled"]]
    rows = list(zip(index_ms(real.index).tolist(), real["high"], real["low"], real["close"], strict=True))
    for number, ts in enumerate(index_ms(real.index).tolist(), start=1):
        told = known.loc[ts_index(np.array([ts]))[0]]
        expected = reading(rows[:number], length, HOUR.ms)
        assert set(expected) == set(OUTPUTS)
        for name, value in expected.items():
            np.testing.assert_equal(told[name], float(value), err_msg=f"{name} at {ts}")


@given(bars=rough_bars(), length=st.integers(1, 7), data=st.data())
@settings(max_examples=100)
def test_any_steps_give_the_bits_of_one(bars: pd.DataFrame, length: int, data: st.DataObject) -> None:
    cuts = sorted({0, len(bars), *data.draw(st.lists(st.integers(0, len(bars)), max_size=8))})
    state, parts = begin(length), []
    for start, end in zip(cuts[:-1], cuts[1:], strict=True):
        part, state = carry_on(state, bars.iloc[start:end], HOUR)
        parts.append(part)
    whole, final = carry_on(begin(length), bars, HOUR)
    assert bits(pd.concat(parts)) == bits(whole)
    assert state.record == final.record and state.ts.tolist() == final.ts.tolist()


@pytest.mark.parametrize("name", FIVE_SERIES)
def test_no_reading_of_a_recorded_series_changes_in_any_prefix(real_data: Path, name: str) -> None:
    """Bar by bar over all of it: the reading of a bar is made when no later one is there, and the whole has the same bits. For
    2,000 prefixes the readings of all bars in them are compared as well."""
    timeframe = FIVE_SERIES[name]
    bars = recorded_bars(real_data, name)[["high", "low", "close"]]
    bars = bars[np.isfinite(bars).all(axis=1)].iloc[-20_000:]
    whole = readings(bars, timeframe)
    state, alone = begin(), []
    for at in range(len(bars)):
        told, state = carry_on(state, bars.iloc[at : at + 1], timeframe)
        alone.append(told.to_numpy()[0])
    assert np.array_equal(np.array(alone), whole.to_numpy(), equal_nan=True)
    tail = bars.iloc[-2_000:]
    of_tail = readings(tail, timeframe)
    changed = sum(bits(readings(tail.iloc[:end], timeframe)) != bits(of_tail.iloc[:end]) for end in range(1, len(tail)))
    assert changed == 0
    assert (whole["bos"] != 0).sum() > 20 and (whole["choch"] != 0).sum() > 20


@given(bars=rough_bars(), length=st.integers(1, 7))
@settings(max_examples=60)
def test_a_mirrored_market_has_the_mirrored_structure(bars: pd.DataFrame, length: int) -> None:
    """Up to bars that are a candidate for both sides at once, which end a rise."""
    mirrored = bars.assign(high=100 - bars["low"], low=100 - bars["high"], close=100 - bars["close"])
    one, other = readings(bars, HOUR, length), readings(mirrored, HOUR, length)
    both = _both_sided(bars[~bars["is_filled"]], length)
    if both:
        return
    for name, mirror in (("swing_high", "swing_low"), ("gap_above", "gap_below")):
        np.testing.assert_array_equal(one[name], 100 - other[mirror])
    for name, mirror in (("bias", "bias"), ("leg", "leg"), ("bos", "bos"), ("choch", "choch"), ("fair_value_gap",) * 2):
        np.testing.assert_array_equal(one[name], -other[mirror])
    np.testing.assert_array_equal(one["swing_high_order"], -other["swing_low_order"])


def _both_sided(bars: pd.DataFrame, length: int) -> bool:
    highs, lows = bars["high"].to_numpy(), bars["low"].to_numpy()
    return any(
        highs[at] > highs[at + 1 : at + length + 1].max() and lows[at] < lows[at + 1 : at + length + 1].min()
        for at in range(len(highs) - length)
    )


def test_a_worked_example() -> None:
    """A fall below the first low (a BOS, being the first break), the turn up (CHoCH), a BOS with it, and the turn down."""
    closes = [10, 12, 14, 12, 10, 8, 10, 12, 15, 13, 11, 13, 16, 13, 10, 7]
    bars = pd.DataFrame({name: np.array(closes, float) for name in ("high", "low", "close")}, index=_hours(len(closes)))
    known = readings(bars, HOUR, length=2)
    assert _events(known["bos"]) == {5: -1, 12: 1} and _events(known["choch"]) == {8: 1, 14: -1}
    assert known["broken_level"].dropna().tolist() == [10, 14, 15, 11]
    assert known["bias"].tolist() == [0] * 5 + [-1] * 3 + [1] * 6 + [-1] * 2
    found = pivots(known, HOUR)
    assert found["price"].tolist() == [10, 14, 8, 15, 11, 16] and found["side"].tolist() == [-1, 1, -1, 1, -1, 1]
    assert found["order"].tolist() == [0, 0, -1, 1, 1, 1]
    assert ((found["confirmed_at"] - found["ts"]) == pd.Timedelta(hours=3)).all()


def test_pivots_of_readings_that_were_carried_on_are_the_new_ones() -> None:
    bars = random_bars(9, 300, HOUR)
    first, state = carry_on(begin(), bars.iloc[:150], HOUR)
    second, _ = carry_on(state, bars.iloc[150:], HOUR)
    whole = pivots(readings(bars, HOUR), HOUR)
    later = whole[index_ms(pd.DatetimeIndex(whole["confirmed_at"])) > index_ms(second.index)[0] + HOUR.ms]
    pd.testing.assert_frame_equal(pivots(second, HOUR), later.reset_index(drop=True))


def test_a_gap_is_open_until_it_has_been_traded_through() -> None:
    rows = [(10, 9), (13, 10), (14, 12), (13, 11), (12, 10.5), (12, 10)]
    bars = pd.DataFrame(rows, columns=["high", "low"], index=_hours(len(rows)), dtype=float)
    known = readings(bars.assign(close=bars["low"]), HOUR)
    assert known["fair_value_gap"].tolist() == [0, 0, 1, 0, 0, 0]
    np.testing.assert_array_equal(known["gap_below"], [np.nan, np.nan, 12, 12, 12, np.nan])


def test_a_bar_that_nobody_gave_leaves_things_as_they_stood() -> None:
    bars = random_bars(3, 400, HOUR)
    filled = np.zeros(len(bars), bool)
    filled[[0, 1, 57, 58, 200, 399]] = True
    told = readings(bars.assign(is_filled=filled), HOUR)
    without = readings(bars[~filled], HOUR)
    assert bits(told[~filled]) == bits(without)
    assert (
        not told.loc[filled, ["bos", "choch", "fair_value_gap"]].any().any() and told.loc[filled, "broken_level"].isna().all()
    )
    stood = told[["swing_high", "bias", "leg", "gap_below"]].to_numpy()
    assert np.array_equal(stood[57], stood[56], equal_nan=True) and np.array_equal(stood[200], stood[199], equal_nan=True)


def test_compiled_and_plain_rules_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = random_bars(5, 3_000, HOUR, missing=0.1)
    compiled = readings(bars, HOUR)
    from cryptai_pipelines.indicators import market_structure

    monkeypatch.setattr(market_structure, "compiled", lambda: structure_kernel.run_structure)
    assert bits(readings(bars, HOUR)) == bits(compiled)


def test_bad_input_is_named() -> None:
    bars = random_bars(1, 20, HOUR)
    with pytest.raises(BadInput, match=r"swing length 0 .* accepted: 1 to 1000"):
        begin(0)
    with pytest.raises(BadInput, match="not ascending and unique.*2017-07-14T11:00"):
        readings(bars.iloc[[0, 1, 2, 9, 8]], HOUR)
    _, state = carry_on(begin(), bars.iloc[:10], HOUR)
    with pytest.raises(BadInput, match="do not follow those before"):
        carry_on(state, bars.iloc[9:], HOUR)
    broken = bars.copy()
    broken.iloc[4, broken.columns.get_loc("low")] = np.nan
    with pytest.raises(BadInput, match="low=nan at"):
        readings(broken, HOUR)
    nothing, same = carry_on(state, bars.iloc[:0], HOUR)
    assert nothing.empty and same.record == state.record and same.last_ts == state.last_ts


def _hours(count: int) -> pd.DatetimeIndex:
    return ts_index(np.arange(count) * HOUR.ms)


def _events(column: pd.Series) -> dict[int, int]:
    return {at: int(value) for at, value in enumerate(column) if value}
