"""Portfolios as they are stored: what was written comes back, a configuration is one result, each trial is counted once."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.storage import backtests, portfolios, sweeps
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.portfolios import PortfolioHeader
from cryptai_pipelines.storage.sweeps import PointRow, Sweep
from cryptai_pipelines.storage.tables import PORTFOLIO_DAY_COLUMNS

HEADER = PortfolioHeader(
    strategy="trend",
    timeframe=Timeframe.H1,
    symbols=("BTC-USDT", "ETH-USDT", "SOL-USDT"),
    failures={"SOL-USDT": "it's wrong"},
    config={"rules": {"a": 1}, "symbols": ["BTC-USDT", "ETH-USDT", "SOL-USDT"]},
    first_ts=0,
    last_ts=3_600_000,
    bars=4,
    trade_count=2,
    ambiguous_count=0,
    refused={"cash": 3},
    metrics={"sharpe": 1.5, "periods_per_year": 365.0, "cagr": None},
    by_symbol={"BTC-USDT": {"profit": 5.0, "correlation": None}},
    trades_sha256="sha",
    code_version="1",
    coverage_revisions={"BTC-USDT": 7},
    run_id="test",
)


def trades(*symbols: str) -> pd.DataFrame:
    at = pd.date_range("2024-01-01", periods=len(symbols), freq="h", tz="UTC", unit="ms")
    numbers = ("entry_price", "exit_price", "quantity", "fees", "pnl", "return_pct")
    numbers += ("funding", "slippage_cost", "max_adverse", "max_favourable")
    values = {name: np.arange(len(symbols)) / 7 + place for place, name in enumerate(numbers)}
    sides = np.where(np.arange(len(symbols)) % 2, -1, 1).astype("int16")
    told = {"symbol": list(symbols), "side": sides, "entry_ts": at, "exit_ts": at, "exit_reason": "signal"}
    return pd.DataFrame({**told, **values, "ambiguous": False, "is_open": False})


def days(count: int) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=count, freq="D", tz="UTC", unit="ms", name="day")
    frame = pd.DataFrame({name: np.arange(count) / 3 for name in PORTFOLIO_DAY_COLUMNS}, index=index)
    frame.iloc[0, 3] = math.nan
    return frame


def save(database: Database, header: PortfolioHeader, *symbols: str, day_count: int = 2) -> int:
    with database.transaction() as cursor:
        return portfolios.save_portfolio(cursor, header, trades(*symbols), days(day_count))


def test_what_was_written_comes_back(database: Database) -> None:
    identity = save(database, HEADER, "BTC-USDT", "ETH-USDT")
    assert portfolios.read_portfolio(database, dict(reversed(HEADER.config.items()))) == (identity, HEADER)
    read = portfolios.read_trades(database, identity)
    pd.testing.assert_frame_equal(
        read[trades("A", "B").columns], trades("BTC-USDT", "ETH-USDT"), check_dtype=False, check_exact=True, check_names=False
    )
    pd.testing.assert_frame_equal(portfolios.read_days(database, identity), days(2), check_exact=True, check_freq=False)
    assert portfolios.read_review(database, identity) == (None, [], [])
    with database.transaction() as cursor:
        portfolios.save_review(
            cursor, identity, {"answer": "no", "dsr": math.nan}, [{"code": "a", "holds": np.bool_(True)}], [{}]
        )
    assert portfolios.read_review(database, identity) == ({"answer": "no", "dsr": None}, [{"code": "a", "holds": True}], [{}])
    assert portfolios.read_portfolio(database, {"other": 1}) is None


def test_a_configuration_is_one_result_which_is_replaced(database: Database) -> None:
    first = save(database, HEADER, "BTC-USDT", "ETH-USDT", "BTC-USDT", day_count=5)
    with database.transaction() as cursor:
        portfolios.save_review(cursor, first, {"answer": "no"}, [])
    healed = dataclasses.replace(HEADER, failures={}, trade_count=1, trades_sha256="other")
    assert save(database, healed, "SOL-USDT", day_count=1) == first
    assert portfolios.read_portfolio(database, HEADER.config) == (first, healed)
    assert portfolios.read_trades(database, first)["symbol"].tolist() == ["SOL-USDT"]
    assert len(portfolios.read_days(database, first)) == 1
    # What was concluded was of the other result.
    assert portfolios.read_review(database, first) == (None, [], [])
    assert save(database, dataclasses.replace(HEADER, config={"rules": {"a": 2}})) != first


def test_what_does_not_fit_leaves_the_result_that_was_there(database: Database) -> None:
    identity = save(database, HEADER, "BTC-USDT", "ETH-USDT")
    with pytest.raises(BadInput, match="trades have no column 'pnl'"), database.transaction() as cursor:
        changed = dataclasses.replace(HEADER, trades_sha256="other")
        portfolios.save_portfolio(cursor, changed, trades("BTC-USDT").drop(columns="pnl"), days(1))
    assert portfolios.read_portfolio(database, HEADER.config) == (identity, HEADER)
    assert len(portfolios.read_trades(database, identity)) == len(portfolios.read_days(database, identity)) == 2


def backtest(database: Database, symbol: str, config: dict[str, object], sharpe: float) -> None:
    series, metrics = Series(symbol, Timeframe.H1), {"sharpe": sharpe, "periods_per_year": 365.0}
    header = backtests.BacktestHeader("trend", series, config, 0, 0, 1, 0, 0, metrics, "sha", "1", coverage_revision=1)
    with database.transaction() as cursor:
        backtests.save_backtest(cursor, header)


def sweep(database: Database, symbol: str, kind: str, *points: float) -> None:
    config = {"bars_sha256": symbol, "kind": kind, "asked": {}}
    with database.transaction() as cursor:
        identity = sweeps.begin_sweep(cursor, Sweep(kind, "trend", Series(symbol, Timeframe.H1), config, len(points)))
        rows = [
            PointRow(number, f"{symbol} {number}", {"b": number}, {"sharpe": sharpe}) for number, sharpe in enumerate(points)
        ]
        sweeps.save_points(cursor, identity, 0, rows)


def test_every_trial_on_the_way_to_a_portfolio_is_counted_once(database: Database) -> None:
    """The same parameters on several of its symbols are one trial, with the mean of their ratios."""
    save(database, HEADER, "BTC-USDT")
    save(database, dataclasses.replace(HEADER, config={"other": 1}, symbols=("ETH-USDT", "XRP-USDT"), metrics={}))
    save(database, dataclasses.replace(HEADER, config={"other": 2}, symbols=("XRP-USDT",)))
    save(database, dataclasses.replace(HEADER, config={"other": 3}, timeframe=Timeframe.H4))
    for symbol, sharpe in (("BTC-USDT", 1.0), ("ETH-USDT", 2.0), ("XRP-USDT", 50.0)):
        backtest(database, symbol, {"kind": "scheduled", "rules": {"a": 1}}, sharpe)
    backtest(database, "BTC-USDT", {"kind": "trial", "rules": {"a": 1}}, 3.0)
    backtest(database, "BTC-USDT", {"kind": "trial", "rules": {"a": 2}}, 4.0)
    sweep(database, "BTC-USDT", "sweep", 5.0, 6.0)
    sweep(database, "ETH-USDT", "sweep", 7.0, math.nan, 9.0)
    sweep(database, "ETH-USDT", "walk_forward", 70.0)
    told = portfolios.trial_sharpes(database, "trend", Timeframe.H1, HEADER.symbols)
    # Two portfolios with one of the symbols, two sets of parameters, three points of searches, one of a walk-forward.
    assert len(told) == 8
    assert sorted(told[np.isfinite(told)] * math.sqrt(365)) == pytest.approx([1.5, 2.0, 4.0, 6.0, 6.0, 9.0])
    assert len(portfolios.trial_sharpes(database, "other", Timeframe.H1, HEADER.symbols)) == 0


def test_a_portfolio_is_a_trial_of_each_symbol_that_has_a_part_in_it(database: Database) -> None:
    save(database, HEADER, "BTC-USDT")
    save(database, HEADER, "BTC-USDT")
    for symbol, count in (("BTC-USDT", 1), ("ETH-USDT", 1), ("SOL-USDT", 0), ("XRP-USDT", 0)):
        told = sweeps.trial_sharpes(database, "trend", Series(symbol, Timeframe.H1))
        assert len(told) == count and np.isnan(told).all(), symbol
        assert sweeps.count_tried(database, "trend", Series(symbol, Timeframe.H1)) == count
    assert len(sweeps.trial_sharpes(database, "trend", Series("BTC-USDT", Timeframe.H4))) == 0
