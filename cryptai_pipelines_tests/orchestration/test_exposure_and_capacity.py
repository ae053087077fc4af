"""How much of the capital and of the market a stored result takes, against the same told from all bars at once."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest.exposure_metrics import EXPOSURE_METRICS
from cryptai_pipelines.backtest.trade_statistics import entry_volumes
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import backtests, market_data
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_backtest_as_known import now_ms
from cryptai_pipelines_tests.orchestration.test_chain_properties import (
    BARS,
    HOUR,
    SERIES,
    START,
    bring_up_to_date,
    venue_with,
    walk_bars,
)

CLOCK = FixedClock(START + BARS * HOUR + 60_000)


@pytest.fixture
def ready(database: Database, tmp_path: Path) -> tuple[Database, Path]:
    with venue_with(walk_bars(3, {300}), tmp_path / "venue", CLOCK) as url:
        bring_up_to_date(database, url, tmp_path)
    return database, tmp_path


def tried(database: Database, home: Path, known_at_ms: int | None = None, **asked: float) -> dict:
    settings = settings_for("http://127.0.0.1:1", home)
    trial = chosen_trial(settings, "trend_rsi_macd", {"size": 0.5, **asked}, None, known_at_ms)
    return run_trial(database, settings, SERIES, trial, "test", ignore_progress)


def test_a_trial_has_both_and_they_are_those_of_its_bars(ready) -> None:
    database, home = ready
    told = tried(database, home)["all_metrics"]
    assert all(math.isfinite(told[name]) for name in (*EXPOSURE_METRICS, "capacity"))
    identity, _ = backtests.read_backtest(database, "trend_rsi_macd", SERIES)
    trades, bars = backtests.read_trades(database, identity), market_data.read(database, SERIES)
    np.testing.assert_allclose(backtests.read_entry_volumes(database, identity), entry_volumes(trades, bars), rtol=1e-12)

    days = backtests.read_daily(database, identity)["total_value"]
    gross = []
    for day, value in days.items():
        last = bars[bars.index < day + pd.Timedelta("1D")].index[-1]
        held = trades[(trades["entry_ts"] <= last) & ((trades["exit_ts"] > last) | trades["is_open"])]
        gross.append(held["quantity"].sum() * bars["close"].loc[last] / value)
    assert told["average_gross_exposure"] == pytest.approx(np.mean(gross), rel=1e-9) and max(gross) > 0.4
    assert told["max_gross_exposure"] == pytest.approx(max(gross), rel=1e-9)
    assert told["average_net_exposure"] == told["average_gross_exposure"] and told["leveraged_share"] == 0


def test_what_two_tell_under_one_name_is_one_number(ready) -> None:
    database, home = ready
    told = tried(database, home, take_profit=0.9, stop_loss=0.3)
    trades = backtests.read_trades(database, told["backtest_id"])
    assert trades["is_open"].iloc[-1] and told["metrics"]["max_drawdown"] < 0
    shared = told["metrics"].keys() & told["all_metrics"].keys()
    assert {"total_return", "max_drawdown", "trade_count", "exposure", "final_equity", "sharpe", "fees_paid"} <= shared
    for name in shared:
        value = told["metrics"][name]
        assert told["all_metrics"][name] == pytest.approx(math.nan if value is None else value, rel=1e-12, nan_ok=True), name
    assert told["verdict"]["trade_count"] == told["trade_count"] == len(trades)
    _, findings = backtests.read_review(database, told["backtest_id"])
    told_of = {one["code"]: one["value"] for one in findings}
    assert told_of["deep_drawdown"] == told["metrics"]["max_drawdown"] and told_of["few_trades"] == len(trades)
    held = told["metrics"]["total_return"] - told["metrics"]["buy_and_hold_return"]
    assert told_of["worse_than_buy_and_hold"] == pytest.approx(held, rel=1e-9)


def test_a_verdict_of_old_is_read_by_the_names_of_now(ready) -> None:
    database, home = ready
    told = tried(database, home)
    with database.transaction() as cursor:
        cursor.execute(
            "UPDATE backtest_results SET verdict = (verdict - 'better_than_market')"
            " || jsonb_build_object('psr', verdict -> 'better_than_market') WHERE id = %s RETURNING verdict ? 'psr'",
            (told["backtest_id"],),
        )
        assert cursor.fetchone() == (True,)
    verdict, _ = backtests.read_review(database, told["backtest_id"])
    assert "psr" not in verdict and verdict == told["verdict"]


def test_the_review_is_told_how_large_the_entries_are(ready) -> None:
    database, home = ready
    shares = []
    for capital in (10_000.0, 10_000_000.0):
        result = tried(database, home, initial_capital=capital)
        _, findings = backtests.read_review(database, result["backtest_id"])
        [finding] = [one for one in findings if one["code"] == "too_large_for_the_market"]
        assert finding["holds"] == (capital > result["all_metrics"]["capacity"])
        shares.append(finding["value"])
    assert shares[1] == pytest.approx(1_000 * shares[0], rel=1e-9) and shares[1] > 0.01


def test_volumes_are_those_that_were_known_then(ready) -> None:
    database, home = ready
    before, moment = tried(database, home), now_ms()
    thin = walk_bars(3, {300})
    thin["volume"] = (thin["volume"] / 10).round(2)
    with venue_with(thin, home / "second", CLOCK) as url:
        bring_up_to_date(database, url, home, Interval(START, CLOCK.at_ms))
    then, now = tried(database, home, moment), tried(database, home)
    assert then["all_metrics"]["capacity"] == before["all_metrics"]["capacity"]
    assert now["all_metrics"]["capacity"] < before["all_metrics"]["capacity"] / 5
