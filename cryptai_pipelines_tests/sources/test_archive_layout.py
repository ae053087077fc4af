"""Which archived files a span needs, against a walk over its days."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.archive_layout import plan

DAY = Timeframe.D1.ms
FIRST = parse_time("2017-07-01")


def _span(start: str, end: str) -> Interval:
    return Interval(parse_time(start), parse_time(end))


def _names(paths: list) -> list[str]:
    return [path.name for path in paths]


def test_whole_months_are_monthly_files_and_the_rest_daily_ones() -> None:
    found = plan("BTC-USDT", Timeframe.H1, _span("2024-01-30T05:00", "2024-05-01"), parse_time("2024-04-03T12:00"))
    assert _names(found) == [
        "BTCUSDT-1h-2024-01-30.zip",
        "BTCUSDT-1h-2024-01-31.zip",
        "BTCUSDT-1h-2024-02.zip",
        "BTCUSDT-1h-2024-03.zip",
        "BTCUSDT-1h-2024-04-01.zip",
        "BTCUSDT-1h-2024-04-02.zip",
    ]
    assert found[0].path == "data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-01-30.zip"
    assert found[2].path == "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-02.zip"
    assert found[2].period == _span("2024-02-01", "2024-03-01")


def test_futures_stand_in_folders_of_their_own() -> None:
    within = _span("2017-01-01", "2019-10-02")
    found = plan("BTC-USDT", Timeframe.M1, within, parse_time("2020-01-01"), "um")
    assert [path.path for path in found] == [
        "data/futures/um/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2019-09.zip",
        "data/futures/um/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2019-10-01.zip",
    ]
    with pytest.raises(BadArgument, match="'cm'.*spot um"):
        plan("BTC-USDT", Timeframe.M1, within, 0, "cm")
    assert plan("BTC-USDT", Timeframe.M1, Interval(FIRST + 5, FIRST + 5), FIRST + 9 * DAY) == []


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2024-06-02T23:59:59", "BTCUSDT-4h-2024-06-01.zip"),  # June 2024 began on a Saturday
        ("2024-06-03", "BTCUSDT-4h-2024-06-02.zip"),
    ],
)
def test_a_month_is_published_on_the_first_monday_after_it(now: str, last: str) -> None:
    names = _names(plan("BTC-USDT", Timeframe.H4, _span("2024-05-01", "2024-07-01"), parse_time(now)))
    assert ("BTCUSDT-4h-2024-05.zip" in names) is (now == "2024-06-03")
    assert ("BTCUSDT-4h-2024-05-31.zip" in names) is (now != "2024-06-03")
    assert names[-1] == last


def test_weekly_bars_have_monthly_files_that_do_not_settle_a_week_beyond_their_end() -> None:
    found = plan("BTC-USDT", Timeframe.W1, _span("2024-04-20", "2024-06-20"), parse_time("2024-06-20"))
    assert _names(found) == ["BTCUSDT-1w-2024-04.zip", "BTCUSDT-1w-2024-05.zip"]
    assert [path.settles for path in found] == [_span("2024-04-01", "2024-04-29"), _span("2024-05-01", "2024-05-27")]


@given(
    start=st.integers(FIRST - 40 * DAY, FIRST + 900 * DAY),
    length=st.integers(1, 120 * DAY),
    late=st.integers(-60 * DAY, 60 * DAY),
)
def test_files_tile_every_day_that_has_ended(start: int, length: int, late: int) -> None:
    """The oracle: each day by itself; it is wanted when it overlaps the span, lies in the archive's time and has ended."""
    within, now = Interval(start, start + length), start + length + late
    wanted = [
        day for day in range(start // DAY * DAY, start + length, DAY) if day + DAY > max(start, FIRST) and day + DAY <= now
    ]
    found = plan("BTC-USDT", Timeframe.M5, within, now)
    held = [day for path in found for day in range(*path.period, DAY)]
    assert held == wanted
    for path in found:
        first = dt.datetime.fromtimestamp(path.period.start_ms / 1000, dt.UTC)
        assert path.monthly is (first.strftime("-%Y-%m.") in path.name)
        if path.monthly:
            assert first.day == 1 and max(start, FIRST) <= path.period.start_ms and path.period.end_ms <= start + length
