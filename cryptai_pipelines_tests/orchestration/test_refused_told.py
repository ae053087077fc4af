"""Entries that a trial did not make are told with its result, wherever that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.backtest.portfolio import simulate_portfolio
from cryptai_pipelines.cli.results import print_backtest
from cryptai_pipelines.market.bars import OHLCV
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store

SERIES = Series("BTC-USDT", Timeframe.H1)
STRATEGY = """
import numpy as np
import pandas as pd
from cryptai_pipelines.strategy import as_strategy

@as_strategy(warmup_bars=lambda parameters, timeframe: 0)
def falling(inputs, parameters):
    '''Asks for a short on every bar, on some with a stop below the price.'''
    some = inputs.bars.index.hour % 3 == 0
    side = pd.Series(-1, index=inputs.bars.index, dtype="int8")
    return pd.DataFrame({"side": side, "stop_level": inputs.bars["close"] * np.where(some, 0.5, 2.0)})
"""


@pytest.mark.parametrize("short", [False, True])
def test_refused_entries_are_in_the_result_its_words_and_its_page(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str], short: bool
) -> None:
    rows = hourly(120)
    store(database, SERIES, rows)
    path = tmp_path / "falling.py"
    path.write_text(STRATEGY)
    settings = settings_for("http://127.0.0.1:1", tmp_path)
    trial = chosen_trial(settings, str(path), {"short": short, "stop_loss": 0.02})
    told = run_trial(database, settings, SERIES, trial, "test", ignore_progress)
    bars = market_data.read(database, SERIES, 0, int(rows["ts"][-1]) + 1, columns=(*OHLCV, "is_filled"))
    inputs = gather(bars, trial.strategy, trial.rules, SERIES.timeframe)
    decisions = decide_checked(trial.strategy, inputs, trial.rules)
    expected = simulate_portfolio({"X": bars}, {"X": decisions}, trial.engine).refused
    assert told["refused"] == {name: count for name, count in expected.items() if count}
    reason = "wrong_side" if short else "short"
    assert told["refused"][reason] > 0 and (short or told["trade_count"] == 0)
    print_backtest(told)
    assert f"refused entries: {told['refused'][reason]:,} {reason}" in capsys.readouterr().out.replace("\n", " ")
    assert "<h2>Refused entries</h2>" in Path(told["report"]).read_text()
