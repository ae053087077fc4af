"""Walking a span of time page by page, so that every millisecond of it is settled by an answer. Knows no venue and no HTTP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cryptai_pipelines.market.bars import Columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Contradiction(Malformed):
    """Two answers of a venue about the same span cannot both be true."""


@dataclass(frozen=True)
class Answer:
    """Wire rows of one answer, ascending and inside what was asked, and its proof. `full`: as many rows as a page can hold."""

    rows: Columns
    full: bool
    url: str
    sha256: str
    fetched_at_ms: int

    @property
    def opens(self) -> np.ndarray:
        return self.rows["ts"]


@dataclass(frozen=True)
class Questions:
    """What a venue can be asked about one series. Times are epoch milliseconds; None stands for no bar at all."""

    bars_within: Callable[[Interval], Answer]
    """The oldest bars of the interval, at most one page of them."""

    last_open_before: Callable[[int], int | None]
    first_open_from: Callable[[int], int | None]


def pages(questions: Questions, timeframe: Timeframe, within: Interval) -> Iterator[Page]:
    """Pages whose `asked` intervals tile `within`. `Malformed` when the venue contradicts itself, and does so again.

    - A full page settles up to its last open time and no further: bars may be off the grid, so the next one may follow at once.
    - A page that is not full settles everything if it reaches the last open time of the grid, or if the venue, asked for its
      last bar before the end, names the page's last bar. Otherwise the page was short, and the rest is asked for again.
    - What a page leaves out before its first bar is believed only if the venue, asked for its first bar from there, names it.
    - An empty answer is believed only if the venue shows a bar on one side of the span and none inside: its last bar before
      the end is older than the span, or its first bar from the start is younger. A venue that answers every question about a
      series with an empty list has shown nothing.
    """
    cursor = within.start_ms
    while cursor < within.end_ms:
        left = Interval(cursor, within.end_ms)
        answer, settled = once_more(lambda left=left: _settle(questions, timeframe, left))  # type: ignore[misc]
        yield Page(answer.rows, Interval(cursor, settled), answer.url, answer.sha256, answer.fetched_at_ms)
        cursor = settled


def once_more(settle: Callable[[], T]) -> T:
    """What `settle` gives, at the second try if it meets a contradiction: the venue may have changed in between."""
    try:
        return settle()
    except Contradiction as error:
        logger.warning("asking once more: %s", error)
        return settle()


def _settle(questions: Questions, timeframe: Timeframe, left: Interval) -> tuple[Answer, int]:
    """The next answer, and the end of the interval from the start of `left` that it settles."""
    answer = questions.bars_within(left)
    return answer, _settled_until(answer, questions, timeframe, left)


def _settled_until(answer: Answer, questions: Questions, timeframe: Timeframe, left: Interval) -> int:
    if not len(answer.opens):
        _prove_empty(answer, questions, left)
        return left.end_ms
    _prove_first(answer, questions, timeframe, left)
    last = int(answer.opens[-1])
    if answer.full:
        return last + 1
    if timeframe.ceil(last + 1) >= left.end_ms:
        return left.end_ms
    newest = questions.last_open_before(left.end_ms)
    if newest is None or newest < last:
        raise Contradiction(f"{answer.url}: ends with the bar {last}, but the last before {left.end_ms} is said to be {newest}")
    return left.end_ms if newest == last else last + 1


def _prove_first(answer: Answer, questions: Questions, timeframe: Timeframe, left: Interval) -> None:
    first = int(answer.opens[0])
    if first <= timeframe.ceil(left.start_ms):
        return
    oldest = questions.first_open_from(left.start_ms)
    if oldest != first:
        raise Contradiction(
            f"{answer.url}: begins with the bar {first}, but the first from {left.start_ms} is said to be {oldest}"
        )


def _prove_empty(answer: Answer, questions: Questions, left: Interval) -> None:
    before = questions.last_open_before(left.end_ms)
    neighbour = before if before is not None else questions.first_open_from(left.start_ms)
    if neighbour is None:
        raise Contradiction(f"{answer.url}: empty, and so is every other answer about this series; that is not believed")
    if left.start_ms <= neighbour < left.end_ms:
        raise Contradiction(f"{answer.url}: empty, although the venue has a bar at {neighbour}")
