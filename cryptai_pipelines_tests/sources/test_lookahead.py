"""Asking ahead changes when a question is asked, and nothing else: the pages are those of a walk that asks in turn."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.bars import empty_columns
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import Malformed
from cryptai_pipelines.sources.lookahead import asked_ahead
from cryptai_pipelines.sources.pagination import Answer, Questions, pages

HOUR = Timeframe.H1.ms
ORIGIN = 1_600_000_000_000 // HOUR * HOUR


class Model:
    """A venue in memory that notes what it was asked; `refused` intervals raise."""

    def __init__(self, opens: Sequence[int], page_rows: int, refused: Sequence[Interval] = ()) -> None:
        self.opens, self.page_rows, self.refused = list(opens), page_rows, set(refused)
        self.asked: list[Interval] = []

    def bars_within(self, span: Interval) -> Answer:
        self.asked.append(span)
        if span in self.refused:
            raise Malformed(f"refused {span}")
        found = [ts for ts in self.opens if span.start_ms <= ts < span.end_ms][: self.page_rows]
        rows = {name: np.zeros(len(found), column.dtype) for name, column in empty_columns().items()}
        return Answer(rows | {"ts": np.array(found, "int64")}, len(found) == self.page_rows, f"{span}", "0" * 64, 0)

    @property
    def questions(self) -> Questions:
        return Questions(
            self.bars_within,
            lambda end: max((ts for ts in self.opens if ts < end), default=None),
            lambda start: min((ts for ts in self.opens if ts >= start), default=None),
        )


def _walked(model: Model, within: Interval, ahead: bool) -> list[tuple[Interval, list[int], str]]:
    def told(questions: Questions) -> list[tuple[Interval, list[int], str]]:
        return [(page.asked, page.rows["ts"].tolist(), page.url) for page in pages(questions, Timeframe.H1, within)]

    if not ahead:
        return told(model.questions)
    with asked_ahead(model.questions, Timeframe.H1, model.page_rows) as questions:
        return told(questions)


_RUNS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 25)), min_size=1, max_size=6)


def _opens(runs: Sequence[tuple[int, int]]) -> list[int]:
    """Runs of hourly bars, each after a hole of so many hours."""
    opens, at = [], ORIGIN
    for hole, bars in runs:
        at += hole * HOUR
        opens += range(at, at + bars * HOUR, HOUR)
        at += bars * HOUR
    return opens


@given(_RUNS, st.integers(1, 8), st.integers(-30, 30), st.integers(0, 90))
@settings(max_examples=150)
def test_the_pages_are_those_of_a_walk_in_turn(runs: list[tuple[int, int]], page_rows: int, start: int, length: int) -> None:
    opens = _opens(runs)
    within = Interval(ORIGIN + start * HOUR, ORIGIN + (start + length) * HOUR)
    in_turn, ahead = Model(opens, page_rows), Model(opens, page_rows)
    assert _walked(ahead, within, True) == _walked(in_turn, within, False)
    assert set(in_turn.asked) <= set(ahead.asked)
    assert len(ahead.asked) == len(set(ahead.asked)), "nothing is asked twice"


def test_without_holes_nothing_is_asked_in_vain() -> None:
    opens = _opens([(0, 95)])
    in_turn, ahead = Model(opens, 10), Model(opens, 10)
    within = Interval(ORIGIN, ORIGIN + 95 * HOUR)
    _walked(in_turn, within, False), _walked(ahead, within, True)
    assert sorted(ahead.asked) == sorted(in_turn.asked)


def test_one_page_is_asked_for_by_the_caller_alone() -> None:
    model = Model(_opens([(0, 60)]), 1_000)
    asked_by = []
    ask = model.bars_within
    model.bars_within = lambda span: (asked_by.append(threading.current_thread()), ask(span))[1]  # type: ignore[method-assign]
    _walked(model, Interval(ORIGIN, ORIGIN + 60 * HOUR), True)
    assert asked_by == [threading.current_thread()]


def test_a_wrong_guess_may_fail_and_a_right_one_is_raised_in_its_place() -> None:
    holey = _opens([(0, 25), (2, 25)])
    within = Interval(ORIGIN, ORIGIN + 52 * HOUR)
    guessed = Interval(ORIGIN + 29 * HOUR + 1, within.end_ms)
    wanted = _walked(Model(holey, 10), within, False)
    assert guessed not in [Interval(asked.start_ms, within.end_ms) for asked, _, _ in wanted]
    refusing = Model(holey, 10, [guessed])
    assert _walked(refusing, within, True) == wanted
    assert guessed in refusing.asked

    whole = _opens([(0, 60)])
    third = Interval(ORIGIN + 29 * HOUR + 1, ORIGIN + 60 * HOUR)
    seen = []
    with pytest.raises(Malformed, match="refused"):
        with asked_ahead(Model(whole, 10, [third]).questions, Timeframe.H1, 10) as questions:
            for page in pages(questions, Timeframe.H1, Interval(ORIGIN, ORIGIN + 60 * HOUR)):
                seen += page.rows["ts"].tolist()
    assert seen == whole[:30]


def test_the_next_question_is_under_way_before_the_last_is_answered() -> None:
    model = Model(_opens([(0, 55)]), 10)
    second, third = (Interval(ORIGIN + hours * HOUR + 1, ORIGIN + 55 * HOUR) for hours in (9, 19))
    third_came = threading.Event()
    answer = model.bars_within

    def bars_within(span: Interval) -> Answer:
        if span == third:
            third_came.set()
        if span == second:
            assert third_came.wait(30), "the third page is not asked for while the second is awaited"
        return answer(span)

    model.bars_within = bars_within  # type: ignore[method-assign]
    assert len(_walked(model, Interval(ORIGIN, ORIGIN + 55 * HOUR), True)) == 6
