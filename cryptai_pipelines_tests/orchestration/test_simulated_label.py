"""A simulated market is called simulated wherever it is shown."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cryptai_pipelines.cli.results import stored_series
from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.listings import know_listing
from cryptai_pipelines.orchestration.partitions import add_symbols, rectangle_tags
from cryptai_pipelines.orchestration.schedules import SCHEDULED_TAG
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.faults import FAULTS
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for

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


def test_the_first_tick_of_a_fresh_store_carries_the_label(database, instance, tmp_path):
    """The schedule of the listing may be hours away; the bars' is not."""
    add_symbols(instance, ["BTC-USDT"])
    tags = {**rectangle_tags(["BTC-USDT"], [Timeframe.H4]), SCHEDULED_TAG: "true"}
    with running(open_simulated(5, 1, FixedClock(parse_time("2018-03-01T00:05:00Z")))) as url:
        defs = definitions_for(database, settings_for(url, tmp_path, timeframes="4h"))
        assert run_job(defs, "bring_up_to_date", instance, tags).success
    event = instance.get_latest_materialization_event(dg.AssetKey("raw_ohlcv"))
    assert event.asset_materialization.metadata["simulated"].value is True
    # And what is real is kept apart from it.
    with running(open_recorded(SAMPLE, FixedClock(parse_time("2018-03-02T00:05:00Z")))) as url:
        defs = definitions_for(database, settings_for(url, tmp_path, timeframes="4h"))
        assert not run_job(defs, "bring_up_to_date", instance, tags).success


def test_a_listing_that_cannot_be_had_keeps_no_bars_back(database, instance, tmp_path):
    add_symbols(instance, ["BTC-USDT"])
    asked = []

    def fault(path, query, _):
        asked.append(path)
        first = path.endswith("exchangeInfo") and sum(one.endswith("exchangeInfo") for one in asked) == 1
        return FAULTS["restricted_location"] if first else None

    tags = {**rectangle_tags(["BTC-USDT"], [Timeframe.H4]), SCHEDULED_TAG: "true"}
    with running(open_simulated(5, 1, FixedClock(parse_time("2018-03-01T00:05:00Z"))), faults=fault) as url:
        defs = definitions_for(database, settings_for(url, tmp_path, timeframes="4h"))
        assert run_job(defs, "bring_up_to_date", instance, tags).success
    assert database.rows("SELECT count(*) > 0 FROM market_data") == [(True,)]
