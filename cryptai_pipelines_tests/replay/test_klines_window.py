"""Which bars a klines request gets: an independent model that walks every row, against the venue's searches."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.recorded import RecordedVenue, open_recorded
from cryptai_pipelines.replay.simulated import LISTED_MS, open_simulated
from cryptai_pipelines.replay.venue import Window
from cryptai_pipelines_tests.replay.conftest import ask, plain_bars

HOUR = Timeframe.H1.ms
START = 1_600_000_200_000 // HOUR * HOUR
PLENTY = Limits(weight_per_minute=10**9)


def model(opens: list[int], start: int | None, end: int | None, limit: int, now: int) -> list[int]:
    """The documented rules, one row at a time."""
    kept = [ts for ts in opens if ts <= now and (start is None or ts >= start) and (end is None or ts <= end)]
    return kept[:limit] if start is not None else kept[len(kept) - min(limit, len(kept)) :]


def target(start: int | None, end: int | None, limit: int | None, interval: str = "1h") -> str:
    parts = {"startTime": start, "endTime": end, "limit": limit}
    sent = "".join(f"&{name}={value}" for name, value in parts.items() if value is not None)
    return f"/api/v3/klines?symbol=BTCUSDT&interval={interval}{sent}"


moments = st.none() | st.integers(START - 5 * HOUR, START + 70 * HOUR) | st.integers(-1, 65).map(lambda n: START + n * HOUR)


@st.composite
def open_times(draw: st.DrawFn) -> list[int]:
    """Ascending open times over 60 hours with holes, off-grid bars and repeats."""
    hours = draw(st.lists(st.integers(0, 59), min_size=1, max_size=60))
    shifts = draw(st.lists(st.sampled_from([0, 0, 0, 1_694_000]), min_size=len(hours), max_size=len(hours)))
    return sorted(START + hour * HOUR + shift for hour, shift in zip(hours, shifts, strict=True))


@given(
    opens=open_times(),
    start=moments,
    end=moments,
    limit=st.none() | st.integers(1, 70) | st.just(5000),
    now=st.integers(START - HOUR, START + 65 * HOUR),
)
def test_recorded_rows_are_those_of_the_model(
    tmp_path_factory: Any, opens: list[int], start: int | None, end: int | None, limit: int | None, now: int
) -> None:
    columns = {name: values.to_numpy() for name, values in plain_bars(np.array(opens)).items()}
    venue = RecordedVenue({"BTCUSDT": {Timeframe.H1: tmp_path_factory.getbasetemp() / "unread"}}, FixedClock(now))
    venue._series[("BTCUSDT", Timeframe.H1)] = {"ts": np.array(opens, dtype=np.int64), **columns}
    if (start is not None and start < 0) or (end is not None and end < 0):
        return
    rows = json.loads(ask(Api(venue, PLENTY), target(start, end, limit)).body)
    assert [row[0] for row in rows] == model(opens, start, end, min(limit or 500, 1000), now)


@given(
    first=st.integers(-3, 40_000),
    span=st.integers(-10, 2_500),
    limit=st.none() | st.integers(1, 1200),
    given_ends=st.tuples(st.booleans(), st.booleans()),
    now_after=st.integers(0, 3_000),
)
@settings(max_examples=40)
def test_simulated_rows_are_those_of_the_model(
    first: int, span: int, limit: int | None, given_ends: tuple[bool, bool], now_after: int
) -> None:
    start = LISTED_MS + first * HOUR + 1 if given_ends[0] else None
    end = LISTED_MS + (first + span) * HOUR + 17 if given_ends[1] else None
    now = LISTED_MS + (first + now_after) * HOUR + 1234
    venue = open_simulated(3, 1, FixedClock(now))
    rows = venue.bars("BTCUSDT", Timeframe.H1, Window(start, end, min(limit or 500, 1000)), now)
    opens = list(range(LISTED_MS, now + 1, HOUR))
    assert rows["ts"].tolist() == model(opens, start, end, min(limit or 500, 1000), now)


def test_default_is_500_rows_and_the_cap_is_1000(record: Any) -> None:
    folder = record(plain_bars(START + HOUR * np.arange(1500)))
    api = Api(open_recorded(folder, FixedClock(START + 1600 * HOUR)))
    for asked, count in ((None, 500), (1, 1), (1000, 1000), (1001, 1000), (10**15, 1000)):
        rows = json.loads(ask(api, target(None, None, asked)).body)
        assert len(rows) == count
        assert rows[-1][0] == START + 1499 * HOUR


def test_times_in_microseconds_are_read_and_written_on_request(record: Any) -> None:
    api = Api(open_recorded(record(plain_bars(START + HOUR * np.arange(10))), FixedClock(START + 9 * HOUR + 5)))
    asked = target((START + 3 * HOUR) * 1000, (START + 4 * HOUR) * 1000 + 999, None)
    assert [row[0] for row in json.loads(ask(api, asked).body)] == [START + 3 * HOUR, START + 4 * HOUR]
    rows = json.loads(ask(api, asked, {"x-mbx-time-unit": "MICROSECOND"}).body)
    assert [(row[0], row[6]) for row in rows] == [
        ((START + n * HOUR) * 1000, (START + (n + 1) * HOUR) * 1000 - 1) for n in (3, 4)
    ]


def test_start_after_end_is_empty(record: Any) -> None:
    api = Api(open_recorded(record(plain_bars(START + HOUR * np.arange(10))), FixedClock(START + 99 * HOUR)))
    assert ask(api, target(START + 5 * HOUR, START + 4 * HOUR, None)).body == b"[]"
