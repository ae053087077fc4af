"""Counts over stored signals equal those over the rows that were stored."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.tables import gate_table
from cryptai_pipelines.market.bars import ts_index
from cryptai_pipelines.storage import derived, signal_counts
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.storage.bars_examples import fresh_series, opens

GATES = ("trend_gate", "rsi_gate")


def test_verdicts_and_entry_values_are_those_of_the_rows(database_per_module: Database) -> None:
    rng = np.random.default_rng(3)
    series, rows = fresh_series(), 500
    told = {name: pd.array(rng.choice(np.array([True, False, None], dtype=object), rows), dtype="boolean") for name in GATES}
    ratios = np.where(rng.random(rows) < 0.2, np.nan, rng.random(rows))
    frame = pd.DataFrame({**told, "risk_reward": ratios, "entry": rng.random(rows) < 0.3}, index=ts_index(opens(rows)))
    keys = {"strategy": "counted", "symbol": series.symbol, "timeframe": series.timeframe.code}
    for name in ("counted", "another"):
        with database_per_module.transaction() as cursor:
            part = frame if name == "counted" else frame.iloc[:100]
            derived.upsert(cursor, "signals", {**keys, "strategy": name}, part, code_version="1", coverage_revision=1)
    found = signal_counts.count_verdicts(database_per_module, keys, GATES)
    expected = gate_table(frame[list(GATES)])[["passed", "rejected", "unknown"]]
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_index_type=False)
    values = signal_counts.entry_values(database_per_module, keys, "risk_reward")
    np.testing.assert_array_equal(values, ratios[frame["entry"]])


def test_nothing_stored_is_nothing_counted(database_per_module: Database) -> None:
    keys = {"strategy": "none", "symbol": "NONE-USDT", "timeframe": "1h"}
    assert signal_counts.count_verdicts(database_per_module, keys, GATES).to_numpy().sum() == 0
    assert signal_counts.count_verdicts(database_per_module, keys, ()).empty
    assert len(signal_counts.entry_values(database_per_module, keys, "risk_reward")) == 0
