"""The page of a venue that only gives its last bars, whatever is asked, and always the one that is forming. Knows no venue."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cryptai_pipelines.market.bars import take_rows
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.pagination import Answer


def tail_pages(bars_from: Callable[[int], Answer], timeframe: Timeframe, within: Interval) -> Iterator[Page]:
    """At most one page, which settles what the answer shows of `within` and nothing before its first bar.

    `bars_from(start_ms)` gives the venue's newest bars that open at or after `start_ms`; `full` when it could hold no more, so
    that older ones may exist. No page at all when everything asked for is older than what the venue still gives. `Malformed`
    for an answer without any bar, and when two answers contradict each other.
    """
    if within.start_ms >= within.end_ms:
        return
    answer = bars_from(within.start_ms)
    if not len(answer.opens):
        raise Malformed(f"{answer.url}: no bar at all, although the one that is forming is always given")
    first = int(answer.opens[0])
    seen_from = within.start_ms
    if first > timeframe.ceil(within.start_ms):
        seen_from = first if answer.full else _seen_from(bars_from, answer, within.start_ms)
    if seen_from >= within.end_ms:
        return
    inside = (answer.opens >= seen_from) & (answer.opens < within.end_ms)
    rows = take_rows(answer.rows, np.flatnonzero(inside))
    yield Page(rows, Interval(seen_from, within.end_ms), answer.url, answer.sha256, answer.fetched_at_ms)


def _seen_from(bars_from: Callable[[int], Answer], answer: Answer, start_ms: int) -> int:
    """From when on `answer` shows everything, by a second answer that begins as early as the venue can."""
    whole = bars_from(0)
    first = int(answer.opens[0])
    if not len(whole.opens) or int(whole.opens[-1]) < first:
        raise Malformed(f"{whole.url}: ends before the bar {first} that another answer holds")
    between = whole.opens[(whole.opens >= start_ms) & (whole.opens < first)]
    if len(between):
        raise Malformed(f"{answer.url}: begins with the bar {first}, although the venue has one at {int(between[0])}")
    # Without a bar before the span, what is missing may be young or may be kept from us: nothing proves that it never was.
    return start_ms if int(whole.opens[0]) < start_ms else first
