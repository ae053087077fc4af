"""The whole graph through Dagster on the recorded sample, held against numbers computed from the file alone."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import talib

from cryptai_pipelines.indicators.registry import REGISTRY
from cryptai_pipelines.indicators.structure_readings import structure_readings
from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.market_structure import read_structure
from cryptai_pipelines.orchestration.jobs import CHAIN_ASSETS
from cryptai_pipelines.orchestration.partitions import rectangle_tags
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.venue_clock import venue_clock
from cryptai_pipelines.storage import backtests, derived, market_data, quality_log
from cryptai_pipelines_tests.conftest import REPOSITORY
from cryptai_pipelines_tests.orchestration.conftest import dagster_instance, definitions_for, run_job, settings_for

SAMPLE = REPOSITORY / "cryptai_pipelines" / "sample"
SERIES = Series("BTC-USDT", Timeframe.H1)
KEYS = {"symbol": "BTC-USDT", "timeframe": "1h"}
CHECKS = {
    "raw_ohlcv": ("series_are_synced", "no_future_rows"),
    "validated_bars": ("schema", "ohlc_order", "coverage", "bar_age", "no_future_rows"),
    "technical_indicators": ("one_row_per_bar",),
    "market_structure": ("one_row_per_bar", "nothing_is_known_early"),
    "signals": ("one_row_per_bar",),
    "backtest_results": ("accounting_identity",),
    "performance_metrics": ("equity_is_explained_by_trades",),
}


@pytest.fixture
def sample() -> pd.DataFrame:
    return pd.read_parquet(SAMPLE / "binance" / "BTCUSDT_1h.parquet").set_index("ts")


@pytest.fixture(scope="module")
def materialized(database_per_module, postgres_server, tmp_path_factory):
    """The sample, fetched over a socket and brought to the end of the chain twice: the second run must find nothing to do."""
    home = tmp_path_factory.mktemp("home")
    venue = open_recorded(SAMPLE, venue_clock(parse_time("2024-01-02T00:05:00Z")))
    with dagster_instance(postgres_server, home) as instance:
        with running(venue) as url:
            defs = definitions_for(database_per_module, settings_for(url, home, strategy="trend_structure"))
            assert run_job(defs, "sync_symbols", instance).success
            tags = rectangle_tags(["BTC-USDT"], [Timeframe.H1])
            first = run_job(defs, "bring_up_to_date", instance, tags)
            second = run_job(defs, "bring_up_to_date", instance, tags)
        assert first.success and second.success
        yield database_per_module, instance, home


def test_the_graph_matches_the_file(materialized, sample):
    database, instance, home = materialized
    on_grid = sample[sample.index.floor("h") == sample.index]
    bars = market_data.read(database, SERIES)

    assert len(sample) == 55_765
    assert database.rows("SELECT count(*), max(revision) FROM raw_ohlcv") == [(len(sample), 0)]
    assert quality_log.count_quarantined(database, SERIES) == {"off_grid": len(sample) - len(on_grid)} == {"off_grid": 43}
    pd.testing.assert_index_equal(bars.index, on_grid.index, check_names=False, exact="equiv")
    for name in ("open", "high", "low", "close", "volume", "quote_volume"):
        reported = on_grid[name].where((on_grid["volume"] == 0) | (on_grid[name] > 0))
        np.testing.assert_array_equal(bars[name].to_numpy(), reported.to_numpy())

    grid = pd.date_range(on_grid.index[0], "2024-01-01T23:00Z", freq="h")
    missing = grid.difference(on_grid.index)
    runs = int((np.diff(missing.asi8) != np.diff(grid.asi8[:2])[0]).sum()) + 1
    gaps = quality_log.read_findings(database, SERIES, "gap")
    assert (len(gaps), sum(gap.missing for gap in gaps)) == (runs, len(missing))
    months = quality_log.read_findings(database, SERIES, "completeness")
    by_month = on_grid.groupby(on_grid.index.strftime("%Y-%m")).size()
    assert [month.received for month in months] == by_month.tolist()
    assert [month.expected for month in months] == pd.Series(1, grid).groupby(grid.strftime("%Y-%m")).sum().tolist()


def test_indicators_signals_and_results_fit_together(materialized, sample):
    database, _, _ = materialized
    bars = market_data.read(database, SERIES)
    indicators = derived.read(database, "technical_indicators", KEYS)
    signals = derived.read(database, "signals", {**KEYS, "strategy": "trend_structure"})
    structure = read_structure(database, SERIES, Interval(0, parse_time("2024-01-02T00:00:00Z")))
    pd.testing.assert_frame_equal(structure, structure_readings(bars, SERIES.timeframe), check_exact=True)
    assert indicators.index.equals(bars.index) and signals.index.equals(bars.index)
    close = bars["close"].to_numpy()
    for name, expected in (
        ("sma_200", talib.SMA(close, 200)),
        ("ema_200", talib.EMA(close, 200)),
        ("rsi_14", talib.RSI(close, 14)),
    ):
        expected[: REGISTRY[name].settled] = np.nan
        assert np.array_equal(np.isnan(indicators[name]), np.isnan(expected))
        assert np.nanmax(np.abs(indicators[name] / expected - 1)) < 1e-9

    identity, header = backtests.read_backtest(database, "trend_structure", SERIES)
    trades, days = backtests.read_trades(database, identity), backtests.read_daily(database, identity)
    assert header.bars == len(bars) and header.trade_count == len(trades) > 0
    assert len(days) == bars.index.floor("D").nunique()
    assert header.metrics["final_equity"] == pytest.approx(10_000 + trades["pnl"].sum(), rel=1e-9)
    assert header.metrics["total_return"] == pytest.approx(trades["pnl"].sum() / 10_000, rel=1e-9)
    entered = signals["entry"].to_numpy()[bars.index.get_indexer(pd.DatetimeIndex(trades["entry_ts"])) - 1]
    assert entered.all(), "a position is entered at the open after a signal's bar"
    assert (pd.DatetimeIndex(trades["entry_ts"])[1:] >= pd.DatetimeIndex(trades["exit_ts"])[:-1]).all()


def test_a_person_sees_it_in_dagster(materialized):
    _, instance, home = materialized
    for asset in CHAIN_ASSETS:
        records = instance.fetch_materializations(dg.AssetKey(asset), limit=10).records
        assert len(records) == 2
        newest, oldest = (record.asset_materialization for record in records)
        assert newest.partition == "BTC-USDT|1h"
        assert oldest.metadata["rows_written"].value > 0
        assert newest.metadata["rows_written"].value == 0
        assert newest.tags["dagster/data_version"] == oldest.tags["dagster/data_version"]
        for check in CHECKS[asset]:
            record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(dg.AssetKey(asset), check))
            assert record.event.asset_check_evaluation.passed, check
    shown = (
        instance.fetch_materializations(dg.AssetKey("performance_metrics"), limit=1).records[0].asset_materialization.metadata
    )
    report = Path(shown["report"].value)
    assert report.parent == home / "reports" and "<html" in report.read_text()[:500]
    assert shown["picture"].value.startswith("![equity and drawdown](data:image/png;base64,")
    assert len(shown["picture"].value) < 150_000
