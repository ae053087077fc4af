"""A long history that several threads fetch is the history that one thread fetches: every bar once, in order, every moment
settled by an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import WIRE_DTYPES
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import raw_ohlcv
from cryptai_pipelines.sources.errors import Transient
from cryptai_pipelines.sources.pagination import Answer, Questions, pages

MINUTE = Timeframe.M1
SERIES = Series("BTC-USDT", MINUTE)
PAGE_ROWS = 7


@dataclass
class Venue:
    """Answers from a list of open times as Binance does, by pages of `PAGE_ROWS`; a question from `fails_from` on fails."""

    opens: np.ndarray
    fails_from: int | None = None
    threads: set[str] = field(default_factory=set)

    def bars(self, symbol: str, timeframe: Timeframe, start_ms: int, end_ms: int) -> Iterator[Page]:
        return pages(Questions(self._within, self._before, self._from), timeframe, Interval(start_ms, end_ms))

    def _within(self, span: Interval) -> Answer:
        self.threads.add(threading.current_thread().name)
        if self.fails_from is not None and span.start_ms >= self.fails_from:
            raise Transient("away")
        found = self.opens[(self.opens >= span.start_ms) & (self.opens < span.end_ms)][:PAGE_ROWS]
        rows = {name: np.zeros(len(found), dtype) for name, dtype in WIRE_DTYPES.items()} | {"ts": found}
        return Answer(rows, len(found) == PAGE_ROWS, "fake:", "", 0)

    def _before(self, end_ms: int) -> int | None:
        return max(self.opens[self.opens < end_ms].tolist(), default=None)

    def _from(self, start_ms: int) -> int | None:
        return min(self.opens[self.opens >= start_ms].tolist(), default=None)


@pytest.fixture(autouse=True, scope="module")
def _small_stretches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_ohlcv, "_BARS_TOGETHER", 10)
        yield


histories = st.lists(st.integers(0, 119), min_size=1, unique=True).map(lambda slots: np.array(sorted(slots)) * MINUTE.ms)


@given(histories, st.integers(0, 30), st.integers(2, 4))
def test_threads_change_neither_bars_nor_what_is_settled(opens, lead, threads):
    whole = Interval(0, 120 * MINUTE.ms)
    opens = opens + lead * MINUTE.ms
    opens = opens[opens < whole.end_ms]
    if not len(opens):
        return
    found = list(raw_ohlcv._pages(Venue(opens), SERIES, whole, threads))
    assert np.concatenate([page.rows["ts"] for page in found]).tolist() == opens.tolist()
    assert (found[0].asked.start_ms, found[-1].asked.end_ms) == whole
    assert all(before.asked.end_ms == after.asked.start_ms for before, after in pairwise(found))


def test_several_threads_ask_for_a_long_history_and_one_for_a_short_one():
    opens = np.arange(120) * MINUTE.ms
    long, short = Venue(opens), Venue(opens)
    list(raw_ohlcv._pages(long, SERIES, Interval(0, 120 * MINUTE.ms), 3))
    list(raw_ohlcv._pages(short, SERIES, Interval(0, 20 * MINUTE.ms), 3))
    assert len(long.threads) > 1 and short.threads == {threading.current_thread().name}


@given(st.integers(1, 110))
def test_what_lies_before_a_failure_is_given_out_and_nothing_after_it(failing):
    opens, received = np.arange(120) * MINUTE.ms, []
    venue = Venue(opens, failing * MINUTE.ms)
    with pytest.raises(Transient):
        for page in raw_ohlcv._pages(venue, SERIES, Interval(0, 120 * MINUTE.ms), 4):
            received += page.rows["ts"].tolist()
    assert received == opens[: len(received)].tolist() and failing <= len(received) <= failing + PAGE_ROWS
