"""Metrics of returns beside vectorbt, where docs/metrics.md says that the definitions are the same: 1,000 random series.

Returns are multiples of 2^-20, so that sums and differences of them are exact in any order: a mean that almost vanishes has
then as many good digits as any other, and what is compared are formulas, not orders of addition.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest.benchmark_metrics import compared
from cryptai_pipelines.backtest.drawdowns import drawdown_metrics
from cryptai_pipelines.backtest.return_metrics import equity_metrics, long_enough, sharpe_ratio, sortino_ratio

LENGTHS = (30, 31, 59, 120, 365, 366, 731, 1000, 1461, 2190)
GROWTHS = {"cagr", "total_return", "alpha"}
"""Factors less 1: the digits of a small one are lost in the factor, whoever computes it."""


@pytest.fixture(scope="module")
def ours_and_theirs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name the values of 100 series of each length, ours and vectorbt's."""
    parts = [_of_length(length, seed) for seed, length in enumerate(LENGTHS)]
    return {name: tuple(np.concatenate([part[name][side] for part in parts]) for side in (0, 1)) for name in parts[0]}


def _of_length(length: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    market = np.round(random.normal(0.0005, 0.03, (length, 100)) * 2**20) / 2**20
    returns = np.round((0.4 * market + random.normal(0.0002, 0.02, (length, 100))) * 2**20) / 2**20
    index = pd.date_range("2019-01-01", periods=length, freq="D", tz="UTC", unit="ms")
    theirs = _vectorbt(pd.DataFrame(returns, index=index), pd.DataFrame(market, index=index))
    ours = [_ours(returns[:, column], market[:, column], index) for column in range(100)]
    return {name: (np.array([one[name] for one in ours]), theirs[name].to_numpy()) for name in theirs}


def _ours(returns: np.ndarray, market: np.ndarray, index: pd.DatetimeIndex) -> dict[str, float]:
    equity = pd.Series(np.cumprod(1 + returns), index=index)
    ratios = {"sharpe": sharpe_ratio(returns, 365.0), "sortino": sortino_ratio(returns, 365.0)}
    whole = equity_metrics(equity, 1.0, 365.0) | drawdown_metrics(equity, 1.0, 365.0)
    return whole | compared(returns, market, 365.0) | ratios


def _vectorbt(returns: pd.DataFrame, market: pd.DataFrame) -> dict[str, pd.Series]:
    import vectorbt as vbt

    def accessor(frame: pd.DataFrame) -> object:
        return frame.vbt.returns(freq="1D", year_freq="365 days")

    one, years = accessor(returns), math.sqrt(365.0)
    # A return of 0 in front stands for the start capital, which is the first peak.
    led = accessor(
        pd.concat([pd.DataFrame(0.0, index=[returns.index[0] - pd.Timedelta("1D")], columns=returns.columns), returns])
    )
    length = len(returns)
    assert vbt.__version__.startswith("1.2")
    return {
        "total_return": one.total(),
        "cagr": one.annualized(),
        "volatility": one.annualized_volatility(),
        "downside_volatility": one.downside_risk(),
        "sharpe": one.sharpe_ratio(),
        "sortino": one.sortino_ratio(),
        "omega": one.omega_ratio(),
        "tail_ratio": one.tail_ratio(),
        "var_95": one.value_at_risk(),
        "var_99": one.value_at_risk(cutoff=0.01),
        "cvar_95": one.cond_value_at_risk(),
        "cvar_99": one.cond_value_at_risk(cutoff=0.01),
        "max_drawdown": led.max_drawdown(),
        "ulcer_index": led.ulcer_index() * math.sqrt((length + 1) / length),
        "calmar": one.annualized() / led.max_drawdown().abs(),
        "benchmark_sharpe": accessor(market).sharpe_ratio(),
        "alpha": one.alpha(market),
        "beta": one.beta(market),
        "information_ratio": one.information_ratio(market) * years,
        "capture": one.capture(market),
        "up_capture": one.up_capture(market),
        "down_capture": one.down_capture(market),
    }


NAMES = (
    *(
        "total_return",
        "cagr",
        "volatility",
        "downside_volatility",
        "sharpe",
        "sortino",
        "omega",
        "tail_ratio",
        "var_95",
        "var_99",
    ),
    *("cvar_95", "cvar_99", "max_drawdown", "ulcer_index", "benchmark_sharpe", "alpha", "beta", "information_ratio"),
)
QUOTIENTS = ("calmar", "capture", "up_capture", "down_capture")


@pytest.mark.parametrize("name", NAMES)
def test_equals_vectorbt_on_1000_series(ours_and_theirs, name):
    ours, theirs = ours_and_theirs[name]
    assert len(ours) == 1000 and np.isfinite(theirs).all()
    one = 1.0 if name in GROWTHS else 0.0
    np.testing.assert_allclose(ours + one, theirs + one, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", QUOTIENTS)
def test_quotients_of_growth_equal_vectorbt(ours_and_theirs, name):
    """A quotient of growth rates has the digits that its parts have: those that are a percent a year or more."""
    ours, theirs = ours_and_theirs[name]
    known = (np.abs(theirs) < 1e2) & (np.abs(ours_and_theirs["cagr"][1]) > 1e-2)
    assert known.sum() > 800
    np.testing.assert_allclose(ours[known], theirs[known], rtol=1e-10, atol=0)


def test_names_that_are_compared_are_the_ones_the_document_says(documented):
    told = {name for name, row in documented.items() if "vectorbt" in row[-1]}
    assert told == {*NAMES, *QUOTIENTS}


def test_series_are_long_enough_to_be_annualised():
    assert all(long_enough(length, length - 1.0) for length in LENGTHS)
