"""`cryptai restatements`: the ledger as a table and as JSON."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.market.series import parse_series
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.cli.conftest import Invoke
from cryptai_pipelines_tests.cli.test_bad_input import assert_one_line
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store
from cryptai_pipelines_tests.orchestration.test_restatement import at, page, receive_from


def test_the_ledger_is_listed_with_values_before_and_after(invoke: Invoke, database: Database, url: str) -> None:
    hours = at(0) + 3_600_000 * np.arange(50)
    before, after = page(hours, 1), page(hours[10:12], 2)
    receive_from(database, "binance", "rest", [before])
    empty = invoke("restatements", CRYPTAI_DATABASE_URL=url)
    assert (empty.code, empty.out, empty.err) == (0, "", "no stored bar was restated\n")
    receive_from(database, "binance", "rest", [after])
    [entry] = invoke("restatements", "btc/usdt", "-t", "1h", "--json", CRYPTAI_DATABASE_URL=url).object["restatements"]
    assert (entry["source"], entry["bars"], entry["recomputed_at"]) == ("binance", 2, None)
    assert entry["values"][0]["before"]["close"] == before.rows["close"][10]
    assert entry["values"][1]["after"]["close"] == after.rows["close"][1]
    told = invoke("restatements", CRYPTAI_DATABASE_URL=url)
    assert told.code == 0 and "not yet" in told.out and told.out.count(" close ") == 2
    assert f"{before.rows['close'][10]:.12g}" in told.out and f"{after.rows['close'][1]:.12g}" in told.out
    store(database, parse_series("ETH-USDT|1h"), hourly(10))
    assert invoke("restatements", "ETH-USDT", "--json", CRYPTAI_DATABASE_URL=url).object == {"restatements": []}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("restatements BTCUSDT", "'BTCUSDT' BASE-QUOTE"),
        ("restatements -t 2h", "'2h' accepted"),
        ("restatements --limit 0", "--limit 1"),
    ],
)
def test_a_wrong_argument_is_named_in_one_line(invoke: Invoke, home: Path, line: str, words: str) -> None:
    assert_one_line(invoke(*line.split()), 2, words)
    assert not home.exists()
