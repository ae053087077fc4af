"""The rules that a venue lists for a market are part of every result: of the schedule's, of a person's, of a search's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest.parameters import NO_RULES, MarketRules
from cryptai_pipelines.backtest.search import Plan
from cryptai_pipelines.backtest.search_space import Dimension
from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.orchestration.chain.market_rules import market_rules
from cryptai_pipelines.orchestration.chain.outcome import ignore_progress
from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
from cryptai_pipelines.orchestration.sweep import Request, run_sweep
from cryptai_pipelines.orchestration.trial import run_trial
from cryptai_pipelines.storage import backtests, sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.symbols import upsert_listings
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import (
    BARS,
    HOUR,
    SERIES,
    START,
    assert_same,
    bring_up_to_date,
    venue_with,
    walk_bars,
)

STRATEGY = "trend_rsi_macd"
FRAME = walk_bars(3, {300})
# Coarse for what 10,000 buy at about 30,000, so that it shows.
RULES = MarketRules(tick=50.0, lot=0.01, min_notional=10.0)


def listed(database: Database, rules: MarketRules | None) -> None:
    told = (None, None, None) if rules is None else (rules.tick, rules.lot, rules.min_notional)
    with database.transaction() as cursor:
        upsert_listings(cursor, [Listing("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "TRADING", *told)])


@pytest.fixture
def ready(database: Database, tmp_path: Path) -> tuple[Database, Path]:
    listed(database, RULES)
    with venue_with(FRAME, tmp_path / "venue", FixedClock(START + BARS * HOUR + 60_000)) as url:
        bring_up_to_date(database, url, tmp_path)
    return database, tmp_path


def latest(database: Database) -> tuple[backtests.BacktestHeader, pd.DataFrame]:
    identity, header = backtests.read_backtest(database, STRATEGY, SERIES)
    return header, backtests.read_trades(database, identity)


def in_lots(trades: pd.DataFrame, rules: MarketRules) -> bool:
    lots = trades["quantity"].to_numpy() / rules.lot
    return len(lots) > 0 and np.abs(lots - np.rint(lots)).max() < 1e-6


def assert_on_the_grid(trades: pd.DataFrame, rules: MarketRules) -> None:
    assert len(trades) > 5 and in_lots(trades, rules)
    # The market price of an exit at its level, the slippage of 2 basis points taken out again; a gap fills at the open.
    levels = trades.loc[trades["exit_reason"].isin(["take_profit", "stop_loss"]), "exit_price"] / (1 - 0.0002) / rules.tick
    assert np.count_nonzero(np.abs(levels - np.rint(levels)) < 1e-6) > len(levels) / 2


def test_the_scheduled_result_keeps_to_them_and_says_so(ready) -> None:
    database, _ = ready
    header, trades = latest(database)
    assert header.config["market"] == {"tick": 50.0, "lot": 0.01, "min_notional": 10.0}
    assert_on_the_grid(trades, RULES)


def test_many_steps_equal_one_and_a_changed_listing_makes_the_result_anew(postgres_server, tmp_path: Path) -> None:
    finer = MarketRules(tick=10.0, lot=0.001)
    clock = FixedClock(START)
    with (
        venue_with(FRAME, tmp_path / "venue", clock) as url,
        fresh_database(postgres_server) as stepped,
        fresh_database(postgres_server) as whole,
    ):
        for stop, rules in ((500, None), (700, RULES), (800, RULES), (BARS - 300, finer), (BARS, finer)):
            listed(stepped, rules)
            clock.at_ms = START + stop * HOUR + 60_000
            bring_up_to_date(stepped, url, tmp_path)
            header, trades = latest(stepped)
            assert header.config.get("market", {}) == ({} if rules is None else rules.told)
            assert rules is None or in_lots(trades, rules)
        assert len(sweeps.trial_sharpes(stepped, STRATEGY, SERIES)) == 1, "rules that changed are no further trial"
        listed(whole, finer)
        bring_up_to_date(whole, url, tmp_path)
        others = "DELETE FROM backtest_results WHERE config -> 'market' IS DISTINCT FROM %s::jsonb RETURNING id"
        stepped.rows(others, (json.dumps(finer.told),))
        assert_same(stepped, whole)


def test_a_trial_and_a_point_of_a_search_are_the_scheduled_result(ready) -> None:
    database, home = ready
    header, _ = latest(database)
    settings = settings_for("http://127.0.0.1:1", home)
    told = run_trial(database, settings, SERIES, chosen_trial(settings, STRATEGY, {}), "test", ignore_progress)
    assert told["config"]["market"] == RULES.told and told["trades_sha256"] == header.trades_sha256
    assert "prices in steps of 50, quantities in steps of 0.01, entries of at least 10" in told["market_rules"]
    space = (Dimension("take_profit", (settings.take_profit, 0.05)), Dimension("rsi_window", (3, 9)))
    request = Request(SERIES, STRATEGY, Plan(space), jobs=1)
    swept = run_sweep(database, settings, request, lambda *_: None)
    assert (swept["fees"], swept["market_rules"]) == (told["fees"], told["market_rules"])
    [point] = [one for one in swept["best"] if one["point"] == {"take_profit": settings.take_profit, "rsi_window": 3}]
    for name in ("total_return", "max_drawdown", "fees_paid", "trade_count", "sharpe"):
        assert point["metrics"][name] == pytest.approx(header.metrics[name], rel=1e-12), name
    assert swept["trials"] == 4, "the schedule's, the person's and that of the search are one"
    listed(database, MarketRules(tick=10.0))
    assert run_sweep(database, settings, request, lambda *_: None)["trials"] == 4, "nobody chose other rules"


def test_what_is_not_listed_is_no_rule(database: Database) -> None:
    assert market_rules(database, "binance", "BTC-USDT") == NO_RULES
    listed(database, None)
    assert market_rules(database, "binance", "BTC-USDT") == NO_RULES
    with database.transaction() as cursor:
        upsert_listings(cursor, [Listing("binance", "BTC-USDT", "BTCUSDT", "BTC", "USDT", "TRADING", 0.01, 0.0)])
    assert market_rules(database, "binance", "BTC-USDT") == MarketRules(tick=0.01)
    assert market_rules(database, "kraken", "BTC-USDT") == NO_RULES
