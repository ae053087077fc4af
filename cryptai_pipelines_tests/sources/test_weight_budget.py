"""The weight budget against a venue that counts: in simulated time, never above the usable share, and never idle for long."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptai_pipelines.sources.weight_budget import USABLE_SHARE, WeightBudget
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, json_answer


class CountingVenue:
    """Counts weight per minute, in a minute that begins `offset_s` after ours."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s
        self.of_minute: dict[int, int] = {}

    def charge(self, weight: int, at: float) -> int:
        minute = int((at - self.offset_s) // 60)
        self.of_minute[minute] = self.of_minute.get(minute, 0) + weight
        return self.of_minute[minute]


CALLS = st.lists(st.tuples(st.sampled_from([1, 2, 2, 2, 20]), st.floats(0, 3), st.integers(0, 3)), max_size=300)


@given(limit=st.integers(50, 400), calls=CALLS)
@settings(max_examples=100)
def test_the_usable_share_is_never_passed(limit: int, calls: list[tuple[int, float, int]]) -> None:
    """`calls`: our weight, the time before it, and what another process spends between the pause and our call.

    The other process is known only from answers, so what it added since the last one may lie on top of the share.
    """
    fake_time, venue = FakeTime(), CountingVenue()
    budget = WeightBudget(limit, fake_time.timer())
    for weight, pause, of_others in calls:
        fake_time.sleep(pause)
        budget.spend(weight)
        venue.charge(of_others, fake_time.epoch())
        used = venue.charge(weight, fake_time.epoch())
        assert used - of_others <= limit * USABLE_SHARE
        budget.observe(used, fake_time.epoch())


@given(offset=st.floats(-30, 30), weights=st.lists(st.sampled_from([1, 2, 20]), min_size=50, max_size=400))
@settings(max_examples=100)
def test_a_venue_whose_minute_begins_elsewhere_never_refuses(offset: float, weights: list[int]) -> None:
    limit = 200
    fake_time, venue = FakeTime(), CountingVenue(offset)
    budget = WeightBudget(limit, fake_time.timer())
    for weight in weights:
        fake_time.sleep(0.05)
        budget.spend(weight)
        used = venue.charge(weight, fake_time.epoch())
        budget.observe(used, fake_time.epoch())
        assert used <= limit


def test_waiting_takes_no_longer_than_the_rest_of_the_minute() -> None:
    fake_time = FakeTime()
    budget = WeightBudget(100, fake_time.timer())
    assert budget.spend(90) == 0
    waited = budget.spend(1)
    assert 0 < waited <= 60.5
    assert int(fake_time.epoch() // 60) == int((fake_time.epoch() - waited) // 60) + 1


def test_what_the_venue_counted_is_believed_and_forgotten_with_its_minute() -> None:
    fake_time = FakeTime()
    budget = WeightBudget(100, fake_time.timer())
    budget.observe(89, fake_time.epoch())
    assert budget.spend(1) == 0
    budget.observe(3, fake_time.epoch())
    assert budget.spend(1) > 0
    budget.observe(95, fake_time.epoch() - 60)
    assert budget.spend(1) == 0


def test_a_weight_above_the_share_is_let_through_in_a_fresh_minute() -> None:
    fake_time = FakeTime()
    budget = WeightBudget(10, fake_time.timer())
    assert budget.spend(20) == 0
    assert 0 < budget.spend(20) <= 60.5


def test_threads_together_stay_within_the_share() -> None:
    fake_time, venue, lock = FakeTime(), CountingVenue(), threading.Lock()
    budget = WeightBudget(100, fake_time.timer())
    unused: list[float] = []

    def work() -> None:
        for _ in range(100):
            with lock:  # Spending and counting in one step, or the fake minute could end between them.
                unused.append(budget.spend(2))
                venue.charge(2, fake_time.epoch())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(venue.of_minute.values()) == 800
    assert max(venue.of_minute.values()) <= 90


def test_the_source_reads_the_header_and_the_limit_and_waits(open_at, fake_time: FakeTime) -> None:
    """Over a socket: a venue of 60 per minute; the source learns that from exchangeInfo and from then on stays at 90 %."""
    venue = CountingVenue()
    symbol = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT"}
    limits = [
        {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 7},
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 60},
    ]

    def respond(request: fakes.Request) -> bytes:
        whole = request.path.endswith("exchangeInfo")
        used = str(venue.charge(20 if whole else 1, fake_time.epoch()))
        body = {"rateLimits": limits, "symbols": [symbol]} if whole else {"serverTime": 1}
        return json_answer(body, x_mbx_used_weight_1m=used)

    with fakes.serving(respond) as server:
        source = open_at(server.url)
        source.symbols()
        for _ in range(120):
            source.server_time()
    assert len(server.requests) == 121
    assert max(venue.of_minute.values()) <= 54
    assert len(venue.of_minute) == 3


def test_weight_that_others_spent_is_seen_in_the_header(open_at, fake_time: FakeTime) -> None:
    """Over a socket: 5,399 of 6,000 are used by others when our first call is counted, so the second one waits."""
    moments: list[float] = []

    def respond(_: fakes.Request) -> bytes:
        moments.append(fake_time.epoch())
        return json_answer({"serverTime": 1}, x_mbx_used_weight_1m="5400" if len(moments) == 1 else "1")

    with fakes.serving(respond) as server:
        source = open_at(server.url)
        for _ in range(3):
            source.server_time()
    assert [int(moment // 60) - int(moments[0] // 60) for moment in moments] == [0, 1, 1]


@pytest.mark.parametrize("header", ["", "abc", "-1", "9e9", "½", "9" * 5000])
def test_an_unreadable_header_is_passed_over(header: str, open_at) -> None:
    answer = json_answer({"serverTime": 1}, X_MBX_USED_WEIGHT_1M="1").replace(b": 1\r", b": " + header.encode() + b"\r")
    with fakes.serving(lambda _: answer) as server:
        assert open_at(server.url).server_time() == 1
