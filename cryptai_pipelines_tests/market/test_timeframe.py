"""The grid of open times against walking it step by step and against the calendar."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.errors import BadInput, CryptaiError
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe, parse_timeframe

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1_440, "1w": 10_080}
timeframes = st.sampled_from(TIMEFRAMES)
times = st.integers(-10_000_000_000, 4_102_444_800_000)


def opens_by_the_calendar(moment: dt.datetime, code: str) -> bool:
    """Does a bar open at `moment`, read off the clock face and the weekday?"""
    if moment.second or moment.microsecond:
        return False
    of_day = moment.hour * 60 + moment.minute
    return of_day == 0 and moment.weekday() == 0 if code == "1w" else of_day % MINUTES[code] == 0


def test_the_timeframes_are_the_eight_from_short_to_long() -> None:
    assert {timeframe.code: timeframe.ms // 60_000 for timeframe in TIMEFRAMES} == MINUTES
    lengths = [timeframe.ms for timeframe in TIMEFRAMES]
    assert lengths == sorted(lengths)
    assert all(longer % shorter == 0 for shorter, longer in zip(lengths[:-1], lengths[1:], strict=True))


@given(timeframe=timeframes, ts_ms=times)
def test_floor_and_ceil_are_the_nearest_opens_by_the_calendar(timeframe: Timeframe, ts_ms: int) -> None:
    low, high = timeframe.floor(ts_ms), timeframe.ceil(ts_ms)
    assert low <= ts_ms <= high and high - low in (0, timeframe.ms)
    assert (high == low) == (low == ts_ms)
    for bound in (low, high):
        assert opens_by_the_calendar(dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=bound), timeframe.code)
    assert bool(timeframe.on_grid(np.array([ts_ms]))[0]) == (low == ts_ms)


@given(timeframe=timeframes, start=times, steps=st.integers(-3, 200), rest=st.integers(0, 10_080 * 60_000 - 1))
def test_opens_and_count_agree_with_walking(timeframe: Timeframe, start: int, steps: int, rest: int) -> None:
    end = start + steps * timeframe.ms + rest % timeframe.ms
    walked, at = [], timeframe.ceil(start)
    while at < end:
        walked.append(at)
        at += timeframe.ms
    opens = timeframe.opens(start, end)
    assert opens.dtype == np.int64 and opens.tolist() == walked
    assert timeframe.count(start, end) == len(walked)


def test_weeks_open_on_monday_even_before_the_first_and_across_a_leap_day() -> None:
    for day in (dt.date(1970, 1, 1), dt.date(2020, 2, 29), dt.date(2024, 12, 31), dt.date(1969, 12, 25)):
        ms = int(dt.datetime.combine(day, dt.time(13, 37), dt.UTC).timestamp() * 1000)
        monday = day - dt.timedelta(days=day.weekday())
        expected = int(dt.datetime.combine(monday, dt.time(), dt.UTC).timestamp() * 1000)
        assert Timeframe.W1.floor(ms) == expected


def test_a_year_has_365_days() -> None:
    assert {t.code: t.bars_per_year for t in TIMEFRAMES if t.code in ("1h", "1d")} == {"1h": 8_760, "1d": 365}


@pytest.mark.parametrize("code", MINUTES)
def test_codes_parse(code: str) -> None:
    assert parse_timeframe(code).code == code


@pytest.mark.parametrize("code", ["7m", "1H", "1M", "60", "", " 1h", "1w\n"])
def test_an_unknown_timeframe_names_itself_and_what_is_accepted(code: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_timeframe(code)
    assert repr(code) in str(error.value) and "1m 5m 15m 30m 1h 4h 1d 1w" in str(error.value)
    assert "\n" not in str(error.value) and isinstance(error.value, CryptaiError)
