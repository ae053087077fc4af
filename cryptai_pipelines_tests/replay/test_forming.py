"""The venue's clock decides what is known: no bar before it opens, no final value before it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock, SystemClock
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.forming import partial_bar
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.venue import UNIT, Window
from cryptai_pipelines.replay.venue_clock import RunningClock, venue_clock
from cryptai_pipelines_tests.replay.conftest import plain_bars

HOUR = Timeframe.H1.ms
START = 1_700_000_000_000 // HOUR * HOUR
Record = Callable[..., Path]


@st.composite
def final_bars(draw: st.DrawFn) -> dict[str, object]:
    """Final values in cents, in fixed point or as floats."""
    low = draw(st.integers(1, 10**7))
    high = low + draw(st.integers(0, 10**5))
    opened, closed = draw(st.integers(low, high)), draw(st.integers(low, high))
    volume, trades = draw(st.integers(1, 10**13)), draw(st.integers(0, 10**6))
    prices = {"open": opened, "high": high, "low": low, "close": closed}
    if draw(st.booleans()):
        values = {name: np.int64(price * (UNIT // 100)) for name, price in prices.items()} | {"volume": np.int64(volume)}
    else:
        values = {name: np.float64(price / 100) for name, price in prices.items()} | {"volume": np.float64(volume / UNIT)}
    return values | {"trades": np.int64(trades)}


@given(final=final_bars(), moments=st.tuples(st.integers(0, HOUR - 1), st.integers(0, HOUR - 1)))
def test_a_forming_bar_only_approaches_its_final_values(final: dict[str, object], moments: tuple[int, int]) -> None:
    early, late = (final | partial_bar(final, at, HOUR, 2) for at in sorted(moments))
    for bar in (early, late):
        assert final["low"] <= bar["low"] <= min(bar["open"], bar["close"])
        assert max(bar["open"], bar["close"]) <= bar["high"] <= final["high"]
        assert bar["volume"] < final["volume"]
        assert bar["trades"] <= final["trades"]
    assert early["high"] <= late["high"] and late["low"] <= early["low"]
    assert early["volume"] <= late["volume"] and early["trades"] <= late["trades"]
    if isinstance(final["close"], np.integer):
        assert late["close"] % (UNIT // 100) == 0


def test_a_bar_is_final_exactly_when_it_has_ended(record: Record) -> None:
    frame = plain_bars(START + HOUR * np.arange(5))
    folder = record(frame)
    final = [frame.iloc[3][name] for name in frame.columns]

    def row(now_ms: int) -> list[float] | None:
        bars = open_recorded(folder, FixedClock(now_ms)).bars("BTCUSDT", Timeframe.H1, Window(None, None, 1), now_ms)
        assert bars["ts"][-1] <= now_ms
        return [float(bars[name][-1]) for name in frame.columns] if bars["ts"][-1] == START + 3 * HOUR else None

    opened, ended = START + 3 * HOUR, START + 4 * HOUR
    assert row(opened - 1) is None
    first = row(opened)
    assert first is not None
    assert first == [final[0], final[0], final[0], final[0], 0.0]
    for now_ms in (opened + 1, opened + HOUR // 2, ended - 1):
        known = row(now_ms)
        assert known is not None and known[0] == final[0] and known != final
    bars = open_recorded(folder, FixedClock(ended)).bars("BTCUSDT", Timeframe.H1, Window(None, None, 2), ended)
    assert [float(bars[name][0]) for name in frame.columns] == final


def test_a_forming_resampled_bar_is_made_of_what_the_shorter_bars_show(record: Record) -> None:
    frame = plain_bars(START // (24 * HOUR) * (24 * HOUR) + HOUR * np.arange(48))
    now_ms = int(frame.index[0].timestamp() * 1000) + 29 * HOUR + 20 * 60_000
    venue = open_recorded(record(frame), FixedClock(now_ms))
    hours = venue.bars("BTCUSDT", Timeframe.H1, Window(now_ms // (24 * HOUR) * 24 * HOUR, None, 100), now_ms)
    day = venue.bars("BTCUSDT", Timeframe.D1, Window(None, None, 1), now_ms)
    assert len(hours["ts"]) == 6
    assert day["open"][0] == hours["open"][0]
    assert day["high"][0] == hours["high"].max()
    assert day["low"][0] == hours["low"].min()
    assert day["close"][0] == hours["close"][-1]
    assert day["volume"][0] == pytest.approx(hours["volume"].sum(), rel=1e-12)
    assert day["volume"][0] < frame["volume"].iloc[24:].sum()


@given(speed=st.floats(0.01, 100_000), steps=st.lists(st.integers(0, 10**11), max_size=20))
def test_a_running_clock_runs_at_its_speed(speed: float, steps: list[int]) -> None:
    real = [5_000]
    clock = RunningClock(START, speed, monotonic_ns=lambda: real[0])
    seen = [clock.now_ms()]
    for step in steps:
        real[0] += step
        seen.append(clock.now_ms())
    assert seen[0] == START
    assert seen == sorted(seen)
    assert seen[-1] - START == pytest.approx(sum(steps) * speed / 1e6, abs=2, rel=1e-9)


def test_the_kinds_of_clock() -> None:
    standing = venue_clock(START)
    assert [standing.now_ms(), standing.now_ms()] == [START, START]
    assert isinstance(venue_clock(), SystemClock)
    fast = venue_clock(START, 3600)
    assert isinstance(fast, RunningClock) and fast.speed == 3600 and fast.start_ms == START
    before = SystemClock().now_ms()
    from_now = venue_clock(speed=2)
    assert before <= from_now.now_ms()


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_speed_that_is_none_is_refused(speed: float) -> None:
    with pytest.raises(BadInput, match="speed"):
        venue_clock(START, speed)
