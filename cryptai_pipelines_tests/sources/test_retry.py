"""Tries, pauses and silence: what a venue sees, and when, measured on a time that passes only by waiting."""

from __future__ import annotations

import email.utils
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.sources.errors import Permanent, RateLimited, Transient
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy, retry_after_s
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, http_answer, json_answer

OK = json_answer({"serverTime": 42})
DAYS_3 = 3 * 86_400.0


def _recording(answers: list[bytes], fake_time: FakeTime, calls: list[float]) -> Callable[[fakes.Request], bytes]:
    """Answers in order, the last one for ever; `calls` are the moments of the calls on the fake time."""

    def respond(_: fakes.Request) -> bytes:
        calls.append(fake_time.now())
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return respond


@pytest.mark.parametrize("status", [429, 418])
@pytest.mark.parametrize(
    ("headers", "silence"),
    [
        ({"Retry_After": "7"}, 7.0),
        ({"Retry_After": " 3.5 "}, 3.5),
        ({"Retry_After": "Tue, 14 Nov 2023 22:14:30 GMT", "Date": "Tue, 14 Nov 2023 22:14:10 GMT"}, 20.0),
        ({}, {429: 60.0, 418: 120.0}),
        ({"Retry_After": "soon"}, {429: 60.0, 418: 120.0}),
    ],
    ids=["seconds", "fraction", "date", "absent", "unreadable"],
)
def test_nobody_calls_before_retry_after(status: int, headers: dict[str, str], silence, open_at, fake_time: FakeTime) -> None:
    silence = silence[status] if isinstance(silence, dict) else silence
    calls: list[float] = []
    answers = [http_answer(b'{"code":-1003,"msg":"Too many"}', status, **headers), OK]
    with fakes.serving(_recording(answers, fake_time, calls)) as server:
        assert open_at(server.url, total_s=1000.0).server_time() == 42
    assert len(calls) == 2
    assert silence <= calls[1] - calls[0] <= silence + 1


def test_a_silence_longer_than_the_patience_is_raised_at_once_and_kept(open_at, fake_time: FakeTime) -> None:
    calls: list[float] = []
    answers = [http_answer(b"{}", 418, Retry_After="300"), OK]
    with fakes.serving(_recording(answers, fake_time, calls)) as server:
        source = open_at(server.url, total_s=60.0)
        with pytest.raises(RateLimited) as first:
            source.server_time()
        fake_time.sleep(100)
        with pytest.raises(RateLimited) as second:
            source.symbols()
        assert len(calls) == 1
        fake_time.sleep(150)
        assert source.server_time() == 42  # 50 s of silence are left, which the patience of 60 s covers.
    assert first.value.retry_after_s == 300
    assert second.value.retry_after_s == pytest.approx(200)
    assert calls[1] - calls[0] >= 300


def test_a_rate_limit_told_by_its_code_alone_is_one(open_at) -> None:
    with fakes.serving(lambda _: json_answer({"code": -1003, "msg": "Too many requests"}, 403)) as server:
        with pytest.raises(RateLimited):
            open_at(server.url, total_s=10.0).server_time()


def test_pauses_grow_and_end_with_the_tries(open_at, fake_time: FakeTime) -> None:
    with fakes.serving(lambda _: http_answer(b"", 503)) as server:
        with pytest.raises(Transient, match="503"):
            open_at(server.url, tries=6, first_pause_s=1.0, longest_pause_s=6.0).server_time()
    assert len(server.requests) == 6
    for pause, longest in zip(fake_time.slept, [1, 2, 4, 6, 6], strict=True):
        assert longest / 2 <= pause <= longest


def test_tries_end_with_the_total_time(open_at, fake_time: FakeTime) -> None:
    started = fake_time.now()
    with fakes.serving(lambda _: http_answer(b"", 503)) as server:
        with pytest.raises(Transient):
            open_at(server.url, tries=1000, total_s=30.0).server_time()
    assert 5 <= len(server.requests) < 20
    assert fake_time.now() - started < 30


def test_permanent_is_asked_once(open_at, fake_time: FakeTime) -> None:
    with fakes.serving(lambda _: http_answer(b"", 451)) as server, pytest.raises(Permanent):
        open_at(server.url).server_time()
    assert len(server.requests) == 1
    assert fake_time.slept == []


@given(failures=st.integers(1, 60), unit=st.floats(0, 1))
def test_a_pause_is_bounded_and_at_least_half_of_its_step(failures: int, unit: float) -> None:
    policy = RetryPolicy(total_s=1.0)
    step = min(policy.first_pause_s * 2 ** (failures - 1), policy.longest_pause_s)
    assert step / 2 <= policy.pause_s(failures, lambda: unit) <= step


@given(seconds=st.integers(0, 259_200), now=st.integers(1_500_000_000, 2_000_000_000))
def test_a_date_and_a_number_of_seconds_mean_the_same(seconds: int, now: int) -> None:
    date = email.utils.formatdate(now + seconds, usegmt=True)
    assert retry_after_s(date, now * 1000, 5.0) == retry_after_s(str(seconds), now * 1000, 5.0) == seconds


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, 5.0), ("", 5.0), ("nan", 5.0), ("inf", 5.0), ("-3", 0.0), ("--3", 5.0), ("9" * 500, DAYS_3), ("1e9", 5.0),
     ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("Fri, 31 Dec 9999 23:59:59 GMT", DAYS_3), ("Fri, 99 Dec 9999 99:99:99", 5.0)],
)  # fmt: skip
def test_absurd_headers_neither_break_nor_silence_for_ever(header: str | None, expected: float) -> None:
    assert retry_after_s(header, 1_700_000_000_000, 5.0) == expected


@given(st.text(max_size=40))
def test_any_header_gives_a_bounded_silence(header: str) -> None:
    assert 0 <= retry_after_s(header, 1_700_000_000_000, 5.0) <= DAYS_3


def test_a_shorter_silence_does_not_open_the_gate_early() -> None:
    fake_time = FakeTime()
    gate = RetryAfterGate("venue", fake_time.timer())
    gate.shut_for(100)
    gate.shut_for(1)
    gate.wait(fake_time.now() + 1000)
    assert sum(fake_time.slept) == pytest.approx(100)
