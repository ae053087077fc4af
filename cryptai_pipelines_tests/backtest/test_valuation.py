"""Equity told from trades alone agrees with what the engine carried from bar to bar."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from cryptai_pipelines.backtest.engine import advance, settle, start
from cryptai_pipelines.backtest.inputs import bar_arrays, decision_arrays
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.portfolio import simulate_portfolio
from cryptai_pipelines.backtest.records import TRADE_DTYPE, trades_frame
from cryptai_pipelines.backtest.valuation import equity_at_closes, exposure_at_closes

from .conftest import random_arguments, random_market, random_portfolio


@given(st.integers(0, 2**32 - 1))
def test_trades_and_closes_tell_the_equity_of_every_bar(seed):
    bars, entries = random_market(seed, 150)
    parameters = EngineParameters(**random_arguments(seed))
    run = advance(start(parameters), bar_arrays(bars, entries))
    last = settle(run.state)[1]
    trades = trades_frame(np.concatenate((run.trades, last))).assign(is_open=False)
    trades.loc[len(run.trades) :, "is_open"] = True
    told = equity_at_closes(trades, bars["close"], parameters.initial_capital, parameters.fee_rate)
    np.testing.assert_allclose(told, run.equity, rtol=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_shorts_parts_and_resting_entries_are_told_too(seed):
    portfolio = random_portfolio(seed, 100).with_one_symbol()
    ((symbol, bars),) = portfolio.bars.items()
    decisions = decision_arrays(bars, portfolio.decisions[symbol], symbol)
    parameters = EngineParameters(**portfolio.parameters)
    run = advance(start(parameters), decisions)
    trades = trades_frame(np.concatenate((run.trades, settle(run.state)[1]))).assign(is_open=False)
    trades.loc[len(run.trades) :, "is_open"] = True
    told = equity_at_closes(trades, bars["close"], parameters.initial_capital, parameters.fee_rate)
    scale = parameters.initial_capital + np.abs(run.equity).max()
    np.testing.assert_allclose(told, run.equity, rtol=1e-9, atol=1e-9 * scale)


@given(st.integers(0, 2**32 - 1))
@example(399)  # ruined: a share of what is left is not defined
def test_exposure_is_that_of_the_engines_ledger(seed):
    portfolio = random_portfolio(seed, 100).with_one_symbol()
    ((symbol, bars),) = portfolio.bars.items()
    result = simulate_portfolio(portfolio.bars, portfolio.decisions, EngineParameters(**portfolio.parameters))
    at_the_end = (result.trades["exit_reason"] == "end") & (result.trades["exit_ts"] == bars.index[-1])
    equity = (result.ledger["cash"] + result.ledger["held"]).to_numpy()
    told = exposure_at_closes(result.trades.assign(is_open=at_the_end), bars["close"], equity)
    np.testing.assert_allclose(told, result.exposure, rtol=1e-9, atol=1e-12)
    assert len(result.trades) == 0 or (told["gross"] > 0).any() or (result.exposure["gross"].dropna() == 0).all()


def test_without_trades_equity_is_the_capital():
    bars, _ = random_market(1, 20)
    nothing = trades_frame(np.empty(0, dtype=TRADE_DTYPE)).assign(is_open=pd.Series(dtype=bool))
    assert (equity_at_closes(nothing, bars["close"], 500.0, 0.001) == 500.0).all()
