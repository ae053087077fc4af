"""A person's trial with funding rates, by hand: 50 coins at a price of 100, so every rate is one of 5,000."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cryptai_pipelines.backtest.funding_rates import parse_funding
from cryptai_pipelines.indicators import chunks
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import staleness
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import backtests
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, store

SERIES = Series("BTC-USDT", Timeframe.H1)
HOURS = 100
STRATEGY = """
import numpy as np
import pandas as pd
from cryptai_pipelines.strategy import as_strategy, parameter
from dataclasses import dataclass

@dataclass(frozen=True)
class Parameters:
    way: int = parameter(1, low=-1, high=1, help="1 long, -1 short")

@as_strategy(parameters=Parameters, warmup_bars=lambda parameters, timeframe: 1)
def hold(inputs, parameters):
    '''From the first bar that it sees on.'''
    side = pd.Series(parameters.way, index=inputs.bars.index, dtype="int8")
    return pd.DataFrame({"side": side})
"""
FREE = {"fee_rate": 0.0, "slippage_bps": 0.0, "size": 0.5, "take_profit": math.inf, "stop_loss": math.inf, "short": True}


@pytest.fixture(params=["one block", "many blocks"])
def tried(request, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a trial on flat bars; `start`: of the first one."""
    if request.param == "many blocks":
        for module in (chunks, staleness):
            monkeypatch.setattr(module, "CHUNK_BARS", 2)
    rows = hourly(HOURS)
    for name in ("open", "high", "low", "close"):
        rows[name] = np.full(HOURS, 100.0)
    store(database, SERIES, rows)
    path = tmp_path / "hold.py"
    path.write_text(STRATEGY)
    settings = settings_for("http://127.0.0.1:1", tmp_path)

    def run(way: int, funding: str | None) -> dict:
        rates = None if funding is None else parse_funding(funding, "rates")
        trial = chosen_trial(settings, str(path), {**FREE, "way": way}, funding=rates)
        return run_trial(database, settings, SERIES, trial, "test", ignore_progress)

    run.start = int(rows["ts"][0])
    return run


def rates_at(start: int, hours_and_rates: list[tuple[float, float]]) -> str:
    return "\n".join(("ts,rate", *(f"{start + round(hour * 3_600_000)},{rate}" for hour, rate in hours_and_rates)))


def test_a_short_earns_positive_rates_and_a_long_pays_them(tried, database: Database) -> None:
    # The entry is at the open of hour 1: what fell due by then is not of this position. A time between two opens counts at the
    # later one, the last opens at hour 99. 0.0001 - 0.0003 + 0.001 = 0.0008 of 5,000.
    funding = rates_at(tried.start, [(-8, 0.5), (0, 0.5), (1, 0.5), (8, 0.0001), (16.5, -0.0003), (99, 0.001), (99.5, 0.5)])
    short, long, free = tried(-1, funding), tried(1, funding), tried(-1, None)
    assert free["metrics"]["final_equity"] == 10_000 and "funding" not in free["metrics"] and free["funding"] is None
    for told, earned in ((short, 4.0), (long, -4.0)):
        assert told["metrics"]["final_equity"] == pytest.approx(10_000 + earned, abs=1e-9)
        assert told["metrics"]["funding"] == pytest.approx(earned, abs=1e-9)
        [trade] = backtests.read_trades(database, told["backtest_id"]).itertuples()
        assert (trade.quantity, trade.entry_price) == (50.0, 100.0)
        assert trade.funding == pytest.approx(earned, abs=1e-9) and trade.pnl == trade.funding


def test_the_rates_are_part_of_what_the_trial_is(tried) -> None:
    one, other = (rates_at(tried.start, [(8, rate)]) for rate in (0.0001, 0.0002))
    results = [tried(-1, funding) for funding in (one, other, one, None)]
    assert len({told["backtest_id"] for told in results}) == 3 and results[0]["backtest_id"] == results[2]["backtest_id"]
    assert results[0]["config"]["funding"]["sha256"] != results[1]["config"]["funding"]["sha256"]
    assert "funding" not in results[3]["config"]
    at = format_time(tried.start + 8 * 3_600_000)
    assert results[0]["funding"].startswith(f"1 rates of {at} to {at}, ")
    assert results[0]["funding"] in Path(results[0]["report"]).read_text()
    with pytest.raises(BadInput, match="no funding rate is of the time of the bars"):
        tried(-1, rates_at(tried.start, [(-8, 0.1), (HOURS, 0.1)]))
