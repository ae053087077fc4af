"""What is told of the symbols of a portfolio adds up to what the engine says of all of them; the page of it holds together."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptai_pipelines.backtest import EngineParameters
from cryptai_pipelines.backtest.engine import advance_together, start
from cryptai_pipelines.backtest.market_arrays import joined
from cryptai_pipelines.backtest.metrics import full_metrics
from cryptai_pipelines.backtest.portfolio import result_of
from cryptai_pipelines.backtest.portfolio_days import daily_metrics, day_rows, marked
from cryptai_pipelines.backtest.portfolio_report import PortfolioReport, render_portfolio
from cryptai_pipelines.backtest.review import ReviewInputs, review
from cryptai_pipelines.backtest.symbol_shares import (
    correlations,
    equal_weight,
    profit_by_symbol,
    symbol_table,
    with_entry_volumes,
)
from cryptai_pipelines.market.bars import index_ms
from cryptai_pipelines.market.intervals import Interval

from .conftest import Portfolio, random_portfolio
from .test_report import Page

SEEDS = st.integers(0, 2**32 - 1)


def days(*values: float, start: str = "2024-01-01") -> pd.Series:
    index = pd.date_range(start, periods=len(values), freq="D", tz="UTC", unit="ms", name="day")
    return pd.Series(values, index=index, dtype="float64")


def without_funding(seed: int, bars: int = 120) -> Portfolio:
    return random_portfolio(seed, bars)._replace(funding={})


@given(SEEDS)
def test_what_the_symbols_brought_is_what_the_portfolio_brought(seed: int) -> None:
    portfolio = without_funding(seed)
    result, parameters = portfolio.simulate(), EngineParameters(**portfolio.parameters)
    closes = {symbol: bars["close"] for symbol, bars in portfolio.bars.items()}
    profits = profit_by_symbol(marked(result.trades), closes, parameters.fee_rate)
    marks = result.ledger["cash"] + result.ledger["held"] - parameters.initial_capital
    assert profits.index.equals(marks.index)
    scale = parameters.initial_capital + float(marks.abs().max())
    np.testing.assert_allclose(profits.sum(axis=1), marks, rtol=0, atol=1e-9 * scale)
    for symbol in set(closes) - set(result.trades["symbol"]):
        assert (profits[symbol] == 0).all()


@given(SEEDS, st.lists(st.integers(0, 120), max_size=5))
def test_parts_joined_are_the_whole(seed: int, cuts: list[int]) -> None:
    arrays, rules = random_portfolio(seed, 120).arrays()
    edges = [0, *sorted(cuts)]
    parts = []
    for whole in arrays:
        ends = [*(min(edge, len(whole.ts)) for edge in edges[1:]), len(whole.ts)]
        parts.append(joined([whole.rows(begin, end) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]))
    parameters = EngineParameters(short=True, size=0.5)
    expected, given_parts = (
        result_of(advance_together(start(parameters, rules), kind, with_ledger=True), dict(zip("ABCDEFGH", kind, strict=False)))
        for kind in (arrays, parts)
    )
    assert given_parts.trades_sha256 == expected.trades_sha256
    assert given_parts.equity.equals(expected.equity)


def test_equal_parts_by_hand() -> None:
    """The second symbol comes a day later and goes a day earlier."""
    held = equal_weight({"A": days(10, 20, 20, 40), "B": days(5, 10, start="2024-01-02")})
    assert held.tolist() == [(1 + 1) / 2, (2 + 1) / 2, (2 + 2) / 2, (4 + 2) / 2]


def test_correlations_are_of_what_came_each_day() -> None:
    rng = np.random.default_rng(1)
    moves = rng.normal(size=(60, 2))
    daily = np.column_stack((moves[:, 0], 3 * moves[:, 0], -moves[:, 0], moves[:, 1], np.zeros(60)))
    profits = pd.DataFrame(daily.cumsum(axis=0), columns=list("ABCDE"))
    told = correlations(profits)
    assert told.loc["A", "B"] == pytest.approx(1) and told.loc["A", "C"] == pytest.approx(-1)
    assert told.loc["A", "D"] == pytest.approx(np.corrcoef(moves.T)[0, 1])
    assert told["E"].isna().all()
    assert correlations(profits.iloc[:29]).isna().all(axis=None)
    trades = pd.DataFrame({"symbol": ["A", "A", "D"]})
    table = symbol_table(trades, {name: days(1.0, 2.0) for name in "ABCDE"}, profits)
    assert table.loc["A", "correlation"] == pytest.approx(told.loc["A", ["B", "C", "D"]].mean())
    assert math.isnan(table.loc["E", "correlation"])
    assert table["trades"].to_dict() == {**dict.fromkeys("BCE", 0), "A": 2, "D": 1}
    assert table["profit"].is_monotonic_decreasing and table["profit"].sum() == pytest.approx(daily.sum())


def test_faults_count_for_the_trades_of_their_own_symbol() -> None:
    """The same times of two symbols: filled bars and gaps of one say nothing of the other."""
    at = pd.date_range("2024-01-01", periods=40, freq="D", tz="UTC", unit="ms")
    ones = np.ones(40)
    trades = pd.DataFrame(
        {"symbol": ["A"] * 20 + ["B"] * 20, "entry_ts": at, "exit_ts": at + pd.Timedelta("1h"), "ambiguous": False}
        | {name: ones for name in ("entry_price", "exit_price", "quantity", "fees", "pnl", "return_pct")}
        | {"exit_reason": "signal"}
    )
    equity = pd.Series(np.linspace(1_000, 1_040, 40), index=at)
    inputs = ReviewInputs(equity, trades, 1_000.0, 365.0)
    spans = [Interval(int(ms), int(ms) + 1) for ms in index_ms(at)]
    for symbol, share in (("A", 10 / 40), ("B", 30 / 40 - 20 / 40)):
        given_one = replace(inputs, filled={symbol: at[10:30]}, gaps={symbol: spans[10:30]})
        found = {one.code: one for one in review(given_one)}
        assert found["trades_on_filled_bars"].value == found["trades_across_gaps"].value == share


def report_of(portfolio: Portfolio, **changes: object) -> PortfolioReport:
    result, parameters = portfolio.simulate(), EngineParameters(**portfolio.parameters)
    closes = {symbol: bars["close"].groupby(bars.index.floor("D")).last() for symbol, bars in portfolio.bars.items()}
    benchmark = equal_weight(closes)
    rows, trades = day_rows(result, parameters.initial_capital, benchmark), marked(result.trades)
    profits = profit_by_symbol(trades, closes, parameters.fee_rate)
    exposure = rows[["gross_exposure", "net_exposure"]].set_axis(["gross", "net"], axis=1)
    content = {
        "title": "portfolio",
        "prices": benchmark,
        "equity": rows["total_value"],
        "trades": trades,
        "metrics": daily_metrics(result, parameters.initial_capital),
        "optimistic": daily_metrics(result.optimistic, parameters.initial_capital),
        "parameters": parameters,
        "quality": {},
        "provenance": {},
        "benchmark": rows["benchmark"],
        "full": full_metrics(rows["total_value"], trades, rows["benchmark"], parameters.initial_capital, 365, exposure),
        "exposure": exposure,
        "profits": profits,
        "by_symbol": symbol_table(trades, closes, profits),
        "refused": dict(result.refused),
    }
    return PortfolioReport(**content | changes)


def test_the_page_shows_all_there_is_and_loads_nothing() -> None:
    report = report_of(without_funding(5, 3_000), refused={"max_positions": 8_295, "short": 0}, failures={"X-USDT": "raised"})
    page = Page(render_portfolio(report))
    for wanted in ("X-USDT", "raised", "8,295", "Profit by symbol", "Exposure, gross and net", *report.by_symbol.index):
        assert str(wanted) in page.text
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert {"equity", "drawdown", "exposure", "correlation"} <= ids and "price" not in ids
    for tag, attributes in page.tags:
        assert not {"src", "href", "srcset", "data", "action", "poster"} & set(attributes), (tag, attributes)


def test_the_page_escapes_names_and_errors() -> None:
    attack = "</script><img src=x onerror=alert(1)>"
    plain = report_of(without_funding(5, 800))
    names = dict(zip(plain.by_symbol.index, [attack, *plain.by_symbol.index[1:]], strict=True))
    report = replace(
        plain,
        failures={attack: attack},
        by_symbol=plain.by_symbol.rename(index=names),
        profits=plain.profits.rename(columns=names),
        trades=plain.trades.assign(symbol=attack),
        refused={attack: 1},
    )
    page = Page(render_portfolio(report))
    assert all(tag != "img" for tag, _ in page.tags)
    assert page.text.count(attack) >= 4


def test_volumes_at_entries_are_those_of_the_symbols_own_bars() -> None:
    portfolio = without_funding(5, 400)
    portfolio = portfolio._replace(parameters={"size": 0.2, "short": True}, rules=dict.fromkeys(portfolio.bars, {}))
    arrays, _ = portfolio.arrays()
    trades = portfolio.simulate().trades
    told = with_entry_volumes(trades, dict(zip(portfolio.bars, arrays, strict=True)))["entry_volume"]
    wanted = []
    for trade in trades.itertuples():
        bar = portfolio.bars[trade.symbol].loc[trade.entry_ts]
        wanted.append(bar["volume"] * bar["close"])
    assert trades["symbol"].nunique() > 1 and told.tolist() == pytest.approx(wanted)
