"""A simulated market is called simulated wherever it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.cli.results import stored_series
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.listings import know_listing
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.orchestration.conftest import settings_for

SERIES = Series("BTC-USDT", Timeframe.H4)
SAMPLE = REPOSITORY / "cryptai_pipelines" / "sample"


@pytest.mark.parametrize("simulated", [True, False])
def test_metadata_results_and_report_carry_the_label(database, tmp_path, simulated):
    clock = FixedClock(parse_time("2018-03-01T00:05:00Z"))
    venue = open_simulated(5, 1, clock) if simulated else open_recorded(SAMPLE, clock)
    with running(venue) as url:
        settings = settings_for(url, tmp_path)
        client = open_venue(settings)
        know_listing(database, client, ["BTC-USDT"])
        steps = chain_steps(database, client, settings, "label")
        [result] = walk([SERIES], steps, holding(database, "binance", settings, "label"), 1)
    assert result.error is None
    facts = {outcome.asset: outcome.facts for outcome in result.outcomes}
    assert facts["raw_ohlcv"]["simulated"] is simulated
    assert stored_series(database, "binance", SERIES)["simulated"] is simulated
    page = Path(facts["performance_metrics"]["report"]).read_text()
    told = page[page.index("<body") : page.index("<script", page.index("<body"))].lower()
    assert ("simulated" in told) is simulated
