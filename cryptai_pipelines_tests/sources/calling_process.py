"""A process that calls a venue with the real client, its limits counted in Postgres, and tells how its calls ended.

Arguments: database URL, venue URL, window in seconds, number of calls. Prints `answered refused`.
"""

from __future__ import annotations

import sys

from cryptai_pipelines.market.clock import SystemClock
from cryptai_pipelines.market.rate_window import RateWindow
from cryptai_pipelines.orchestration.store import shared_limits
from cryptai_pipelines.sources.ccxt_binance import BINANCE
from cryptai_pipelines.sources.ccxt_client import CcxtClient, Endpoint, VenueLimits
from cryptai_pipelines.sources.errors import RateLimited
from cryptai_pipelines.sources.limit_ledger import ledger_key
from cryptai_pipelines.sources.pace import Pace
from cryptai_pipelines.sources.retry import RetryAfterGate, RetryPolicy
from cryptai_pipelines.sources.timer import Timer
from cryptai_pipelines.sources.venue_address import venue_address
from cryptai_pipelines.sources.weight_budget import WeightBudget
from cryptai_pipelines.storage.database import Database

TICKERS = Endpoint("ticker/24hr", "publicGetTicker24hr", 80)


def main(database_url: str, venue_url: str, window_s: int, calls: int) -> None:
    database, timer = Database(database_url), Timer()
    address = venue_address("binance", venue_url, "/api/v3")
    ledger = shared_limits(database, ledger_key(address.venue, address.api_url))
    budget = WeightBudget(6000, timer, ledger, RateWindow(window_s))
    limits = VenueLimits(budget, RetryAfterGate("binance", timer, ledger))
    retry, pace = RetryPolicy(total_s=60.0), Pace(BINANCE.pace_s, timer)
    client = CcxtClient(address, BINANCE.wire, 20.0, SystemClock(), retry, timer, limits, pace)
    answered = refused = 0
    for _ in range(calls):
        try:
            client.ask(TICKERS, {}, lambda received: received.parsed)
            answered += 1
        except RateLimited:
            refused += 1
    print(answered, refused, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
