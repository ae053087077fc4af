"""Asking for the next page while the last one is on its way. Which pages there are is decided in `pagination`; nothing here
changes what is asked or believed, only when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.pagination import Answer, Questions


@contextmanager
def asked_ahead(questions: Questions, timeframe: Timeframe, page_rows: int) -> Iterator[Questions]:
    """`questions` for one walk, with the next question of the walk asked in advance by a second thread.

    After a full page the following one is expected to be full of consecutive bars, and the question after it is sent at once.
    A gap makes that guess wrong; its answer is thrown away, whatever it was, and the right question is asked. Nothing is
    guessed for a walk that one page may end.
    """
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="lookahead")
    try:
        yield replace(questions, bars_within=_bars_within(pool, questions.bars_within, page_rows * timeframe.ms))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _bars_within(pool: ThreadPoolExecutor, ask: Callable[[Interval], Answer], page_ms: int) -> Callable[[Interval], Answer]:
    guessed: dict[Interval, Future[Answer]] = {}
    follows_full_page = False

    def bars_within(left: Interval) -> Answer:
        nonlocal follows_full_page
        coming = guessed.pop(left, None)
        for wrong in guessed.values():
            wrong.cancel()
        guessed.clear()
        next_left = Interval(left.start_ms + page_ms, left.end_ms)
        if not follows_full_page or next_left.start_ms >= left.end_ms:
            answer = ask(left) if coming is None else coming.result()
        else:
            coming = coming or pool.submit(ask, left)
            guessed[next_left] = pool.submit(ask, next_left)
            answer = coming.result()
        follows_full_page = answer.full
        return answer

    return bars_within
