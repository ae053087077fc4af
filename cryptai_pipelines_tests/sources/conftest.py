"""How the tests of this room open a source at a server of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines_tests.fakes import FakeTime

FETCHED_AT_MS = 1_700_000_123_456

OpenSource = Callable[..., BarSource]


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def open_at(fake_time: FakeTime) -> OpenSource:
    """Open the source at a URL, with pauses that take no time and limits shared with no other test."""

    def open_source(url: str, request_timeout_s: float = 5.0, **policy: float) -> BarSource:
        retry = RetryPolicy(**{"total_s": 100.0, **policy})
        return open_binance(url, request_timeout_s, FixedClock(FETCHED_AT_MS), retry=retry, timer=fake_time.timer())

    return open_source
