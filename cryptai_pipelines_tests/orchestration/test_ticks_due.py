"""Which timeframes a tick asks for, on a simulated clock: every close is asked for once, just after it, whatever day it is."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.orchestration.ticks import EVERY_MS, MINUTE_MS, Asked, asked_with, due_timeframes

GRACE_MS = 10_000
DAY_MS = 86_400_000


def run_clock(configured, start, end, ticks=None, fails=lambda timeframe, tick: False, lacking=()):
    """Every tick from `start` to `end` with what it asked for; what was asked is remembered, as the tags of runs do."""
    asked: dict[Timeframe, Asked] = {}
    for tick in ticks or range(parse_time(start) + MINUTE_MS, parse_time(end), EVERY_MS):
        due = due_timeframes(configured, tick, GRACE_MS, asked, lacking)
        asked |= {timeframe: Asked(tick, fails(timeframe, tick)) for timeframe in due}
        yield tick, due


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-03-28", "2026-03-31"),
        ("2026-10-24", "2026-10-27"),
        ("2024-02-28", "2024-03-02"),
        ("2026-12-30", "2027-01-05"),
    ],
    ids=["spring forward", "fall back", "leap day", "year end"],
)
def test_every_close_is_asked_for_once_and_just_after_it(start, end):
    """The oracle counts by datetimes in UTC, with no part of the code's own arithmetic."""
    told = [(dt.datetime.fromtimestamp(tick / 1000, dt.UTC), due) for tick, due in run_clock(TIMEFRAMES, start, end)]
    first, *later = told
    assert first[1] == list(TIMEFRAMES)
    for at, due in later:
        minute, hour, weekday = at.minute - 1, at.hour, at.weekday()
        closes = {
            "15m": minute % 15 == 0,
            "30m": minute % 30 == 0,
            "1h": minute == 0,
            "4h": minute == 0 and hour % 4 == 0,
            "1d": minute == 0 and hour == 0,
            "1w": minute == 0 and hour == 0 and weekday == 0,
        }
        longest = max([TIMEFRAMES.index(Timeframe(code)) for code, is_due in closes.items() if is_due], default=1)
        assert due == list(TIMEFRAMES[: longest + 1]), at


def test_no_tick_starts_a_run_between_the_closes_of_long_bars():
    asked = [due for _, due in run_clock([Timeframe.H1, Timeframe.D1], "2026-01-01", "2026-01-03") if due]
    assert len(asked) == 48 and [Timeframe.H1, Timeframe.D1] in asked


@pytest.mark.parametrize("back", ["2026-03-29T01:16", "2026-03-30T00:01", "2026-03-31T13:41"])
def test_the_first_tick_after_an_outage_asks_for_all_that_closed_in_it(back):
    before = range(parse_time("2026-03-25T00:01"), parse_time("2026-03-26T09:05"), EVERY_MS)
    *_, (_, due), (_, next_due) = run_clock(TIMEFRAMES, "", "", [*before, parse_time(back), parse_time(back) + EVERY_MS])
    week = parse_time(back) >= parse_time("2026-03-30")
    assert due == list(TIMEFRAMES[: 8 if week else 7]) and len(next_due) <= 3


@given(st.data())
def test_no_close_is_lost_whatever_ticks_are_missed(data):
    configured = data.draw(st.sets(st.sampled_from(TIMEFRAMES), min_size=1))
    steps = data.draw(st.lists(st.integers(1, 2000), min_size=1, max_size=30))
    start = data.draw(st.integers(parse_time("2024-01-01") // EVERY_MS, parse_time("2027-01-01") // EVERY_MS)) * EVERY_MS
    ticks = [start + MINUTE_MS + EVERY_MS * sum(steps[:n]) for n in range(len(steps) + 1)]
    asked_at = {timeframe: [] for timeframe in configured}
    for tick, due in run_clock(configured, "", "", ticks):
        assert due == [timeframe for timeframe in TIMEFRAMES if timeframe in configured][: len(due)], "a prefix"
        for timeframe in due:
            asked_at[timeframe].append(tick)
    for timeframe, asked in asked_at.items():
        for tick in ticks:
            latest = max(at for at in asked if at <= tick)
            assert timeframe.floor(latest - GRACE_MS) == timeframe.floor(tick - GRACE_MS), "nothing closed stays unasked"


def test_what_failed_is_asked_for_an_hour_later_and_not_at_every_tick():
    def fails(timeframe, tick):
        return timeframe is Timeframe.D1

    asked = [tick for tick, due in run_clock([Timeframe.D1], "2026-01-01", "2026-01-01T12:00", fails=fails) if due]
    assert {b - a for a, b in zip(asked, asked[1:], strict=False)} == {55 * MINUTE_MS}


def test_a_series_without_coverage_makes_its_timeframe_due_within_the_hour():
    ticks = run_clock([Timeframe.H1, Timeframe.W1], "2026-01-01", "2026-01-01T06:00", lacking=[Timeframe.W1])
    hours = [tick for tick, due in ticks if Timeframe.W1 in due]
    assert 5 <= len(hours) <= 7


def test_a_bar_within_its_grace_is_left_to_the_next_tick():
    grace = 90_000
    asked = {Timeframe.H1: Asked(parse_time("2026-01-01T09:06"))}
    assert due_timeframes([Timeframe.H1], parse_time("2026-01-01T10:01"), grace, asked, ()) == []
    assert due_timeframes([Timeframe.H1], parse_time("2026-01-01T10:06"), grace, asked, ()) == [Timeframe.H1]


def test_longer_ticks_ask_for_shorter_bars():
    assert asked_with(Timeframe.D1) == (Timeframe.D1, Timeframe.W1) and len(asked_with(Timeframe.M1)) == len(TIMEFRAMES)
