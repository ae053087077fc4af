"""The asset `engine_parity` on a real instance: what it compares, shows and writes, and what it says when a peer is missing."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from cryptai_pipelines.backtest.parity import Difference
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.engine_parity import FILE_COLUMNS, EngineParity, compare_engines
from cryptai_pipelines.orchestration.parity_asset import engine_parity, parity_checks, parity_page
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import definitions_for, settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store

SERIES = Series("BTC-USDT", Timeframe.H1)


def test_it_compares_shows_and_writes(database: Database, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    store(database, SERIES, hourly(1_500))
    defs = definitions_for(database, settings_for("http://127.0.0.1:9", tmp_path))
    job = defs.resolve_job_def("__ASSET_JOB")
    result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("engine_parity")])
    [event] = result.asset_materializations_for_node("engine_parity")
    told = {name: value.value for name, value in event.metadata.items()}
    assert told["compared"] > 50 and told["equal"] > 0 and told["unexplained"] == 0 and told["not_installed"] == "none"
    assert "| BTC-USDT 1h | vectorbt |" in told["page"] and "| BTC-USDT 1h | backtesting.py |" in told["page"]
    rows = list(csv.reader(Path(told["differences"]).read_text().splitlines()))
    [schema] = [spec.metadata["dagster/column_schema"] for spec in engine_parity.specs]
    assert rows[0] == list(FILE_COLUMNS) == [column.name for column in schema.columns]
    assert len(rows) - 1 == told["explained"] > 0
    assert {one.check_name: one.passed for one in result.get_asset_check_evaluations()} == {
        "engines_agree": True,
        "engines_were_compared": True,
    }


def test_a_peer_that_is_not_installed_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store(database, SERIES, hourly(300))
    monkeypatch.setitem(sys.modules, "vectorbt", None)
    found = compare_engines(database, 0.001)
    assert found.absent == ("vectorbt",) and {one.peer for one in found.compared} == {"backtesting.py"}
    agree, compared = parity_checks(found)
    assert agree.passed and not compared.passed and compared.severity is dg.AssetCheckSeverity.WARN
    assert "vectorbt is not installed and was not compared: pip install" in parity_page(found)


def test_nothing_stored_is_not_agreement(database: Database) -> None:
    found = compare_engines(database, 0.001)
    agree, compared = parity_checks(found)
    assert found == EngineParity((), ()) and not agree.passed and not compared.passed
    assert parity_page(found).startswith("nothing was compared")


def test_what_no_rule_explains_fails_the_check(database: Database) -> None:
    store(database, SERIES, hourly(300))
    found = compare_engines(database, 0.001)
    first = found.compared[0]
    odd = Difference(first.parity.differences[0].entry_ts, "unexplained", "2020-09-14T00:00Z 1", "")
    wrong = replace(first, parity=replace(first.parity, differences=(odd,)))
    agree, _ = parity_checks(replace(found, compared=(wrong,)))
    assert not agree.passed and agree.severity is dg.AssetCheckSeverity.ERROR
    assert "BTC-USDT 1h: vectorbt, 15 % / 8 %, entry" in agree.metadata["findings"].value
