"""A storm of faults on the wire while real chains are synced: in the end nothing is lost, duplicated or altered, and while it
lasts whatever was not mended at once is told by the sync log or by a gap row."""

from __future__ import annotations

import collections
import itertools
import random
from dataclasses import dataclass, field, replace

import pytest

from cryptai_pipelines.orchestration.chain.walk import SeriesResult
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.sources.errors import SourceError
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.fakes import FakeTime
from cryptai_pipelines_tests.torture.synced_market import (
    Market,
    difference,
    gap_opens,
    gaps,
    model_bars,
    open_market,
    patient_source,
    raw_bars,
    sync,
    validated_bars,
)
from cryptai_pipelines_tests.torture.tally import Tally, size, tallied
from cryptai_pipelines_tests.torture.test_wire_faults import EXPECTED

INJECTIONS = (2_000, 50_000)
MINUTE_MS = 60_000
DAYS_4_S = 4 * 86_400.0
# What costs real time at each injection is rarer than the rest, and still not rare.
RARE = {"hang": 0.1, "hang_in_body": 0.1, "drip": 0.1, "gzip_bomb": 0.05}
FAST = {"slow": replace(FAULTS["slow"], delay_s=0.01)}
# Such a refusal keeps the whole walk away from the venue, so that little else is injected in it.
SILENCING = {"banned": 0.2, "rate_limited_huge": 0.2}


@dataclass
class Storm:
    """Spoils a share of all answers, by a seed."""

    random: random.Random
    share: float = 0.0
    injected: collections.Counter[str] = field(default_factory=collections.Counter)

    def plan(self, path: str, query: str, number: int) -> Fault | None:
        if self.random.random() >= self.share:
            return None
        kinds = [kind for kind in FAULTS if concerns(kind, path)]
        [kind] = self.random.choices(kinds, [{**RARE, **SILENCING}.get(kind, 1.0) for kind in kinds])
        self.injected[kind] += 1
        return FAST.get(kind, FAULTS[kind])


def concerns(kind: str, path: str) -> bool:
    """Whether a kind changes anything of what is answered at `path`."""
    endpoints = [endpoint for endpoint, _, _ in EXPECTED[kind].but]
    return not endpoints or path.rpartition("/")[2] in endpoints


def rage(database: Database, storm: Storm, market: Market, url: str, injections: int, tally: Tally) -> None:
    """Sync again and again while the market moves on, until enough was injected."""
    fake_time = FakeTime()
    source = patient_source(url, fake_time, timeout_s=0.3)
    symbols, numbers = {series.symbol for series in market.series}, itertools.count(1)
    while storm.injected.total() < injections:
        market.clock.at_ms += storm.random.randrange(1, 40) * MINUTE_MS + storm.random.randrange(MINUTE_MS)
        storm.share = storm.random.uniform(0.3, 0.8)
        for listed in _listed(source):
            assert listed in symbols
        run_id = f"storm {next(numbers)}"
        results = sync(database, source, market, run_id)
        tally.add("syncs that failed, and said so", 0, unrecovered=told_failures(database, run_id, results))
        fake_time.sleep(DAYS_4_S)
    storm.share = 0.0


def _listed(source) -> list[str]:
    try:
        return [listing.symbol for listing in source.symbols()]
    except SourceError:
        return []


def told_failures(database: Database, run_id: str, results: list[SeriesResult]) -> int:
    """The number of series that failed, each of which has a FAILED or PARTIAL row; those that did not have a COMPLETED one."""
    rows = database.rows("SELECT symbol, timeframe, status, error FROM data_sync_log WHERE run_id = %s", (run_id,))
    told = {(symbol, code): (status, error) for symbol, code, status, error in rows}
    assert len(told) == len(rows) == len(results)
    for result in results:
        status, error = told[result.series.symbol, result.series.timeframe.code]
        if result.error is None:
            assert status == "COMPLETED" and error is None
        else:
            assert result.failed_at == "raw_ohlcv", result.error
            assert status in ("FAILED", "PARTIAL") and error
    return sum(result.error is not None for result in results)


@pytest.mark.parametrize("seed", [1])
def test_after_the_storm_every_bar_is_there_once_and_as_it_was(database_per_module: Database, tmp_path, seed: int) -> None:
    database, storm = database_per_module, Storm(random.Random(seed))
    market = open_market(seed, 6, ("1m", "5m"), 150 * MINUTE_MS, tmp_path)
    limits = Limits(weight_per_minute=10**9)
    with tallied("storm on the wire") as tally, running(market.venue, limits=limits, faults=storm.plan) as url:
        rage(database, storm, market, url, size(*INJECTIONS), tally)
        for kind, times in sorted(storm.injected.items()):
            tally.add(kind, times)
        # The world moves on past the bars that a wrong clock made look closed.
        market.clock.at_ms += 15 * MINUTE_MS
        clean = patient_source(url, FakeTime(), timeout_s=20.0)
        assert [result.error for result in sync(database, clean, market, "clean")] == [None] * len(market.series)
        for series in market.series:
            silent = model_bars(market, series).keys() - validated_bars(database, series).keys() - gap_opens(database, series)
            assert not silent, f"{series} lacks {len(silent)} bars of which nobody says so"
            for gap in gaps(database, series):
                bars = series.timeframe.count(*gap)
                tally.add("bars missing after the storm, told by a gap row", 0, unrecovered=bars)
                [result] = sync(database, clean, market, "gap", [series], gap)
                assert result.error is None
        for series in market.series:
            model = model_bars(market, series)
            for name, stored in (("raw", raw_bars(database, series)), ("validated", validated_bars(database, series))):
                found = difference(stored, model)
                tally.add(f"{name} bars in the end, against the model", 0, **found._asdict())
                assert found == (0, 0, 0), f"{name} {series}"
    assert database.rows("SELECT count(*) FROM data_sync_log WHERE status NOT IN ('COMPLETED', 'FAILED', 'PARTIAL')") == [(0,)]
