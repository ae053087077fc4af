"""Every asset check passes on sound tables and fails on the fault it is for, naming the series."""

from __future__ import annotations

import shutil

import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.check_results import CHECKS, SYNCED, evaluate, synced_result
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for

SERIES = [Series("BTC-USDT", Timeframe.H1), Series("ETH-USDT", Timeframe.H1)]
# A fault per check, planted with constraints and triggers out of the way: what the tables refuse cannot be planted otherwise.
FAULTS = {
    ("raw_ohlcv", "no_future_rows"): "UPDATE historical_data_range SET covered_until = covered_until - interval '2 hours',"
    " covered_from = least(covered_from, covered_until - interval '2 hours') WHERE symbol = 'ETH-USDT'",
    ("validated_bars", "schema"): "ALTER TABLE market_data ALTER COLUMN close DROP NOT NULL",
    ("validated_bars", "ohlc_order"): "ALTER TABLE market_data DROP CONSTRAINT market_data_check;"
    " UPDATE market_data SET low = high + 1 WHERE symbol = 'ETH-USDT' AND ts = (SELECT max(ts) FROM market_data)",
    ("validated_bars", "coverage"): "UPDATE data_quality SET received = received / 2, missing = expected - received / 2"
    " WHERE symbol = 'ETH-USDT' AND kind = 'completeness'",
    ("validated_bars", "bar_age"): "DELETE FROM market_data WHERE symbol = 'ETH-USDT'"
    " AND ts > (SELECT max(ts) FROM market_data) - interval '3 hours'",
    ("validated_bars", "no_future_rows"): "UPDATE historical_data_range SET covered_until = covered_until - interval '2 hours',"
    " covered_from = least(covered_from, covered_until - interval '2 hours') WHERE symbol = 'ETH-USDT'",
    ("technical_indicators", "one_row_per_bar"): "DELETE FROM technical_indicators WHERE symbol = 'ETH-USDT'"
    " AND ts = (SELECT max(ts) FROM market_data)",
    ("market_structure", "one_row_per_bar"): "DELETE FROM market_structure WHERE symbol = 'ETH-USDT'"
    " AND ts = (SELECT max(ts) FROM market_data)",
    (
        "market_structure",
        "nothing_is_known_early",
    ): "UPDATE market_structure SET swing_low_confirmed_at = ts + interval '61 min'"
    " WHERE symbol = 'ETH-USDT' AND ts = (SELECT max(ts) FROM market_data)",
    ("signals", "one_row_per_bar"): "DELETE FROM signals WHERE symbol = 'ETH-USDT' AND ts = (SELECT max(ts) FROM market_data)",
    ("backtest_results", "accounting_identity"): "UPDATE backtest_trades SET pnl = pnl + 1 WHERE number = 0 AND backtest_id ="
    " (SELECT id FROM backtest_results WHERE symbol = 'ETH-USDT')",
    ("performance_metrics", "equity_is_explained_by_trades"): "UPDATE performance_metrics SET total_value = total_value * 1.001"
    " WHERE backtest_id = (SELECT id FROM backtest_results WHERE symbol = 'ETH-USDT')",
}


@pytest.fixture(scope="module")
def walked(postgres_server, tmp_path_factory):
    """Two simulated series at the end of the chain: a template to plant faults into, and what the walk told."""
    home = tmp_path_factory.mktemp("checks")
    clock = FixedClock(parse_time("2017-03-10T00:05:00Z"))
    with fresh_database(postgres_server) as database, running(open_simulated(3, 2, clock)) as url:
        settings = settings_for(url, home)
        steps = chain_steps(database, open_venue(settings), settings, "checks")
        results = list(walk(SERIES, steps, holding(database, "binance", settings, "checks"), 2))
        assert [result.error for result in results] == [None, None]
        yield database, results
    shutil.rmtree(home)


@pytest.fixture
def planted(walked):
    """The walked tables in a transaction that is rolled back: what is planted is seen by the check and by nobody after it."""
    database, results = walked
    with database.transaction() as cursor:
        yield InTransaction(cursor), results
        cursor.connection.rollback()


class InTransaction:
    """Reads of a check within the transaction of a cursor."""

    def __init__(self, cursor):
        self.cursor = cursor

    def rows(self, sql, parameters=()):
        self.cursor.execute(sql, parameters)
        return self.cursor.fetchall()


def check_of(asset, name):
    return next(check for check in CHECKS if (check.spec.asset_key.to_user_string(), check.spec.name) == (asset, name))


@pytest.mark.parametrize(("asset", "name"), FAULTS, ids=[f"{asset}.{name}" for asset, name in FAULTS])
def test_a_check_fails_on_its_fault_and_only_then(planted, asset, name):
    store, results = planted
    check = check_of(asset, name)
    sound = evaluate(check, store, results, "trend_rsi_macd")
    assert sound.passed and sound.metadata["findings"].value == "none" and sound.metadata["series"].value == 2
    store.cursor.execute(FAULTS[asset, name])
    assert store.cursor.rowcount != 0
    faulty = evaluate(check, store, results, "trend_rsi_macd")
    assert not faulty.passed and faulty.severity is check.severity
    findings = faulty.metadata["findings"].value
    assert ("ETH-USDT 1h" in findings or name == "schema") and "BTC-USDT" not in findings


def test_every_check_but_the_walks_own_has_a_planted_fault():
    named = {(check.spec.asset_key.to_user_string(), check.spec.name) for check in CHECKS if check is not SYNCED}
    assert named == set(FAULTS)


def test_a_series_that_did_not_get_this_far_is_a_finding_and_not_asked_about(planted):
    store, results = planted
    cut = [SeriesResult(result.series, result.outcomes[:1], "validated_bars", "broke") for result in results]
    age = evaluate(check_of("validated_bars", "bar_age"), store, cut, "trend_rsi_macd")
    assert age.metadata["series"].value == 0 and not age.passed
    assert "ETH-USDT 1h: not known, it failed at validated_bars" in age.metadata["findings"].value
    told = synced_result(cut)
    assert not told.passed and "ETH-USDT 1h failed at validated_bars: broke" in told.metadata["findings"].value
    assert synced_result(results).passed
