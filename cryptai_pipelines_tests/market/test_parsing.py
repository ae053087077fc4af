"""Times, symbols and series as people write them, and what closes when."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock, SystemClock, closed_until, format_moment, format_time, parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series, is_slug, parse_series, parse_symbol
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe


@given(
    timeframe=st.sampled_from(TIMEFRAMES),
    venue_ms=st.integers(1_400_000_000_000, 2_000_000_000_000),
    grace_ms=st.integers(0, 600_000),
)
def test_closed_bars_are_those_whose_end_plus_grace_has_passed(timeframe: Timeframe, venue_ms: int, grace_ms: int) -> None:
    end = closed_until(venue_ms, timeframe, grace_ms)
    last_closed, first_open = end - timeframe.ms, end
    assert timeframe.floor(end) == end
    assert last_closed + timeframe.ms <= venue_ms - grace_ms < first_open + timeframe.ms


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-31", dt.datetime(2024, 1, 31, tzinfo=dt.UTC)),
        (" 2024-02-29T12:00Z ", dt.datetime(2024, 2, 29, 12, tzinfo=dt.UTC)),
        ("2024-01-31T12:00:00.123", dt.datetime(2024, 1, 31, 12, 0, 0, 123_000, tzinfo=dt.UTC)),
        ("2024-03-31T02:30+09:00", dt.datetime(2024, 3, 30, 17, 30, tzinfo=dt.UTC)),
        ("1969-12-31T23:59:59Z", dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)),
    ],
)
def test_times_parse_as_utc(text: str, moment: dt.datetime) -> None:
    assert parse_time(text) == round(moment.timestamp() * 1000)


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "2023-02-29", "31.01.2024", "2024-01-31T25:00", "nan"])
def test_a_malformed_time_names_itself_and_an_example(text: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_time(text, "--start")
    assert f"--start {text!r}" in str(error.value) and "2024-01-31" in str(error.value) and "\n" not in str(error.value)


@given(st.integers(0, 4_102_444_799))
def test_formatted_times_parse_back(seconds: int) -> None:
    text = format_time(seconds * 1000)
    assert text.endswith("Z") and parse_time(text) == seconds * 1000


def test_clocks() -> None:
    clock = FixedClock(5)
    assert clock.now_ms() == 5
    clock.at_ms = 7
    assert clock.now_ms() == 7
    before, now = dt.datetime.now(dt.UTC).timestamp() * 1000, SystemClock().now_ms()
    assert before - 1 <= now <= dt.datetime.now(dt.UTC).timestamp() * 1000 + 1


@pytest.mark.parametrize("text", ["BTC-USDT", "btc/usdt", " Btc-Usdt ", "BTC/USDT"])
def test_spellings_of_a_symbol_are_one_slug(text: str) -> None:
    assert parse_symbol(text) == "BTC-USDT" and is_slug(parse_symbol(text))


@pytest.mark.parametrize(
    "text", ["", "BTC", "BTCUSDT", "BTC-", "-USDT", "BTC-USDT-PERP", "BTC_USDT", "../-ETC", "BTC-USDT|1h", "币安-USDT", "BTC-U"]
)
def test_a_malformed_symbol_names_itself_and_the_form(text: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_symbol(text)
    assert repr(text) in str(error.value) and "BTC-USDT" in str(error.value)
    assert not is_slug(text)


@given(
    base=st.text("ABCXYZ0123456789", min_size=1, max_size=20),
    quote=st.text("ABCXYZ0123456789", min_size=2, max_size=20),
    timeframe=st.sampled_from(TIMEFRAMES),
)
def test_a_series_parses_back_from_its_key(base: str, quote: str, timeframe: Timeframe) -> None:
    series = Series(f"{base}-{quote}", timeframe)
    assert parse_series(series.key) == series and str(series) == f"{base}-{quote} {timeframe.code}"


@pytest.mark.parametrize("key", ["BTC-USDT", "BTC-USDT|", "|1h", "BTC-USDT|7m", "BTC-USDT|1h|1h", "1h|BTC-USDT"])
def test_a_malformed_series_is_bad_input(key: str) -> None:
    with pytest.raises(BadInput):
        parse_series(key)


def test_a_moment_is_spelled_with_its_milliseconds_and_read_back() -> None:
    for at_ms, text in ((1_706_702_400_000, "2024-01-31T12:00:00Z"), (1_706_702_400_007, "2024-01-31T12:00:00.007Z")):
        assert format_moment(at_ms) == text and parse_time(text) == at_ms
