"""The scheduled trial explains its stored signals, and those alone that were made of the parameters it has now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cryptai_pipelines.market.errors import CryptaiError
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration import explained
from cryptai_pipelines.orchestration.chain import market_structure, signals, technical_indicators
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial, stored_indicators
from cryptai_pipelines.orchestration.explained import explain_bar
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import slots, store
from cryptai_pipelines_tests.quality.samples import good_rows

SERIES = Series("BTC-USDT", Timeframe.H1)
ROWS = good_rows(300, SERIES.timeframe)
AT = int(ROWS["ts"][290])


def signal(database: Database, chosen: Settings) -> None:
    trial = scheduled_trial(chosen)
    with take_series(database, "binance", SERIES, "test", 60.0) as lease:
        technical_indicators.bring_up_to_date(database, lease, stored_indicators(chosen))
        market_structure.bring_up_to_date(database, lease, 5)
        signals.bring_up_to_date(database, lease, trial.strategy, trial.rules)


def computed(database: Database, trial: Trial, at_ms: int = AT) -> dict:
    return explain_bar(database, SERIES, replace(trial, kind="trial"), at_ms)


OTHERS = {"parameters": {"parameters": {"min_score": 0.9}}, "strategy": {"strategy": "ema_crossover"}}


@pytest.mark.parametrize("changed", OTHERS.values(), ids=OTHERS)
def test_signals_of_other_parameters_are_not_told_as_of_these(database: Database, tmp_path: Path, monkeypatch, changed) -> None:
    store(database, SERIES, ROWS)
    of_before = {"strategy": "trend_structure"}
    before, after = (settings_for("http://127.0.0.1:1", tmp_path, **one) for one in (of_before, of_before | changed))
    signal(database, before)
    told = explain_bar(database, SERIES, scheduled_trial(after), AT)
    assert told == computed(database, scheduled_trial(after)) != explain_bar(database, SERIES, scheduled_trial(before), AT)
    signal(database, after)
    monkeypatch.setattr(explained, "_computed", lambda *_: pytest.fail("the signal is stored"))
    assert explain_bar(database, SERIES, scheduled_trial(after), AT) == told


def test_a_bar_without_its_signal_is_told(database: Database, tmp_path: Path) -> None:
    store(database, SERIES, slots(ROWS, range(200)))
    chosen = settings_for("http://127.0.0.1:1", tmp_path)
    signal(database, chosen)
    store(database, SERIES, ROWS)
    with pytest.raises(CryptaiError, match="no signal of BTC-USDT 1h is stored"):
        explain_bar(database, SERIES, scheduled_trial(chosen), AT)
    assert computed(database, scheduled_trial(chosen))["sentences"]
