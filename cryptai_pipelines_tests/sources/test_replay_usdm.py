"""Both of Binance's markets over a socket against the replay venue, which counts by the documents what each call weighs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cryptai_pipelines.market.bars import concat_columns
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.rate_window import RateWindow
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.replay.faults import Answer
from cryptai_pipelines.replay.perpetual import CONTRACTS_FROM_MS
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.sources.ccxt_source import open_ccxt
from cryptai_pipelines.sources.limit_ledger import ProcessLedger
from cryptai_pipelines_tests.fakes import FakeTime

HOUR = Timeframe.H1.ms
NOW = parse_time("2024-03-08T10:20:30")


class NotedLedger(ProcessLedger):
    """Keeps the weights that were reserved, and how much was granted for them."""

    def __init__(self, fake_time: FakeTime) -> None:
        super().__init__(fake_time.timer())
        self.weights: list[int] = []
        self.most = 0.0

    def reserve(self, weight: int, most: float, window: RateWindow) -> float:
        self.weights.append(weight)
        self.most = most
        return super().reserve(weight, most, window)


@pytest.mark.parametrize(("venue", "limit"), [("binance", 6000), ("binanceusdm", 2400)])
def test_every_call_is_reserved_at_what_the_venue_counts_for_it(venue: str, limit: int, fake_time: FakeTime) -> None:
    answers: list[Answer] = []
    ledger = NotedLedger(fake_time)
    market = open_simulated(7, 2, FixedClock(NOW))
    with running(market, watch=lambda _, answer: answers.append(answer)) as url:
        source = open_ccxt(VENUES[venue], url, 20.0, FixedClock(NOW), ledger_of=lambda _: ledger, timer=fake_time.timer())
        source.server_time()
        assert {listing.symbol for listing in source.symbols()} == {"BTC-USDT", "ETH-USDT"}
        assert len(source.last_prices()) == 2
        found = list(source.bars("BTC-USDT", Timeframe.H1, CONTRACTS_FROM_MS - 9 * HOUR, CONTRACTS_FROM_MS + 2_500 * HOUR))
        assert list(source.bars("BTC-USDT", Timeframe.H1, NOW + HOUR, NOW + 9 * HOUR))[0].rows["ts"].size == 0
    first = CONTRACTS_FROM_MS - (9 * HOUR if venue == "binance" else 0)
    opens = Timeframe.H1.opens(first, CONTRACTS_FROM_MS + 2_500 * HOUR)
    assert concat_columns([page.rows for page in found])["ts"].tolist() == opens.tolist()
    used = [0, *(int(dict(answer.headers)["X-MBX-USED-WEIGHT-1M"]) for answer in answers)]
    assert ledger.weights == [after - before for before, after in pairwise(used)]
    assert ledger.most == 0.9 * limit
