"""The assets `data_quality` and `reconciliation` on a real instance: what they close, say and show."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.orchestration.jobs import CHAIN_JOB, QUALITY_JOB, SYMBOLS_JOB
from cryptai_pipelines.orchestration.partitions import rectangle_tags
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.storage import market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, run_job, settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import BARS, HOUR, SERIES, START, walk_bars

HOLES = {100, 101, 400, 900}
AT_COINBASE = {100, 400}


def recorded(folder: Path) -> object:
    for venue, name, missing in (("binance", "BTCUSDT_1h", HOLES), ("coinbase", "BTCUSD_1h", HOLES - AT_COINBASE)):
        home = folder / venue
        home.mkdir()
        walk_bars(31, missing).to_parquet(home / f"{name}.parquet", index=False)
    return open_recorded(folder, FixedClock(START + BARS * HOUR + 60_000))


def metadata(result: object, asset: str) -> dict[str, dg.MetadataValue]:
    [event] = result.asset_materializations_for_node(asset)
    return event.metadata


def test_holes_are_closed_assessed_and_shown(database: Database, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with running(recorded(tmp_path)) as url:
        settings = settings_for(url, tmp_path / "home", secondary="coinbase:USD", venue_urls=f"coinbase={url}")
        defs = definitions_for(database, settings)
        run_job(defs, SYMBOLS_JOB.name, instance)
        chain = run_job(defs, CHAIN_JOB.name, instance, rectangle_tags([SERIES.symbol], [SERIES.timeframe]))
        assert chain.success
        mended = run_job(defs, QUALITY_JOB.name, instance)
        assert mended.success
        told = metadata(mended, "data_quality")
        assert told["closed_by"].value == {"coinbase": len(AT_COINBASE)} and told["filled_bars"].value == 2
        assert told["heat_map"].value.startswith("![") and len(told["heat_map"].value) < 140_000
        assert str(SERIES.symbol) in told["page"].value
        compared = metadata(mended, "reconciliation")
        assert compared["series"].value == 1
        # Each of the two bars is the other venue's alone, so there was nothing to compare.
        assert compared["compared"].value == 0 and "coinbase" in compared["page"].value
        checks = {one.check_name: one.passed for one in mended.get_asset_check_evaluations()}
        assert checks == {
            "series_are_mended": True,
            "completeness": True,
            "rules_hold": True,
            "series_are_reconciled": True,
            "sources_agree": True,
        }
        # What was closed reaches the end of the chain with the next run.
        assert run_job(defs, CHAIN_JOB.name, instance, rectangle_tags([SERIES.symbol], [SERIES.timeframe])).success
    bars = market_data.read(database, SERIES)
    assert len(bars) == BARS and bars["is_filled"].sum() == 2
    assert database.rows("SELECT count(*) FROM signals") == [(BARS,)]
    assert database.rows("SELECT count(*) FROM technical_indicators WHERE filled_share > 0")[0][0] > 0


def test_a_series_that_fails_is_named_and_the_others_are_mended(
    database: Database, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        home = tmp_path / "binance"
        home.mkdir(exist_ok=True)
        walk_bars(31, HOLES).to_parquet(home / f"{symbol}_1h.parquet", index=False)
    with running(open_recorded(tmp_path, FixedClock(START + BARS * HOUR + 60_000))) as url:
        settings = settings_for(url, tmp_path / "home", symbols="BTC-USDT,ETH-USDT")
        defs = definitions_for(database, settings)
        run_job(defs, SYMBOLS_JOB.name, instance)
        tags = rectangle_tags(["BTC-USDT", "ETH-USDT"], [SERIES.timeframe])
        assert run_job(defs, CHAIN_JOB.name, instance, tags).success
        # The one series is being written by somebody else all the time.
        with take_series(database, "binance", SERIES, "somebody", 600):
            mended = run_job(defs, QUALITY_JOB.name, instance)
    found = {one.check_name: one for one in mended.get_asset_check_evaluations()}
    assert not found["series_are_mended"].passed
    assert "BTC-USDT 1h" in found["series_are_mended"].metadata["findings"].value
    filled = dict(database.rows("SELECT symbol, count(*) FROM market_data WHERE is_filled GROUP BY symbol"))
    assert filled == {"ETH-USDT": len(HOLES)}
