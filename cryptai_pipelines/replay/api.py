"""From a request line to a whole answer: which of the protocols, and which of the markets, a path belongs to. Bytes on a socket
are in `server`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from cryptai_pipelines.replay.archive import ARCHIVE_ROOT, ReplayArchive
from cryptai_pipelines.replay.coinbase import answer_coinbase, is_coinbase
from cryptai_pipelines.replay.endpoints import ENDPOINTS
from cryptai_pipelines.replay.faults import Answer
from cryptai_pipelines.replay.futures import FUTURES_ENDPOINTS
from cryptai_pipelines.replay.market_api import MarketApi
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.udf import PREFIX, answer_udf
from cryptai_pipelines.replay.venue import ReplayVenue

_NOT_FOUND = b"<html>\n<head><title>404 Not Found</title></head>\n<body>404 Not Found</body>\n</html>\n"

log = logging.getLogger(__name__)


@dataclass
class Api:
    """One venue: Binance's markets with a weight budget each, and the protocols beside them. `limits` are those of spot; the
    futures are granted two fifths of its weight, as at Binance. `real_s` is the real time the budgets run on."""

    venue: ReplayVenue
    limits: Limits = field(default_factory=Limits)
    real_s: Callable[[], float] = time.time
    markets: dict[str, MarketApi] = field(init=False)
    """By path, for every path of every market that the venue shows."""

    archives: tuple[ReplayArchive, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.markets = dict.fromkeys(ENDPOINTS, MarketApi(self.venue, ENDPOINTS, self.limits, self.real_s))
        self.archives = (ReplayArchive(self.venue),)
        futures = self.venue.futures
        if futures is not None:
            limits = replace(self.limits, weight_per_minute=max(1, self.limits.weight_per_minute * 2 // 5))
            market = MarketApi(futures, FUTURES_ENDPOINTS, limits, self.real_s)
            self.markets |= dict.fromkeys(FUTURES_ENDPOINTS, market)
            self.archives += (ReplayArchive(futures, "um"),)

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request. `headers` has lower-case names. Never raises."""
        if path.startswith(PREFIX) and method in ("GET", "HEAD"):
            return answer_udf(self.venue, path, query)
        if is_coinbase(path) and self.venue.second is not None and method in ("GET", "HEAD"):
            return answer_coinbase(self.venue.second, path, query)
        if path.startswith(ARCHIVE_ROOT) and method in ("GET", "HEAD"):
            return self._archived(path)
        market = self.markets.get(path)
        if market is None:
            return Answer(404, (("Content-Type", "text/html"),), _NOT_FOUND)
        return market.answer(method, path, query, headers)

    def _archived(self, path: str) -> Answer:
        """The archive is a folder of files beside the API: no weight, no parameters."""
        label = (("X-Cryptai-Simulated", "1"),) if self.venue.simulated else ()
        try:
            body = next((found for archive in self.archives if (found := archive.file(path)) is not None), None)
        except Exception:
            # As in `MarketApi.answer`: a defect here must not end the other connections.
            log.exception("answering %s failed", path)
            return Answer(500, (("Content-Type", "text/html"), *label), b"")
        if body is None:
            return Answer(404, (("Content-Type", "text/html"), *label), _NOT_FOUND)
        return Answer(200, (("Content-Type", "binary/octet-stream"), *label), body)
