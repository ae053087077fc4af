"""The check `prefix_invariance`: it passes on rows that the chain stored, and names series, column and bar of a wrong one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import dagster as dg
import pytest

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration import prefix_results
from cryptai_pipelines.orchestration.chain import prefix_check
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.prefix_results import PREFIX_SPECS, prefix_result, wrong_lately
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for

SERIES = [Series("BTC-USDT", Timeframe.H1), Series("ETH-USDT", Timeframe.H1)]
SPECS = {spec.asset_key.to_user_string(): spec for spec in PREFIX_SPECS}
NEWEST = "(SELECT max(ts) FROM market_data WHERE symbol = 'ETH-USDT')"
FAULTS = {
    "technical_indicators": (
        "UPDATE technical_indicators SET rsi_14 = rsi_14 * (1 + 1e-15) WHERE symbol = 'ETH-USDT' AND ts = {ts}",
        "rsi_14",
    ),
    "market_structure": (
        "UPDATE market_structure SET swing_low = swing_low * (1 + 1e-15) WHERE symbol = 'ETH-USDT' AND ts = {ts}",
        "swing_low",
    ),
    "signals": ("UPDATE signals SET rsi_gate = NOT rsi_gate WHERE symbol = 'ETH-USDT' AND ts = {ts}", "rsi_gate"),
}

Walked = tuple[Database, Settings, list[SeriesResult]]


@pytest.fixture(scope="module")
def walked(postgres_server, tmp_path_factory) -> Iterator[Walked]:
    """Two simulated series at the end of the chain."""
    home = tmp_path_factory.mktemp("prefixes")
    clock = FixedClock(parse_time("2017-03-10T00:05:00Z"))
    with fresh_database(postgres_server) as database, running(open_simulated(3, 2, clock)) as url:
        settings = settings_for(url, home)
        steps = chain_steps(database, open_venue(settings), settings, "prefixes")
        results = list(walk(SERIES, steps, holding(database, "binance", settings, "prefixes"), 2))
        assert [result.error for result in results] == [None, None]
        yield database, settings, results
    shutil.rmtree(home)


@pytest.mark.parametrize("asset", SPECS)
def test_what_the_chain_stored_passes(walked: Walked, asset: str) -> None:
    database, settings, results = walked
    told = prefix_result(SPECS[asset], database, settings, results)
    assert told.passed and told.metadata["findings"].value == "none"
    assert {"BTC-USDT 1h", "ETH-USDT 1h"} == set(told.metadata["looked_at"].value.split(", "))


@pytest.mark.parametrize("asset", SPECS)
@pytest.mark.parametrize("back", [0, 40])
def test_a_wrong_row_is_named_with_series_column_and_bar(walked: Walked, asset: str, back: int) -> None:
    """One bit of a value, or one gate, at the newest bar and some way before it."""
    database, settings, results = walked
    statement, column = FAULTS[asset]
    ts = f"{NEWEST} - interval '{back} hours'"
    [(at,)] = database.rows(f"SELECT {ts}")
    [kept] = database.rows(f"SELECT {column} FROM {asset} WHERE symbol = 'ETH-USDT' AND ts = {ts}")
    with database.transaction() as cursor:
        cursor.execute(statement.format(ts=ts))
        assert cursor.rowcount == 1
    told = prefix_result(SPECS[asset], database, settings, results)
    findings = told.metadata["findings"].value
    assert not told.passed and told.severity.value == "ERROR"
    assert f"ETH-USDT 1h: {column} at {at:%Y-%m-%dT%H:%M:%SZ} is stored as" in findings and "BTC-USDT" not in findings
    with database.transaction() as cursor:
        cursor.execute(f"UPDATE {asset} SET {column} = %s WHERE symbol = 'ETH-USDT' AND ts = {ts}", kept)
    assert prefix_result(SPECS[asset], database, settings, results).passed


def test_a_row_that_is_gone_is_named(walked: Walked) -> None:
    database, settings, results = walked
    with database.transaction() as cursor:
        cursor.execute(f"CREATE TABLE kept AS SELECT * FROM signals WHERE symbol = 'ETH-USDT' AND ts = {NEWEST}")
        cursor.execute(f"DELETE FROM signals WHERE symbol = 'ETH-USDT' AND ts = {NEWEST}")
    told = prefix_result(SPECS["signals"], database, settings, results)
    assert "ETH-USDT 1h: no row at" in told.metadata["findings"].value
    with database.transaction() as cursor:
        cursor.execute("INSERT INTO signals SELECT * FROM kept")
        cursor.execute("DROP TABLE kept")


def test_a_series_that_waits_for_its_input_is_left_alone(walked: Walked) -> None:
    """Its rows are about to be renewed: what is stored belongs to two moments."""
    database, settings, results = walked
    with database.transaction() as cursor:
        cursor.execute("UPDATE series_state SET input_revision = input_revision - 1 WHERE asset = 'signals'")
        cursor.execute("UPDATE signals SET rsi_score = 0.123 WHERE symbol = 'ETH-USDT'")
    assert prefix_result(SPECS["signals"], database, settings, results).passed
    with database.transaction() as cursor:
        cursor.execute("UPDATE series_state SET input_revision = input_revision + 1 WHERE asset = 'signals'")
    assert not prefix_result(SPECS["signals"], database, settings, results).passed


def test_a_run_of_many_series_looks_at_a_few_of_them(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    database, settings, results = walked
    looked: list[Series] = []
    monkeypatch.setattr(prefix_check, "first_change", lambda database, per_bar, series: looked.append(series))
    monkeypatch.setattr(prefix_results, "MOST_SERIES", 1)
    told = prefix_result(SPECS["technical_indicators"], database, settings, results)
    assert len(looked) == 1 and told.metadata["series"].value == 2 and told.metadata["looked_at"].value == str(looked[0])


def test_a_series_that_was_wrong_lately_is_looked_at_again(
    walked: Walked, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finding must not go because the next run looked at others."""
    database, settings, results = walked
    spec = SPECS["technical_indicators"]
    assert wrong_lately(instance, spec) == set()
    told = dg.AssetCheckEvaluation(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=False,
        metadata={"findings": dg.MetadataValue.md("- ETH-USDT 1h: rsi_14 at 2017-03-10T00:00:00Z is stored as 1.0")},
    )
    instance.report_runless_asset_event(told)
    monkeypatch.setattr(prefix_results, "MOST_SERIES", 0)
    again = prefix_result(spec, database, settings, results, wrong_lately(instance, spec))
    assert again.metadata["looked_at"].value == "ETH-USDT 1h"


def test_a_series_that_did_not_get_this_far_is_a_finding(walked: Walked) -> None:
    database, settings, results = walked
    cut = [SeriesResult(result.series, result.outcomes[:1], "validated_bars", "broke") for result in results]
    told = prefix_result(SPECS["signals"], database, settings, cut)
    assert not told.passed and "ETH-USDT 1h: not known, it failed at validated_bars" in told.metadata["findings"].value
