"""Many symbols with every option: the engine against the readable one, and what holds for every market."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cryptai_pipelines.backtest import EngineParameters, simulate, simulate_portfolio
from cryptai_pipelines.backtest.engine import EngineState, advance_together, start
from cryptai_pipelines.backtest.kernel import Carried, Written, run_bars
from cryptai_pipelines.backtest.market_arrays import laid_out
from cryptai_pipelines.backtest.parameters import rules_records
from cryptai_pipelines.backtest.records import ExitReason, Refusal

from .conftest import Portfolio, random_arguments, random_market, random_portfolio
from .portfolio_reference import simulate_portfolio_slowly

SEEDS = st.integers(0, 2**32 - 1)

# Random portfolios; 10,000 of them take a good quarter of an hour.
PATHS = int(os.environ.get("CRYPTAI_TEST_PATHS", "200"))


def slowly(portfolio: Portfolio, both_means: str) -> tuple[list[dict], list[float], dict[str, int]]:
    funding = {symbol: dict(rates) for symbol, rates in portfolio.funding.items()}
    given = portfolio._replace(funding=funding)
    return simulate_portfolio_slowly(
        given.bars, given.decisions, given.parameters, given.rules, given.funding, given.finer, both_means
    )


def assert_same_trades(frame: pd.DataFrame, expected: list[dict]) -> None:
    assert len(frame) == len(expected)
    wanted = pd.DataFrame(expected, columns=frame.columns)
    for name in ("symbol", "side", "entry_ts", "exit_ts", "exit_reason", "ambiguous"):
        assert frame[name].tolist() == wanted[name].tolist(), name
    notional = (frame["quantity"] * frame["entry_price"]).to_numpy()
    for name in ("entry_price", "exit_price", "quantity", "max_adverse", "max_favourable", "return_pct"):
        np.testing.assert_allclose(frame[name], wanted[name].astype(float), rtol=1e-9, atol=1e-9, err_msg=name)
    for name in ("fees", "funding", "slippage_cost", "pnl"):
        assert (abs(frame[name] - wanted[name].astype(float)) <= 1e-9 * notional).all(), name


def test_equals_the_readable_engine_on_random_portfolios():
    reasons, refused = dict.fromkeys((r.code for r in ExitReason), 0), dict.fromkeys((r.code for r in Refusal), 0)
    for seed in range(PATHS):
        portfolio = random_portfolio(seed)
        result = portfolio.simulate()
        for book, meant in ((result, "stop"), (result.optimistic, "gain")):
            trades, equity, not_entered = slowly(portfolio, meant)
            assert_same_trades(book.trades, trades)
            ledger = book.ledger
            np.testing.assert_allclose(ledger["cash"] + ledger["held"], equity, rtol=1e-9, atol=1e-9)
            assert {name: count for name, count in book.refused.items() if count} == not_entered
        for reason in result.trades["exit_reason"]:
            reasons[reason] += 1
        for name, count in result.refused.items():
            refused[name] += count
    assert min(reasons.values()) > PATHS / 60, f"the markets no longer reach every kind of exit: {reasons}"
    del refused["volume"]  # takes more capital than a market has, which is seldom
    assert min(refused.values()) > 0, f"nor every kind of refusal: {refused}"


@given(SEEDS, st.lists(st.integers(0, 90), max_size=5))
def test_any_split_of_the_time_gives_the_same_bits(seed, cuts):
    portfolio = random_portfolio(seed, 60)
    arrays, rules = portfolio.arrays()
    parameters = EngineParameters(**portfolio.parameters)
    whole = advance_together(start(parameters, rules), arrays, with_ledger=True)
    state, steps = start(parameters, rules), []
    edges = np.unique(np.concatenate([part.ts for part in arrays]))
    for begin, end in itertools.pairwise([0, *sorted(min(cut, len(edges)) for cut in cuts), len(edges)]):
        if begin < end:
            parts = [part.rows(*np.searchsorted(part.ts, (edges[begin], edges[end - 1] + 1))) for part in arrays]
            steps.append(advance_together(EngineState.from_bytes(state.to_bytes()), parts, with_ledger=True))
            state = steps[-1].state
    assert state.to_bytes() == whole.state.to_bytes()
    for name in ("trades", "equity", "ledger", "optimistic_trades", "optimistic_equity", "optimistic_ledger"):
        joined = np.concatenate([getattr(step, name) for step in steps])
        assert joined.tobytes() == getattr(whole, name).tobytes(), name


@pytest.mark.parametrize("seed", range(12))
def test_runs_uncompiled_with_the_same_bits(seed):
    portfolio = random_portfolio(seed, 80)
    arrays, rules = portfolio.arrays()
    state = start(EngineParameters(**portfolio.parameters), rules)
    compiled = advance_together(state, arrays, with_ledger=True)
    market = laid_out(arrays)
    for number, trades, equity, ledger in (
        (0, compiled.trades, compiled.equity, compiled.ledger),
        (1, compiled.optimistic_trades, compiled.optimistic_equity, compiled.optimistic_ledger),
    ):
        carried = Carried(state.books[:1].copy(), state.positions[0].copy(), state.refused[0].copy())
        judged = np.zeros(len(market.ts), np.int8)
        written = Written(
            np.empty_like(equity), np.empty_like(ledger), np.zeros(5000, trades.dtype), np.zeros(2, np.int64), judged
        )
        run_bars(market, number == 1, state.parameters.record(), rules_records(rules), carried, written)
        assert written.trades[: written.tally[0]].tobytes() == trades.tobytes()
        assert written.equity.tobytes() == equity.tobytes()
        assert written.ledger.tobytes() == ledger.tobytes()
        assert carried.books.tobytes() == compiled.state.books[number : number + 1].tobytes()


@given(SEEDS)
def test_every_bar_adds_up(seed):
    portfolio = random_portfolio(seed, 60)
    capital = portfolio.parameters["initial_capital"]
    result = portfolio.simulate()
    for book in (result, result.optimistic):
        ledger = book.ledger
        equity = ledger["cash"] + ledger["held"]
        scale = np.maximum(capital, np.maximum.accumulate(ledger["gross"] + abs(equity)))
        told = ledger["balance"] + ledger["unrealised"] - ledger["open_costs"]
        assert (abs(equity - told) <= 1e-9 * scale).all()
        assert (abs(book.equity - equity) <= 1e-9 * scale).iloc[:-1].all()
        # Only funding, and what a short or a price of next to nothing loses beyond its margin, is ever owed.
        owing = portfolio.funding or (book.trades["side"] < 0).any()
        assert owing or (ledger["cash"] >= -1e-9 * scale).all()
        assert abs(book.equity.iloc[-1] - capital - book.trades["pnl"].sum()) <= 1e-9 * scale.iloc[-1]
        trades = book.trades
        gross = trades["side"] * trades["quantity"] * (trades["exit_price"] - trades["entry_price"])
        left = trades["pnl"] - (gross - trades["fees"] + trades["funding"])
        assert (abs(left) <= 1e-9 * trades["quantity"] * trades["entry_price"]).all()
        np.testing.assert_allclose(book.exposure["gross"] * equity, ledger["gross"].where(equity > 0), rtol=1e-9)


@given(SEEDS, st.integers(2, 59))
def test_nothing_that_comes_later_changes_what_was_known(seed, known):
    portfolio = random_portfolio(seed, 60)
    clock = portfolio.clock()
    last = clock[min(known, len(clock) - 1)]
    cut = {name: {s: f[f.index <= last] for s, f in getattr(portfolio, name).items()} for name in ("bars", "decisions")}
    until = last + pd.Timedelta("1h") - pd.Timedelta("1ms")
    cut["finer"] = {symbol: frame[frame.index <= until] for symbol, frame in portfolio.finer.items()}
    whole, prefix = portfolio.simulate(), portfolio._replace(**cut).simulate()
    assume(portfolio.same_steps(cut["bars"], cut["finer"]))
    settled = whole.trades[(whole.trades["exit_ts"] <= last) & (whole.trades["exit_reason"] != "end")]
    pd.testing.assert_frame_equal(prefix.trades[prefix.trades["exit_reason"] != "end"], settled)
    assert prefix.equity.iloc[:-1].equals(whole.equity[whole.equity.index < last])


@given(SEEDS)
def test_one_symbol_without_options_is_what_simulate_says(seed):
    """The loop of many symbols and the shorter way of one give the same bits."""
    bars, entries = random_market(seed, 120)
    arguments = random_arguments(seed)
    alone = simulate(bars, entries, **arguments)
    decisions = pd.DataFrame({"side": entries.astype("int8")})
    idle = decisions.assign(side=np.int8(0))
    parameters = EngineParameters(**arguments)
    for symbols in ({"A": decisions}, {"A": decisions, "B": idle}):
        result = simulate_portfolio(dict.fromkeys(symbols, bars), symbols, parameters)
        pd.testing.assert_frame_equal(result.trades[alone.trades.columns], alone.trades)
        assert result.equity.tolist() == alone.equity.tolist()
        compared = [name for name in alone.metrics if name != "buy_and_hold_return"]
        assert [result.metrics[name] for name in compared] == pytest.approx([alone.metrics[n] for n in compared], nan_ok=True)


def test_finer_bars_resolve_part_of_what_is_ambiguous():
    before, after = 0, 0
    for seed in range(60):
        portfolio = random_portfolio(seed, 60).with_one_symbol()
        if portfolio.finer:
            after += portfolio.simulate().metrics["ambiguous_count"]
            before += portfolio._replace(finer={}).simulate().metrics["ambiguous_count"]
    assert before > 50 and after < 0.8 * before


@given(SEEDS)
def test_finer_bars_stay_between_the_books_of_a_single_trade(seed):
    portfolio = random_portfolio(seed, 60).with_first_signal_only()
    options = {"volume_share": np.inf}
    resolved = portfolio.simulate(**options)
    bounds = portfolio._replace(finer={}).simulate(**options)
    books = (bounds, resolved, resolved.optimistic, bounds.optimistic)
    values = [book.metrics["final_equity"] for book in books]
    tolerance = 1e-9 * portfolio.parameters["initial_capital"]
    assert all(low <= high + tolerance for low, high in itertools.pairwise(values))
    assert resolved.trades["ambiguous"].sum() <= bounds.trades["ambiguous"].sum()


@given(SEEDS, st.floats(0, 0.02), st.floats(0, 100), st.floats(0, 0.2))
def test_higher_costs_never_help(seed, fee, bps, range_share):
    """Nor do they move a trade. The impact is left out: who lost more trades less, and less of it."""
    portfolio = random_portfolio(seed, 60).with_one_symbol()
    same = {"sizing": "fraction", "volume_share": np.inf, "volume_impact": 0.0, "stop_loss": 0.08, "maker_fee_rate": None}
    base = {name: portfolio.parameters[name] for name in ("fee_rate", "slippage_bps", "slippage_range_share")}
    more = dict(zip(base, (fee, bps, range_share), strict=True))
    cheap = portfolio.simulate(**same)
    dear = portfolio.simulate(**same, **{name: value + more[name] for name, value in base.items()})
    assume(cheap.equity.min() > 0 and dear.equity.min() > 0)
    assert dear.equity.iloc[-1] <= cheap.equity.iloc[-1] + 1e-9 * portfolio.parameters["initial_capital"]
    for name in ("entry_ts", "exit_ts", "exit_reason", "ambiguous"):
        assert dear.trades[name].equals(cheap.trades[name]), f"costs moved {name}"
    np.testing.assert_array_less(dear.trades["return_pct"], cheap.trades["return_pct"] + 1e-9)
