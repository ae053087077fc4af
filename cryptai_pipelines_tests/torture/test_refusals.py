"""A database that refuses: read-only, or every statement cut off. One clean line, and the next run completes."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.replay.simulated import open_simulated
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer
from cryptai_pipelines.storage.urls import database_name
from cryptai_pipelines_tests.cli.command import call
from cryptai_pipelines_tests.databases import administer
from cryptai_pipelines_tests.torture.tally import record

_NOW_MS = 1_704_153_900_000
_PART = ["sync", "BTC-USDT", "-t", "1h", "--start", "2023-12-01", "--json"]
_BARS = 32 * 24
_REFUSALS = {"default_transaction_read_only": "on", "statement_timeout": "1ms"}


@pytest.mark.parametrize("setting", _REFUSALS)
def test_a_refusal_is_one_line_and_the_next_run_completes(
    postgres_server: EmbeddedServer, database: Database, tmp_path: Path, setting: str
) -> None:
    name = database_name(database.url)
    with running(open_simulated(1, 1, FixedClock(_NOW_MS))) as venue:
        chosen = {"CRYPTAI_DATABASE_URL": database.url, "CRYPTAI_BINANCE_URL": venue}
        administer(postgres_server, f"ALTER DATABASE {{}} SET {setting} = '{_REFUSALS[setting]}'", name)
        refused = call(_PART, tmp_path / "home", **chosen)
        administer(postgres_server, f"ALTER DATABASE {{}} RESET {setting}", name)
        assert refused.code == 1 and "Traceback" not in refused.err + refused.out
        told = [line for line in refused.err.splitlines() if line.startswith("cryptai: ")]
        assert len(told) == 1, refused.err
        assert call(_PART, tmp_path / "home", **chosen).code == 0
    assert database.rows("SELECT count(*) FROM market_data") == [(_BARS,)]
    assert not database.rows("SELECT 1 FROM data_sync_log WHERE status = 'RUNNING'")
    record("refusals", setting, 1)
