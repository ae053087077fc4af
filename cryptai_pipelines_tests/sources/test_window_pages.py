"""The walk over windows against a model venue: whatever the holes, page sizes and short pages, pages hold the model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import Columns, concat_columns, empty_columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.pagination import Answer
from cryptai_pipelines.sources.resampled_pages import base_of, resampled_pages, span_of_parts
from cryptai_pipelines.sources.window_pages import Windows, window_pages

M1, M5, H1, D1 = Timeframe.M1, Timeframe.M5, Timeframe.H1, Timeframe.D1
ORIGIN = 1_600_000_000_000 // D1.ms * D1.ms
NOW = ORIGIN + 40 * D1.ms


def _columns(opens: list[int]) -> Columns:
    zeros = {name: np.zeros(len(opens), values.dtype) for name, values in empty_columns().items()}
    return zeros | {"ts": np.array(opens, dtype="int64")}


def _windows(opens: list[int], page_rows: int, cuts: Iterator[int], newest: bool, history: int | None = None) -> Windows:
    """A venue in memory of the given hours. Each of `cuts` is the most rows of one answer, after them nothing is cut."""

    def bars_within(timeframe: Timeframe, span: Interval) -> Answer:
        assert 1 <= timeframe.count(*span) <= page_rows
        found = sorted({timeframe.floor(ts) for ts in opens})
        found = [ts for ts in found if span.start_ms <= ts < span.end_ms]
        cut = min(next(cuts, page_rows), page_rows)
        found = (found[-cut:] if newest else found[:cut]) if cut else []
        return Answer(_columns(found), False, f"model:{span}", "0" * 64, 0)

    return Windows(bars_within, page_rows, (H1, D1), NOW, history)


@st.composite
def _opens(draw: st.DrawFn) -> list[int]:
    """Hours in runs, with holes of up to two weeks between them."""
    at, opens = ORIGIN, []
    for _ in range(draw(st.integers(1, 6))):
        at += H1.ms * draw(st.sampled_from([0, 1, 2, 5, 24, 30, 100, 340]))
        for _ in range(draw(st.integers(1, 30))):
            opens.append(at)
            at += H1.ms
    return [ts for ts in opens if ts <= NOW]


SPANS = st.tuples(st.integers(-50, 900), st.integers(0, 700), st.sampled_from([0, 0, 1, H1.ms - 1]))


def _interval(span: tuple[int, int, int]) -> Interval:
    start = ORIGIN + span[0] * H1.ms + span[2]
    return Interval(start, start + span[1] * H1.ms)


def _assert_tiles(found: list[Page], within: Interval) -> None:
    cursor = within.start_ms
    for page in found:
        assert page.asked.start_ms == cursor < page.asked.end_ms
        assert all(page.asked.start_ms <= ts < page.asked.end_ms for ts in page.rows["ts"].tolist())
        cursor = page.asked.end_ms
    assert cursor == within.end_ms


@given(_opens(), SPANS, st.integers(24, 60), st.booleans(), st.lists(st.integers(1, 9), max_size=12))
@settings(max_examples=200)
def test_pages_hold_the_model_and_tile_the_span(
    opens: list[int], span: tuple[int, int, int], page_rows: int, newest: bool, cuts: list[int]
) -> None:
    """Every answer may be cut, those of days, too, at the end where the venue cuts, as long as something is left of it."""
    within = _interval(span)
    found = list(window_pages(_windows(opens, page_rows, iter(cuts), newest), within))
    expected = [ts for ts in opens if within.start_ms <= ts < within.end_ms]
    assert concat_columns([page.rows for page in found])["ts"].tolist() == expected
    _assert_tiles(found, within)


@given(_opens(), SPANS, st.integers(24, 60))
@settings(max_examples=100)
def test_an_answer_lost_is_never_an_empty_span(opens: list[int], span: tuple[int, int, int], page_rows: int) -> None:
    """Hours come empty for good although there are some: an error, because the days say otherwise."""
    within = _interval(span)
    windows = _windows(opens, page_rows, iter(()), newest=True)

    def hollow(timeframe: Timeframe, asked: Interval) -> Answer:
        answer = windows.bars_within(timeframe, asked)
        return Answer(_columns([]), False, "", "", 0) if timeframe is H1 else answer

    if any(within.start_ms <= ts < within.end_ms for ts in opens):
        with pytest.raises(Malformed):
            list(window_pages(Windows(hollow, page_rows, (H1, D1), NOW), within))


def test_what_a_venue_no_longer_keeps_is_not_settled() -> None:
    opens = list(range(ORIGIN, NOW + 1, H1.ms))
    windows = _windows(opens, 50, iter(()), newest=False, history=200)
    within = Interval(ORIGIN, NOW)
    found = list(window_pages(windows, within))
    _assert_tiles(found, Interval(H1.ceil(NOW - 200 * H1.ms), NOW))
    assert list(window_pages(windows, Interval(ORIGIN, ORIGIN + D1.ms))) == []


def _finer_pages(opens: list[int], span: Interval, cuts: list[int]) -> list[Page]:
    """Pages of minutes that tile `span`, cut at the given minutes."""
    edges = sorted({span.start_ms, span.end_ms, *(span.start_ms + cut * M1.ms for cut in cuts)})
    edges = [edge for edge in edges if span.start_ms <= edge <= span.end_ms]
    pages = []
    for start, end in zip(edges, edges[1:], strict=False):
        rows = _columns([ts for ts in opens if start <= ts < end])
        rows |= {name: (rows["ts"] % 977).astype("float64") + 1 for name in ("open", "high", "low", "close", "volume")}
        pages.append(Page(rows, Interval(start, end), f"p{start}", hashlib.sha256(str(start).encode()).hexdigest(), start))
    return pages


@given(
    st.sets(st.integers(0, 300), max_size=120),
    st.integers(-7, 60),
    st.integers(0, 250),
    st.lists(st.integers(0, 260), max_size=8),
)
@settings(max_examples=200)
def test_resampled_pages_are_the_aggregate_however_the_finer_ones_are_cut(
    minutes: set[int], start: int, length: int, cuts: list[int]
) -> None:
    opens = [ORIGIN + minute * M1.ms for minute in sorted(minutes)]
    within = Interval(ORIGIN + start * M1.ms, ORIGIN + (start + length) * M1.ms)
    finer = _finer_pages(opens, span_of_parts(M5, within), cuts)
    found = list(resampled_pages(finer, M1, M5, within))
    _assert_tiles(found, within)
    rows = concat_columns([page.rows for page in found])
    buckets: dict[int, list[int]] = {}
    for ts in opens:
        if M5.ceil(within.start_ms) <= M5.floor(ts) < within.end_ms:
            buckets.setdefault(M5.floor(ts), []).append(ts % 977 + 1)
    assert rows["ts"].tolist() == list(buckets)
    assert rows["open"].tolist() == [values[0] for values in buckets.values()]
    assert rows["high"].tolist() == [max(values) for values in buckets.values()]
    assert rows["low"].tolist() == [min(values) for values in buckets.values()]
    assert rows["close"].tolist() == [values[-1] for values in buckets.values()]
    assert rows["volume"].tolist() == [sum(values) for values in buckets.values()]
    for page in found:
        # The finer pages that overlap the time of the page's bars are its proof, and no other.
        start_ms, end_ms = M5.ceil(page.asked.start_ms), M5.ceil(page.asked.end_ms)
        time = Interval(start_ms if start_ms < end_ms else start_ms - M5.ms, end_ms)
        parts = [p for p in finer if p.asked.start_ms < time.end_ms and p.asked.end_ms > time.start_ms]
        assert page.sha256 == hashlib.sha256("".join(p.sha256 for p in parts).encode()).hexdigest()
        assert page.url == parts[0].url


def test_a_bar_is_made_of_the_longest_parts_that_fit() -> None:
    native = (M1, M5, Timeframe.M15, H1, D1)
    assert [base_of(t, native).code for t in Timeframe] == ["1m", "5m", "15m", "15m", "1h", "1h", "1d", "1d"]


def test_bars_whose_first_parts_are_not_kept_are_left_out() -> None:
    span = Interval(ORIGIN, ORIGIN + 60 * M1.ms)
    late = _finer_pages([ORIGIN + i * M1.ms for i in range(60)], Interval(ORIGIN + 7 * M1.ms, span.end_ms), [])
    (page,) = resampled_pages(late, M1, M5, span)
    assert page.url == late[0].url
    assert page.asked == (ORIGIN + 10 * M1.ms, span.end_ms)
    assert page.rows["ts"][0] == ORIGIN + 10 * M1.ms
