"""Our trades are those of a plain reading of the rules and of two other engines; what differs has a reason that is checked, and
a planted error has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import peer_backtesting, peer_vectorbt, simulate
from cryptai_pipelines.backtest.parity import (
    ELSEWHERE,
    REFUSED,
    WHOLE_UNITS,
    Habits,
    Parity,
    Terms,
    compare,
    shared_bars,
)
from cryptai_pipelines.backtest.parity_exits import ENTRY_BAR, LEFT_OPEN, STOP_FIRST

from .conftest import random_arguments, random_market
from .reference import simulate_slowly
from .test_engine import bars_of, signal_at

PATHS = 10_000
CAPITAL = 1e15
"""So much that a whole unit of the dearest coin is less than 1e-9 of a position."""

FILES = (
    "binance/BTCUSDT_1h",
    "binance/BTCUSDT_5m",
    "binance/ETHUSDT_4h",
    "binance/SOLUSDT_1d",
    "bitfinex_derived/BTCUSD_1h",
    "kraken/BTCUSD_1h",
)
TERMS = (Terms(0.15, 0.08, 0.001, CAPITAL), Terms(0.01, 0.005, 0.001, CAPITAL, size=0.5))
PEERS = (peer_vectorbt, peer_backtesting)
FRACTIONS = peer_backtesting.HABITS._replace(unit=0.0)


def our_trades(bars: pd.DataFrame, entries: pd.Series, terms: Terms) -> pd.DataFrame:
    return simulate(bars, entries, **terms._asdict()).trades


def held_against(peer: ModuleType, bars: pd.DataFrame, entries: pd.Series, terms: Terms) -> Parity:
    bars, entries = shared_bars(bars, entries)
    theirs = peer.trades(bars, entries, terms)
    return compare(bars, entries, our_trades(bars, entries, terms), theirs, terms, peer.HABITS)


def test_equals_the_plain_reference_on_10_000_random_paths() -> None:
    frames, plain = [], []
    for seed in range(PATHS):
        bars, entries = random_market(1_000_000 + seed)
        arguments = random_arguments(seed)
        frames.append(simulate(bars, entries, **arguments).trades.assign(path=seed))
        plain += [trade | {"path": seed} for trade in simulate_slowly(bars, entries, **arguments)[0]]
    ours, wanted = pd.concat(frames, ignore_index=True), pd.DataFrame(plain)
    assert len(ours) == len(wanted) > 3 * PATHS
    for name in ("path", "entry_ts", "exit_ts", "exit_reason", "ambiguous"):
        assert (ours[name] == wanted[name]).all(), name
    for name in ("entry_price", "exit_price", "quantity", "fees"):
        np.testing.assert_allclose(ours[name], wanted[name], rtol=1e-9, atol=1e-12, err_msg=name)
    assert (abs(ours["pnl"] - wanted["pnl"]) <= 1e-9 * ours["quantity"] * ours["entry_price"]).all()


@pytest.mark.parametrize(
    ("peer", "paths", "length", "reasons"),
    [
        (peer_vectorbt, 12, 2_000, {LEFT_OPEN, ENTRY_BAR, STOP_FIRST, ELSEWHERE}),
        (peer_backtesting, 150, 150, {LEFT_OPEN, STOP_FIRST, REFUSED, ELSEWHERE}),
    ],
)
def test_random_paths_leave_nothing_unexplained(peer: ModuleType, paths: int, length: int, reasons: set[str]) -> None:
    """On bars made to be hard: price gaps, coarse ticks, ranges that hold both levels, entries at every density."""
    equal, found = 0, Counter[str]()
    for seed in range(paths):
        arguments = random_arguments(seed) | {"initial_capital": CAPITAL}
        arguments.pop("slippage_bps")
        parity = held_against(peer, *random_market(seed, length), Terms(**arguments))
        assert parity.unexplained == (), (seed, parity.unexplained[:3])
        equal += parity.equal
        found.update(one.reason for one in parity.differences)
    assert equal > 500, equal
    assert {name for reason in found for name in reason.split(" + ")} == reasons


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.NAME)
@pytest.mark.parametrize("name", FILES)
def test_recorded_markets_leave_nothing_unexplained(real_data: Path, name: str, peer: ModuleType) -> None:
    path = real_data / f"{name}.parquet"
    if not path.is_file():
        pytest.skip(f"no recorded series {path}")
    bars = pd.read_parquet(path).set_index("ts")
    entries = pd.Series(np.random.default_rng(5).random(len(bars)) < 0.05, index=bars.index)
    for terms in TERMS:
        parity = held_against(peer, bars, entries, terms)
        assert parity.unexplained == (), parity.unexplained[:3]
        assert parity.equal > 0 and parity.equal + len(parity.differences) >= max(parity.ours, parity.peers)


def calm_market() -> tuple[pd.DataFrame, pd.Series]:
    """Bars without gaps, in none of which a level of `CALM` is touched at entry, nor both."""
    rng = np.random.default_rng(11)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.004, 6_000)))
    opened = np.concatenate(([100.0], close[:-1]))
    index = pd.date_range("2024-01-01", periods=6_000, freq="h", tz="UTC", unit="ms", name="ts")
    prices = {"open": opened, "high": np.maximum(opened, close), "low": np.minimum(opened, close), "close": close}
    return pd.DataFrame({**prices, "volume": 1.0}, index=index), pd.Series(rng.random(6_000) < 0.1, index=index)


CALM = Terms(0.03, 0.02, 0.001, CAPITAL)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.NAME)
def test_where_no_rule_differs_quantities_and_profits_are_equal_too(peer: ModuleType) -> None:
    bars, entries = calm_market()
    ours, theirs = our_trades(bars, entries, CALM), peer.trades(bars, entries, CALM)
    closed = ours["exit_reason"] != "end"
    assert len(ours) == len(theirs) and closed.sum() > 50
    for name in ("entry_price", "exit_price", "quantity"):
        np.testing.assert_allclose(ours[name][closed], theirs[name][closed], rtol=1e-9)
    assert (abs(ours["pnl"] - theirs["pnl"]) <= 1e-9 * ours["quantity"] * ours["entry_price"])[closed].all()


FLAT = (100.0, 100.0, 100.0, 100.0)
FREE = Terms(0.15, 0.08, 0.0, CAPITAL)


def reasons_of(peer: ModuleType, *rows: tuple[float, float, float, float], signals: tuple[int, ...] = (0,)) -> list[str]:
    bars = bars_of(*rows)
    return [one.reason for one in held_against(peer, bars, signal_at(bars, *signals), FREE).differences]


def test_each_reason_by_hand() -> None:
    """The worked examples of docs/engine-parity.md."""
    beyond_and_back = (FLAT, FLAT, (120.0, 121.0, 90.0, 95.0), FLAT)
    assert reasons_of(peer_vectorbt, *beyond_and_back) == [STOP_FIRST]
    assert reasons_of(peer_backtesting, *beyond_and_back) == [STOP_FIRST]

    touched_at_entry = (FLAT, (100.0, 101.0, 90.0, 95.0), (95.0, 96.0, 91.0, 95.0), FLAT)
    assert reasons_of(peer_vectorbt, *touched_at_entry) == [ENTRY_BAR]
    assert reasons_of(peer_backtesting, *touched_at_entry) == []

    never_touched = (FLAT, FLAT, FLAT)
    assert reasons_of(peer_vectorbt, *never_touched) == reasons_of(peer_backtesting, *never_touched) == [LEFT_OPEN]

    far_open = (FLAT, (110.0, 110.0, 110.0, 110.0), (110.0, 130.0, 110.0, 120.0), FLAT)
    assert reasons_of(peer_backtesting, *far_open) == [REFUSED]
    assert reasons_of(peer_vectorbt, *far_open) == []

    # vectorbt holds on where the stop was touched at entry, and so passes over the second signal.
    held_on = (FLAT, (100.0, 101.0, 90.0, 95.0), (95.0, 96.0, 94.0, 95.0), (95.0, 120.0, 95.0, 118.0), FLAT)
    assert reasons_of(peer_vectorbt, *held_on, signals=(0, 1)) == [ENTRY_BAR, ELSEWHERE]


def test_whole_units_are_a_reason_where_they_show() -> None:
    bars = bars_of(FLAT, FLAT, (100.0, 120.0, 100.0, 118.0), FLAT)
    parity = held_against(peer_backtesting, bars, signal_at(bars, 0), Terms(0.15, 0.08, 0.0, 1_050.0))
    assert [one.reason for one in parity.differences] == [WHOLE_UNITS]
    assert held_against(peer_backtesting, bars, signal_at(bars, 0), Terms(0.15, 0.08, 0.0, CAPITAL)).equal == 1


def _set(name: str, by: Callable[[object], object]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def changed(trades: pd.DataFrame) -> pd.DataFrame:
        trades = trades.copy()
        trades.loc[WRONG, name] = by(trades.loc[WRONG, name])
        return trades

    return changed


WRONG = 7
"""Which trade of the planted errors is the wrong one: it is held over several bars."""

ERRORS = {
    "a price of exit that is off": _set("exit_price", lambda price: price * 1.0001),
    "a price of entry that is off": _set("entry_price", lambda price: price * 1.0001),
    "an exit a bar late": _set("exit_ts", lambda ts: ts + pd.Timedelta("1h")),
    "an entry a bar late": _set("entry_ts", lambda ts: ts + pd.Timedelta("1h")),
    "a fee that was not taken": _set("pnl", lambda pnl: pnl + 0.001 * CAPITAL),
    "a larger position": _set("quantity", lambda quantity: quantity * 1.01),
    "a trade that is missing": lambda trades: trades.drop(index=WRONG).reset_index(drop=True),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("habits", [Habits(), peer_vectorbt.HABITS, FRACTIONS], ids=["none", "vbt", "bt"])
def test_a_planted_error_is_never_explained(error: str, habits: Habits) -> None:
    """The trades of the shared rules with one error in them, on the peer's side and then on ours."""
    bars, entries = calm_market()
    ours = our_trades(bars, entries, CALM)
    assert compare(bars, entries, ours, ours, CALM, habits).differences == ()
    wrong = ERRORS[error](ours)
    for mine, theirs in ((ours, wrong), (wrong, ours)):
        assert compare(bars, entries, mine, theirs, CALM, habits).unexplained


def test_an_entry_that_neither_side_made_is_found() -> None:
    bars, entries = calm_market()
    ours = our_trades(bars, entries, CALM)
    short = ERRORS["a trade that is missing"](ours)
    parity = compare(bars, entries, short, short, CALM, peer_vectorbt.HABITS)
    first = parity.unexplained[0]
    assert (first.entry_ts, first.ours, first.peers) == (ours["entry_ts"][WRONG], "", "")


def test_a_part_of_a_unit_is_no_whole_one() -> None:
    bars, entries = calm_market()
    ours = our_trades(bars, entries, CALM)
    assert compare(bars, entries, ours, ours, CALM, FRACTIONS._replace(unit=1.0)).unexplained
