"""The weight budget: the minute resets it, going on after refusals is banned, and bans grow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.api import Api
from cryptai_pipelines.replay.rate_limit import Limits, WeightBudget
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.replay.conftest import ask, plain_bars

NOW = 1_700_000_000_000


@given(charges=st.lists(st.tuples(st.integers(1, 80), st.floats(0, 20)), max_size=80))
def test_a_minute_admits_no_more_than_its_budget(charges: list[tuple[int, float]]) -> None:
    budget = WeightBudget(Limits(weight_per_minute=200, refusals_before_ban=10**6))
    now, admitted = 0.0, {}
    for weight, pause in charges:
        now += pause
        verdict = budget.charge(weight, now)
        minute = int(now // 60)
        if verdict.status == 200:
            admitted[minute] = admitted.get(minute, 0) + weight
            assert verdict.retry_after_s == 0
        else:
            assert verdict.status == 429
            assert verdict.used > 200
            assert minute * 60 < now + verdict.retry_after_s <= (minute + 1) * 60 + 1
            assert int((now + verdict.retry_after_s) // 60) == minute + 1
    assert all(total <= 200 for total in admitted.values())


def test_waiting_as_told_is_always_admitted() -> None:
    budget = WeightBudget(Limits(weight_per_minute=10))
    now = 1234.5
    for _ in range(50):
        verdict = budget.charge(4, now)
        if verdict.status != 200:
            now += verdict.retry_after_s
            assert budget.charge(4, now).status == 200


def test_going_on_is_banned_and_bans_double_up_to_three_days() -> None:
    budget = WeightBudget(Limits(weight_per_minute=10, refusals_before_ban=3, first_ban_s=120))
    now, bans = 0.0, []
    for _ in range(14):
        statuses = []
        while not statuses or statuses[-1] != 418:
            verdict = budget.charge(10, now)
            statuses.append(verdict.status)
        assert statuses == [200, 429, 429, 429, 418]
        assert budget.charge(1, now + verdict.retry_after_s - 1).status == 418
        bans.append(verdict.retry_after_s)
        now += verdict.retry_after_s + 60 - (now + verdict.retry_after_s) % 60
    assert bans[:3] == [120, 240, 480]
    assert bans[-1] == 3 * 24 * 3600


def api(limit: int, real: list[float]) -> Api:
    return Api(open_simulated(1, 120, FixedClock(NOW)), Limits(limit, refusals_before_ban=2), lambda: real[0])


def test_answers_tell_what_was_used_and_when_to_come_back() -> None:
    real = [600.0 + 12.0]
    venue = api(5, real)
    admitted = [ask(venue, "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1") for _ in range(2)]
    assert [dict(answer.headers)["X-MBX-USED-WEIGHT-1M"] for answer in admitted] == ["2", "4"]
    assert dict(admitted[1].headers)["X-MBX-USED-WEIGHT"] == "4"
    refused = [ask(venue, "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1") for _ in range(3)]
    assert [answer.status for answer in refused] == [429, 429, 418]
    assert [dict(answer.headers)["Retry-After"] for answer in refused] == ["48", "48", "120"]
    bodies = [json.loads(answer.body) for answer in refused]
    assert [body["code"] for body in bodies] == [-1003] * 3
    assert "current limit is 5 request weight per 1 MINUTE" in bodies[0]["msg"]
    assert f"IP banned until {int((612 + 120) * 1000)}" in bodies[2]["msg"]
    real[0] += 119.5
    assert ask(venue, "/api/v3/ping").status == 418
    real[0] += 0.5
    assert ask(venue, "/api/v3/ping").status == 200


def symbols(count: int) -> str:
    names = list(open_simulated(1, count, FixedClock(NOW)).instruments)
    return "%5B" + ",".join(f"%22{name}%22" for name in names) + "%5D"


@pytest.mark.parametrize(
    ("target", "weight"),
    [
        ("ping", 1),
        ("time", 1),
        ("exchangeInfo", 20),
        ("exchangeInfo?symbol=BTCUSDT", 20),
        ("klines?symbol=BTCUSDT&interval=1w&limit=1000", 2),
        ("ticker/price?symbol=BTCUSDT", 2),
        (f"ticker/price?symbols={symbols(2)}", 4),
        ("ticker/24hr?symbol=BTCUSDT", 2),
        (f"ticker/24hr?symbols={symbols(20)}&type=MINI", 2),
        (f"ticker/24hr?symbols={symbols(21)}", 40),
        (f"ticker/24hr?symbols={symbols(101)}", 80),
        ("klines?symbol=BTCUSDT&interval=1m&wrong=1", 1),
    ],
)
def test_weights_are_the_documented_ones(target: str, weight: int) -> None:
    answer = ask(api(6000, [0.0]), f"/api/v3/{target}")
    assert dict(answer.headers)["X-MBX-USED-WEIGHT-1M"] == str(weight)


def test_tickers_of_all_symbols_weigh_80_and_their_prices_4(record: Callable[..., Path]) -> None:
    venue = Api(open_recorded(record(plain_bars(NOW + 3_600_000 * np.arange(3))), FixedClock(NOW)))
    assert dict(ask(venue, "/api/v3/ticker/24hr").headers)["X-MBX-USED-WEIGHT-1M"] == "80"
    assert dict(ask(venue, "/api/v3/ticker/price").headers)["X-MBX-USED-WEIGHT-1M"] == "84"
