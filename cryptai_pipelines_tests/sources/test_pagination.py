"""The paginator against a model venue: whatever the holes and page sizes, pages hold the model and tile the span."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import concat_columns, empty_columns
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.pagination import Answer, Questions, pages
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import KlineVenue, kline
from cryptai_pipelines_tests.sources.tiling import assert_tiles

HOUR = Timeframe.H1.ms
ORIGIN = 1_600_000_000_000 // HOUR * HOUR


@st.composite
def _opens(draw: st.DrawFn, timeframe: Timeframe) -> list[int]:
    """Ascending open times: runs with holes of any length between them, some of them off the grid."""
    at, opens = timeframe.ceil(ORIGIN), []
    for _ in range(draw(st.integers(0, 6))):
        at += timeframe.ms * draw(st.integers(0, 30))
        for _ in range(draw(st.integers(1, 12))):
            opens.append(at + draw(st.sampled_from([0, 0, 0, 0, 1, 17_000, timeframe.ms - 1])))
            at += timeframe.ms
    return sorted(set(opens))


@st.composite
def _cases(draw: st.DrawFn) -> tuple[Timeframe, list[int], Interval, int]:
    timeframe = draw(st.sampled_from(TIMEFRAMES))
    opens = draw(_opens(timeframe).filter(bool))
    origin = timeframe.ceil(ORIGIN)
    start = origin + draw(st.integers(-5, 60)) * timeframe.ms + draw(st.sampled_from([0, 0, 1, -1]))
    end = start + draw(st.integers(0, 200)) * timeframe.ms + draw(st.sampled_from([0, 0, 1]))
    return timeframe, opens, Interval(start, end), draw(st.integers(1, 15))


def _model_questions(opens: Sequence[int], page_rows: int, cut_short: Sequence[int] = ()) -> Questions:
    """A venue in memory. `cut_short`: how many rows each page gives at most although it could hold more, in order."""
    cuts = iter(cut_short)

    def bars_within(span: Interval) -> Answer:
        found = [ts for ts in opens if span.start_ms <= ts < span.end_ms][:page_rows]
        found = found[: next(cuts, page_rows)]
        rows = empty_columns() | {"ts": np.array(found, dtype="int64")}
        rows = {name: values if name == "ts" else np.zeros(len(found), values.dtype) for name, values in rows.items()}
        return Answer(rows, len(found) == page_rows, f"model:{span}", "0" * 64, 0)

    return Questions(
        bars_within,
        lambda end: max((ts for ts in opens if ts < end), default=None),
        lambda start: min((ts for ts in opens if ts >= start), default=None),
    )


@given(_cases())
@settings(max_examples=200)
def test_pages_hold_the_model_and_tile_the_span(case: tuple[Timeframe, list[int], Interval, int]) -> None:
    timeframe, opens, within, page_rows = case
    found = list(pages(_model_questions(opens, page_rows), timeframe, within))
    expected = [ts for ts in opens if within.start_ms <= ts < within.end_ms]
    assert concat_columns([page.rows for page in found])["ts"].tolist() == expected
    assert_tiles(found, within)


@given(_cases(), st.lists(st.integers(1, 4), max_size=20))
@settings(max_examples=150)
def test_short_pages_lose_nothing_before_the_last_slot(
    case: tuple[Timeframe, list[int], Interval, int], cut_short: list[int]
) -> None:
    """Pages that stop early for no reason: only a bar off the grid after the last slot may be taken for absent."""
    timeframe, opens, within, page_rows = case
    found = list(pages(_model_questions(opens, page_rows, cut_short), timeframe, within))
    got = concat_columns([page.rows for page in found])["ts"].tolist()
    lost = [ts for ts in opens if within.start_ms <= ts < within.end_ms and ts not in got]
    assert all(timeframe.floor(ts) + timeframe.ms >= within.end_ms and timeframe.floor(ts) != ts for ts in lost)
    assert_tiles(found, within)


@given(_cases())
@settings(max_examples=100)
def test_a_page_lost_in_the_middle_is_never_an_empty_span(case: tuple[Timeframe, list[int], Interval, int]) -> None:
    """An answer is empty although bars exist: asked once more, and an error when it stays so."""
    timeframe, opens, within, page_rows = case
    honest = list(pages(_model_questions(opens, page_rows), timeframe, within))
    for lost in range(len(honest)):
        if len(honest[lost].rows["ts"]):
            once, twice = [page_rows] * lost + [0], [page_rows] * lost + [0, 0]
            again = list(pages(_model_questions(opens, page_rows, once), timeframe, within))
            assert [page.rows["ts"].tolist() for page in again] == [page.rows["ts"].tolist() for page in honest]
            with pytest.raises(Malformed):
                list(pages(_model_questions(opens, page_rows, twice), timeframe, within))


@given(_cases())
@settings(max_examples=25)
def test_the_whole_source_agrees_with_the_model_over_a_socket(case: tuple[Timeframe, list[int], Interval, int]) -> None:
    from cryptai_pipelines.market.clock import FixedClock
    from cryptai_pipelines.sources.ccxt_binance import open_binance

    timeframe, opens, within, _ = case
    with fakes.serving(KlineVenue([kline(ts, timeframe.ms) for ts in opens])) as server:
        source = open_binance(server.url, 5.0, FixedClock(7), timer=fakes.FakeTime().timer())
        found = list(source.bars("BTC-USDT", timeframe, *within))
    expected = [ts for ts in opens if within.start_ms <= ts < within.end_ms]
    assert concat_columns([page.rows for page in found])["ts"].tolist() == expected
    assert_tiles(found, within)
    asked = [request.parameters for request in server.requests if request.parameters["limit"] != "1"]
    if within.start_ms < within.end_ms:
        assert asked[0]["startTime"] == str(within.start_ms)
    assert all(parameters["endTime"] == str(within.end_ms - 1) for parameters in asked)


def test_full_pages_of_a_thousand_are_walked_with_one_call_each(open_at) -> None:
    rows = [kline(ORIGIN + i * HOUR, HOUR, price=1 + i) for i in range(2500)]
    with fakes.serving(KlineVenue(rows)) as server:
        found = list(open_at(server.url).bars("BTC-USDT", Timeframe.H1, ORIGIN, ORIGIN + 2500 * HOUR))
    assert [len(page.rows["ts"]) for page in found] == [1000, 1000, 500]
    assert len(server.requests) == 3
    assert {request.parameters["limit"] for request in server.requests} == {"1000"}
    assert concat_columns([page.rows for page in found])["close"].tolist() == [1.0 + i for i in range(2500)]


def test_a_page_cap_below_ours_loses_nothing(open_at) -> None:
    rows = [kline(ORIGIN + i * HOUR, HOUR) for i in range(700)]
    with fakes.serving(KlineVenue(rows, page_cap=300)) as server:
        found = list(open_at(server.url).bars("BTC-USDT", Timeframe.H1, ORIGIN, ORIGIN + 700 * HOUR))
    assert [len(page.rows["ts"]) for page in found] == [300, 300, 100]


def test_pages_are_fetched_only_as_they_are_taken(open_at) -> None:
    rows = [kline(ORIGIN + i * HOUR, HOUR) for i in range(2500)]
    with fakes.serving(KlineVenue(rows)) as server:
        walk = open_at(server.url).bars("BTC-USDT", Timeframe.H1, ORIGIN, ORIGIN + 2500 * HOUR)
        assert len(server.requests) == 0
        next(walk)
        assert len(server.requests) == 1


def test_an_empty_span_asks_nothing(open_at) -> None:
    with fakes.serving(KlineVenue([])) as server:
        assert list(open_at(server.url).bars("BTC-USDT", Timeframe.H1, ORIGIN, ORIGIN)) == []
    assert server.requests == []


@pytest.mark.parametrize(
    ("symbol", "start", "end", "says"),
    [("BTCUSDT", 0, 1, "'BTCUSDT'"), ("btc-usdt", 0, 1, "BTC-USDT"), ("BTC-USDT", 2, 1, r"\[2, 1\)"),
     ("BTC-USDT", -1, 1, "-1")],
)  # fmt: skip
def test_wrong_arguments_are_named_before_anything_is_asked(symbol: str, start: int, end: int, says: str, open_at) -> None:
    with pytest.raises(BadInput, match=says):
        open_at("http://127.0.0.1:1").bars(symbol, Timeframe.H1, start, end)
