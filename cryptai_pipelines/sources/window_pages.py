"""Walking a span of a venue that only answers for a window of time. Knows no venue and no HTTP.

Such a venue cannot be asked for its last bar before a moment. What is missing at the edge of a window is therefore asked for
once more by itself, and an empty window is looked at in coarser bars, which also say where the next bars are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.pagination import Answer, Contradiction

logger = logging.getLogger(__name__)

_FIRST_EXCHANGE_MS = 1_262_304_000_000  # 2010-01-01, before any venue traded; how far back a bar is looked for.


@dataclass(frozen=True)
class Windows:
    """What a venue can be asked about one symbol. Times are epoch milliseconds."""

    bars_within: Callable[[Timeframe, Interval], Answer]
    """The bars whose open times lie in the interval, which holds at least one and at most `page_rows` of the grid."""

    page_rows: int
    timeframes: tuple[Timeframe, ...]
    """Native timeframes from the one of the series on, ascending."""

    now_ms: int
    history_bars: int | None = None
    """How many bars back from now the venue can be asked about; None: any."""

    @property
    def timeframe(self) -> Timeframe:
        return self.timeframes[0]

    def reach(self, timeframe: Timeframe) -> int:
        """The first open time that can be asked about."""
        if self.history_bars is None:
            return timeframe.ceil(_FIRST_EXCHANGE_MS)
        return timeframe.ceil(max(_FIRST_EXCHANGE_MS, self.now_ms - self.history_bars * timeframe.ms))


def window_pages(windows: Windows, within: Interval) -> Iterator[Page]:
    """Pages whose `asked` intervals tile `within`, from the first bar on that the venue can still be asked about.

    - A page settles its window when it has a bar at both ends of the window, or when the venue, asked for what is missing
      there alone, has none. Otherwise the page was short, and what it lacked is asked for again.
    - An empty window is believed only if coarser bars show the venue trading somewhere else and not in it. What lies between
      it and the next bar found so is settled with it.

    `Malformed` when the venue contradicts itself, and does so again.
    """
    start = within.start_ms
    if windows.history_bars is not None:
        start = max(start, min(windows.reach(windows.timeframe), within.end_ms))
    slots = windows.page_rows
    while start < within.end_ms:
        left = Interval(start, within.end_ms)
        try:
            answer, settled = _settle(windows, left, slots)
        except Contradiction as error:
            logger.warning("asking once more: %s", error)
            answer, settled = _settle(windows, left, slots)
        yield Page(answer.rows, Interval(start, settled), answer.url, answer.sha256, answer.fetched_at_ms)
        # A venue whose pages are shorter than we know is asked for as much as it gives, and now and then for more.
        count = windows.timeframe.count(start, settled)
        slots = max(1, count) if count < slots else min(2 * slots, windows.page_rows)
        start = settled


def _settle(windows: Windows, left: Interval, slots: int) -> tuple[Answer, int]:
    """The next answer, for at most `slots` open times, and the end of the interval from the start of `left` that it settles."""
    timeframe = windows.timeframe
    first_slot = timeframe.ceil(left.start_ms)
    if first_slot >= left.end_ms:
        # No bar can open here; the bar that covers it is asked for, so that the page has its proof.
        return _without_rows(windows.bars_within(timeframe, Interval(timeframe.floor(left.start_ms), left.end_ms))), left.end_ms
    window = Interval(first_slot, min(left.end_ms, first_slot + slots * timeframe.ms))
    answer = windows.bars_within(timeframe, window)
    if not len(answer.opens):
        return answer, _end_of_emptiness(windows, answer, window, left.end_ms)
    answer, end_ms = _with_its_front(windows, timeframe, answer, window)
    last = int(answer.opens[-1])
    if timeframe.ceil(last + 1) < end_ms and len(windows.bars_within(timeframe, Interval(last + timeframe.ms, end_ms)).opens):
        return answer, last + 1
    return answer, end_ms


def _with_its_front(windows: Windows, timeframe: Timeframe, answer: Answer, window: Interval) -> tuple[Answer, int]:
    """The answer for the longest beginning of `window` that is whole at its front, and the end of that beginning."""
    end_ms = window.end_ms
    while (first := int(answer.opens[0])) > window.start_ms:
        front = windows.bars_within(timeframe, Interval(window.start_ms, first))
        if not len(front.opens):
            break
        answer, end_ms = front, first
    return answer, end_ms


def _without_rows(answer: Answer) -> Answer:
    none = {name: values[:0] for name, values in answer.rows.items()}
    return Answer(none, answer.full, answer.url, answer.sha256, answer.fetched_at_ms)


def _end_of_emptiness(windows: Windows, answer: Answer, window: Interval, end_ms: int) -> int:
    """Where the empty span that begins with `window` ends, at most `end_ms`."""
    following = _first_open_from(windows, window.start_ms)
    if following is None:
        if not _has_bars_before(windows, window.start_ms):
            raise Contradiction(f"{answer.url}: empty, and so is every other answer about this series; that is not believed")
        return end_ms
    if following < window.end_ms:
        raise Contradiction(f"{answer.url}: empty, although the venue has a bar at {following}")
    return min(following, end_ms)


def _first_open_from(windows: Windows, start_ms: int) -> int | None:
    """Open time of the first bar of the series from `start_ms` on, None when there is none until now."""
    coarsest = windows.timeframes[-1]
    begin_ms = max(coarsest.floor(start_ms), windows.reach(coarsest))
    for bucket in _opens(windows, coarsest, Interval(begin_ms, coarsest.floor(windows.now_ms) + coarsest.ms)):
        found = _first_open_in(windows, coarsest, bucket, start_ms)
        if found is not None:
            return found
    return None


def _first_open_in(windows: Windows, coarse: Timeframe, bucket_ms: int, start_ms: int) -> int | None:
    """Open time of the first bar of the series, from `start_ms` on, in the bar of `coarse` that opens at `bucket_ms`.

    Where a page is too short for all of them, through a timeframe between. `Contradiction` when there is no finer bar in it.
    """
    if coarse is windows.timeframe:
        return bucket_ms if bucket_ms >= start_ms else None
    finer = next(each for each in windows.timeframes if coarse.ms // each.ms <= windows.page_rows and each is not coarse)
    hollow = True
    for open_ms in _opens(windows, finer, Interval(bucket_ms, bucket_ms + coarse.ms)):
        hollow = False
        if open_ms + finer.ms > start_ms:
            found = _first_open_in(windows, finer, open_ms, start_ms)
            if found is not None:
                return found
    if hollow:
        raise Contradiction(f"the venue has a bar of {coarse.code} at {bucket_ms}, but none of {finer.code} in it")
    return None


def _opens(windows: Windows, timeframe: Timeframe, span: Interval) -> Iterator[int]:
    """Open times of all bars of `timeframe` in `span`, ascending; what an answer lacks at its ends is asked for again."""
    cursor = span.start_ms
    while cursor < span.end_ms:
        window = Interval(cursor, min(span.end_ms, cursor + windows.page_rows * timeframe.ms))
        answer = windows.bars_within(timeframe, window)
        cursor = window.end_ms
        if len(answer.opens):
            answer, _ = _with_its_front(windows, timeframe, answer, window)
            yield from answer.opens.tolist()
            cursor = int(answer.opens[-1]) + timeframe.ms


def _has_bars_before(windows: Windows, before_ms: int) -> bool:
    """Whether the venue shows any bar, in the coarsest timeframe, that opened before `before_ms`; there is none afterwards."""
    coarsest = windows.timeframes[-1]
    end_ms = coarsest.ceil(before_ms)
    while end_ms > windows.reach(coarsest):
        window = Interval(max(windows.reach(coarsest), end_ms - windows.page_rows * coarsest.ms), end_ms)
        if len(windows.bars_within(coarsest, window).opens):
            return True
        end_ms = window.start_ms
    return False
