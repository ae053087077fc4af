"""Calls of one venue in one process are spaced, whoever makes them; waiting for the turn is not the venue's slowness."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.pace import Pace
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, json_answer


@given(st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_turns_are_never_closer_than_the_pace(pauses: list[float]) -> None:
    fake_time = FakeTime()
    pace = Pace(1.5, fake_time.timer())
    turns = []
    for pause in pauses:
        fake_time.epoch_s += pause
        before = fake_time.now()
        waited = pace.wait()
        turns.append(fake_time.now())
        assert abs(before + waited - turns[-1]) < 1e-6
    assert all(later - earlier > 1.5 - 1e-6 for earlier, later in zip(turns, turns[1:], strict=False))


def test_threads_share_the_turns() -> None:
    asked: list[float] = []
    barrier = threading.Barrier(8)
    timer = FakeTime().timer()
    pace = Pace(1.0, type(timer)(lambda: 0.0, lambda: 0.0, asked.append))

    def call() -> None:
        barrier.wait()
        pace.wait()

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_kraken_is_called_once_a_second_and_patience_does_not_pay_for_it(fake_time: FakeTime) -> None:
    with fakes.serving(lambda _: json_answer({"error": [], "result": {"unixtime": 5}})) as wire:
        retry = RetryPolicy(total_s=0.5)
        source = open_ccxt(VENUES["kraken"], wire.url, 5.0, FixedClock(0), retry=retry, timer=fake_time.timer())
        assert [source.server_time() for _ in range(4)] == [5000] * 4
    assert [round(pause, 6) for pause in fake_time.slept] == [1.2] * 3
