"""The higher trend against a bar-by-bar reading of its definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import index_ms, ts_index
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.strategy.higher_timeframe import EMA_PERIOD, HIGHER, higher_trend, trend_warmup_bars

from .conftest import MONDAY_MS, random_bars


def slow_trend(bars: pd.DataFrame, timeframe: Timeframe) -> list[float]:
    """Trend at each bar, from the closed higher bars of the whole history, one bar after another."""
    higher = HIGHER[timeframe]
    found, closes, emas, interval, last_close = [], [], [], None, np.nan
    whole = int(index_ms(bars.index)[0]) == higher.floor(int(index_ms(bars.index)[0]))
    for ts, close in zip(index_ms(bars.index).tolist(), bars["close"].tolist(), strict=True):
        if interval is not None and higher.floor(ts) != interval:
            push(closes, emas, last_close, whole)
            whole = True
        interval, last_close = higher.floor(ts), close
        ends_now = ts + timeframe.ms == interval + higher.ms
        seen = (list(closes), list(emas))
        if ends_now:
            push(*seen, close, whole)
        found.append(verdict(*seen))
    return found


def push(closes: list[float], emas: list[float], close: float, whole: bool) -> None:
    if not whole:
        return
    closes.append(close)
    if len(closes) == EMA_PERIOD:
        emas.append(sum(closes) / EMA_PERIOD)
    elif len(closes) > EMA_PERIOD:
        emas.append(emas[-1] + (close - emas[-1]) * 2 / (EMA_PERIOD + 1))


def verdict(closes: list[float], emas: list[float]) -> float:
    if len(emas) < 2:
        return np.nan
    if closes[-1] > emas[-1] > emas[-2]:
        return 1.0
    return -1.0 if closes[-1] < emas[-1] < emas[-2] else 0.0


@pytest.mark.parametrize("timeframe", [t for t in TIMEFRAMES if HIGHER[t]], ids=lambda t: t.code)
@pytest.mark.parametrize("seed", [1, 2])
def test_equals_its_definition(timeframe, seed):
    bars = random_bars(seed, timeframe, 1_500).drop(columns="is_filled")
    expected = np.array(slow_trend(bars, timeframe))
    actual = higher_trend(bars, timeframe, 0)
    # A bar after a hole sees higher bars that ended inside it: the slow reading closes them at the next bar, just as late.
    np.testing.assert_array_equal(actual, expected)
    assert {1.0, -1.0} <= set(actual[np.isfinite(actual)])


def test_equals_its_definition_on_recorded_bars_across_chunks(recorded):
    bars = recorded[0].drop(columns="is_filled").iloc[:20_000]
    np.testing.assert_array_equal(higher_trend(bars, Timeframe.H1, 0), np.array(slow_trend(bars, Timeframe.H1)))


def test_a_higher_bar_is_seen_when_it_closes_and_not_before():
    """55 days of hours that rise, then one day of which the last hour falls hard: only that hour may see it."""
    closes = np.concatenate((np.linspace(100, 155, 55 * 24), np.full(23, 156.0), [50.0]))
    bars = pd.DataFrame(index=ts_index(MONDAY_MS + np.arange(len(closes)) * Timeframe.H4.ms))
    for name in ("open", "high", "low", "close"):
        bars[name] = closes
    trend = higher_trend(bars.assign(volume=1.0), Timeframe.H4, 0)
    assert trend[-2] == 1.0 and trend[-1] == -1.0


def test_weeks_have_no_higher_timeframe():
    bars = random_bars(3, Timeframe.W1, 100)
    assert np.isnan(higher_trend(bars, Timeframe.W1, 0)).all()
    assert trend_warmup_bars(Timeframe.W1) == 0


@pytest.mark.parametrize("timeframe", [t for t in TIMEFRAMES if HIGHER[t]], ids=lambda t: t.code)
def test_higher_timeframes_are_multiples(timeframe):
    assert HIGHER[timeframe].ms % timeframe.ms == 0 and HIGHER[timeframe].ms > timeframe.ms
