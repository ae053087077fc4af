"""One source used by several threads at once: answers do not mix, connections are not shared, limits are."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from cryptai_pipelines.market.bars import concat_columns
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.sources.errors import RateLimited
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.fakes import FakeTime, Request, http_answer, json_answer, kline

HOUR = Timeframe.H1.ms
ORIGIN = 1_600_000_000_000 // HOUR * HOUR
BARS = 150


def test_series_fetched_at_the_same_time_do_not_mix(open_at) -> None:
    venues = {
        f"S{n}USDT": fakes.KlineVenue([kline(ORIGIN + i * HOUR, HOUR, price=1000 * n + i) for i in range(BARS)], page_cap=20)
        for n in range(1, 7)
    }
    with fakes.serving(lambda request: venues[request.parameters["symbol"]](request)) as server:
        source = open_at(server.url)

        def closes(n: int) -> list[float]:
            found = source.bars(f"S{n}-USDT", Timeframe.H1, ORIGIN, ORIGIN + BARS * HOUR)
            return concat_columns([page.rows for page in found])["close"].tolist()

        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(closes, range(1, 7)))
    for n, found in enumerate(results, start=1):
        assert found == [1000.0 * n + i for i in range(BARS)]


def test_every_thread_has_a_client_of_its_own_and_keeps_it(open_at) -> None:
    with fakes.serving(lambda _: json_answer({"serverTime": 3})) as server:
        source = open_at(server.url)
        together = threading.Barrier(4)

        def client_of_thread() -> tuple[int, int]:
            together.wait(5)
            source.server_time()
            first = source.client._client()
            source.server_time()
            assert source.client._client() is first
            together.wait(5)  # Ids are only distinct while all clients are alive.
            return id(first[0]), id(first[1])

        with ThreadPoolExecutor(4) as pool:
            found = [future.result() for future in [pool.submit(client_of_thread) for _ in range(4)]]
    assert len({client for client, _ in found}) == len({session for _, session in found}) == 4


def test_silence_asked_of_one_thread_is_kept_by_all(open_at, fake_time: FakeTime) -> None:
    def respond(request: Request) -> bytes:
        return http_answer(b"{}", 429, Retry_After="500")

    with fakes.serving(respond) as server:
        source = open_at(server.url, total_s=50.0)
        with pytest.raises(RateLimited):
            source.server_time()

        def refused(_: int) -> float:
            with pytest.raises(RateLimited) as caught:
                source.server_time()
            return caught.value.retry_after_s

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(refused, range(20))) == [500.0] * 20
    assert len(server.requests) == 1
