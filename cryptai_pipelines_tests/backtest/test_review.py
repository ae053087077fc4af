"""Every rule of the review complains of a backtest in which its fault was planted, and of none that is clean."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.backtest import simulate
from cryptai_pipelines.backtest.review import RULES, Finding, ReviewInputs, review
from cryptai_pipelines.market.intervals import Interval

from .conftest import random_market

CAPITAL, DAYS, TRADES = 10_000.0, 1_461, 240
INDEX = pd.date_range("2020-01-01", periods=DAYS, freq="D", tz="UTC", unit="ms")
MONTHS = (INDEX.year * 12 + INDEX.month - INDEX.year[0] * 12 - 1).to_numpy()


def clean_trades() -> pd.DataFrame:
    """A trade of two days every six, of a tenth of the capital: of three two win 90, one loses 110, after costs of 5."""
    entry = INDEX[np.arange(TRADES) * 6]
    pnl = np.where(np.arange(TRADES) % 3 == 2, -110.0, 90.0)
    return pd.DataFrame(
        {
            "symbol": np.array(["BTC-USDT", "ETH-USDT"])[np.arange(TRADES) // 3 % 2],
            "side": 1,
            "entry_ts": entry,
            "entry_price": 100.0,
            "exit_ts": entry + pd.Timedelta("2D"),
            "exit_price": 100.0 + pnl / 10,
            "exit_reason": np.where(pnl > 0, "take_profit", "stop_loss"),
            "quantity": 10.0,
            "fees": 4.0,
            "funding": 0.0,
            "slippage_cost": 1.0,
            "pnl": pnl,
            "return_pct": pnl / 1_000,
            "ambiguous": False,
            "entry_volume": 1e7,
        }
    )


def equity_of(trades: pd.DataFrame) -> pd.Series:
    """The capital and what was realised by the end of each day."""
    realised = trades.groupby("exit_ts")["pnl"].sum().reindex(INDEX, fill_value=0.0).cumsum()
    return CAPITAL + realised.rename_axis("ts")


def clean_market() -> pd.Series:
    """Rises, falls and rests by turns of three months, calm and wild by turns of one."""
    drift = np.array([0.003, -0.003, 0.0])[MONTHS // 3 % 3]
    unrest = np.where(MONTHS % 2, 0.004, 0.001) * np.where(np.arange(DAYS) % 2, 1, -1)
    return pd.Series(20_000 * np.exp(np.cumsum(drift + unrest)), index=INDEX)


def clean() -> ReviewInputs:
    trades = clean_trades()
    gates = pd.DataFrame({"passed": [400, 30], "rejected": [600, 970], "unknown": [10, 10]}, index=["trend", "rsi"])
    return ReviewInputs(
        equity=equity_of(trades),
        trades=trades,
        initial_capital=CAPITAL,
        periods_per_year=365.0,
        benchmark=clean_market(),
        optimistic_return=0.7,
        gates=gates,
        filled=INDEX[[3, 9]],
        gaps=[Interval(0, 1)],
        grid={"stop_loss": (0.05, [0.02, 0.05, 0.08]), "size": (1.0, [1.0])},
        risk_reward=np.array([1.5, 1.8, np.nan]),
        trained_until=INDEX[0] - pd.Timedelta("1h"),
        universe_chosen_at=INDEX[0] - pd.Timedelta("1D"),
        trial_sharpes=np.array([0.05, 0.06, 0.055]),
    )


def with_trades(inputs: ReviewInputs, trades: pd.DataFrame) -> ReviewInputs:
    return replace(inputs, trades=trades, equity=equity_of(trades))


def with_pnl(inputs: ReviewInputs, pnl: np.ndarray) -> ReviewInputs:
    return with_trades(inputs, inputs.trades.assign(pnl=pnl))


def in_one_kind(inputs: ReviewInputs, kind: Callable[[np.ndarray], np.ndarray]) -> ReviewInputs:
    """Gains in the months that `kind` selects, a little lost in all others."""
    months = MONTHS[np.arange(TRADES) * 6 + 2]
    return with_pnl(inputs, np.where(kind(months), 60.0, -2.0))


def lucky(inputs: ReviewInputs, count: int, amount: float) -> ReviewInputs:
    """Trades that lose a little on the whole, but for the last `count`."""
    pnl = np.where(np.arange(TRADES) % 2, 50.0, -51.0)
    pnl[-count:] = amount
    return with_pnl(inputs, pnl)


def gates_with(inputs: ReviewInputs, passed: int, rejected: int, unknown: int) -> ReviewInputs:
    new = pd.DataFrame({"passed": [passed], "rejected": [rejected], "unknown": [unknown]}, index=["candle"])
    return replace(inputs, gates=pd.concat([inputs.gates, new]))


def rising(inputs: ReviewInputs, step: float, noise: float) -> ReviewInputs:
    moves = step + np.random.default_rng(0).normal(0, noise, DAYS)
    return replace(inputs, equity=pd.Series(CAPITAL * np.cumprod(1 + moves), index=INDEX))


PLANTED: dict[str, Callable[[ReviewInputs], ReviewInputs]] = {
    "few_trades": lambda one: with_trades(one, one.trades.iloc[:29]),
    "one_trade_makes_profit": lambda one: lucky(one, 1, 5_000.0),
    "top_trades_make_profit": lambda one: lucky(one, 12, 100.0),
    "one_symbol_makes_profit": lambda one: with_pnl(one, np.where(one.trades["symbol"] == "BTC-USDT", 40.0, -1.0)),
    "costs_eat_edge": lambda one: replace(one, trades=one.trades.assign(fees=20.0, slippage_cost=10.0, funding=-5.0)),
    "no_costs": lambda one: replace(one, trades=one.trades.assign(fees=0.0, slippage_cost=0.0)),
    "ambiguous_trades": lambda one: replace(one, trades=one.trades.assign(ambiguous=np.arange(TRADES) % 20 == 0)),
    "exits_within_entry_bar": lambda one: replace(one, trades=one.trades.assign(exit_ts=one.trades["entry_ts"])),
    "same_bar_order_decides": lambda one: with_pnl(one, -one.trades["pnl"].to_numpy()),
    "trades_on_filled_bars": lambda one: replace(one, filled=INDEX[::60] + pd.Timedelta("1D")),
    "trades_across_gaps": lambda one: replace(one, gaps=[Interval(*(t.value // 10**6 for t in INDEX[[10, 300]]))]),
    "profit_at_the_end": lambda one: with_trades(
        lucky(one, 1, 5_000.0), lucky(one, 1, 5_000.0).trades.assign(exit_reason=["stop_loss"] * (TRADES - 1) + ["end"])
    ),
    "win_rate_too_good": lambda one: with_pnl(one, np.where(np.arange(TRADES) % 40 == 0, -110.0, 90.0)),
    "too_large_for_the_market": lambda one: replace(one, trades=one.trades.assign(entry_volume=50_000.0)),
    "ruin": lambda one: replace(one, equity=one.equity.where(one.equity.index != INDEX[700], 0.0)),
    "deep_drawdown": lambda one: replace(one, equity=one.equity.where(one.equity.index != INDEX[700], 5_000.0)),
    "flat_equity": lambda one: with_trades(one, one.trades.iloc[:100]),
    "halves_disagree": lambda one: with_pnl(one, np.where(np.arange(TRADES) < TRADES // 2, 90.0, -20.0)),
    "worse_than_buy_and_hold": lambda one: replace(one, benchmark=one.benchmark * np.linspace(1, 5, DAYS)),
    "regime_concentration": lambda one: in_one_kind(one, lambda months: months // 3 % 3 == 0),
    "unrest_concentration": lambda one: in_one_kind(one, lambda months: months % 2 == 1),
    "short_sample": lambda one: rising(one, 0.0005, 0.02),
    "luck_of_trials": lambda one: replace(one, trial_sharpes=np.random.default_rng(0).normal(0, 0.1, 2_000)),
    "sharpe_too_good": lambda one: rising(one, 0.003, 0.005),
    "gate_never_rejects": lambda one: gates_with(one, 1_000, 0, 10),
    "gate_always_rejects": lambda one: gates_with(one, 0, 1_000, 10),
    "gate_seldom_known": lambda one: gates_with(one, 5, 5, 1_000),
    "constant_risk_reward": lambda one: replace(one, risk_reward=np.full(50, 1.875)),
    "parameter_on_edge": lambda one: replace(one, grid={"stop_loss": (0.08, [0.02, 0.05, 0.08])}),
    "in_sample": lambda one: replace(one, trained_until=INDEX[0]),
    "symbols_chosen_afterwards": lambda one: replace(one, universe_chosen_at=INDEX[-1]),
}


def found(inputs: ReviewInputs) -> dict[str, Finding]:
    return {finding.code: finding for finding in review(inputs)}


def test_every_rule_has_a_planted_case_and_gives_its_own_name():
    assert [finding.code for finding in review(clean())] == [rule.__name__ for rule in RULES] == list(PLANTED)
    assert len(RULES) >= 15


def test_a_clean_backtest_is_judged_by_every_rule_and_blamed_for_nothing():
    for finding in review(clean()):
        assert not finding.holds, finding
        assert math.isfinite(finding.value) and math.isfinite(finding.threshold), finding


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_fault_is_found(code):
    planted = found(PLANTED[code](clean()))
    assert planted[code].holds and planted[code].severity in ("warn", "error"), planted[code]
    assert any(letter.isdigit() for letter in planted[code].sentence) or code in ("no_costs", "gate_always_rejects")
    blamed = {other for other, finding in planted.items() if finding.holds}
    assert len(blamed) <= len(RULES) / 3, blamed


def test_every_rule_is_documented_with_its_severity():
    page = (Path(__file__).resolve().parents[2] / "docs" / "review.md").read_text()
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `")]
    assert [(row[0].strip("`"), row[1]) for row in rows] == [(finding.code, finding.severity) for finding in review(clean())]


@pytest.mark.parametrize("days", [0, 1, 2])
def test_next_to_nothing_is_reviewed(days):
    nothing = simulate(*random_market(0, 0)).trades
    equity = pd.Series(CAPITAL, index=INDEX[:days])
    findings = found(ReviewInputs(equity, nothing, CAPITAL, 365.0))
    assert findings["few_trades"].holds and not findings["win_rate_too_good"].holds
    assert all(finding.sentence.endswith(".") for finding in findings.values())
    everything = replace(clean(), equity=equity, trades=nothing, benchmark=clean_market().iloc[:days])
    assert len(review(everything)) == len(RULES)


def test_after_ruin_nothing_divides_by_zero():
    lost = clean().equity.where(lambda equity: equity.index < INDEX[500], 0.0)
    lost.iloc[-1] = 2 * CAPITAL
    assert found(replace(clean(), equity=lost))["ruin"].holds


def test_what_was_not_given_is_not_judged():
    bare = clean()
    findings = found(ReviewInputs(bare.equity, bare.trades, CAPITAL, 365.0))
    unknown = {code for code, finding in findings.items() if finding.sentence.startswith("Not judged")}
    assert unknown == {
        *("same_bar_order_decides", "trades_on_filled_bars", "trades_across_gaps", "worse_than_buy_and_hold"),
        *("regime_concentration", "unrest_concentration", "luck_of_trials", "gate_never_rejects", "gate_always_rejects"),
        *("gate_seldom_known", "constant_risk_reward", "parameter_on_edge", "in_sample", "symbols_chosen_afterwards"),
    }
    assert not any(findings[code].holds for code in unknown)
    assert all(math.isnan(findings[code].value) for code in unknown)


def test_a_real_run_is_reviewed():
    bars, entries = random_market(5, 3_000)
    result = simulate(bars, entries, take_profit=0.02, stop_loss=0.02, fee_rate=0.002)
    inputs = ReviewInputs(result.equity, result.trades, 10_000.0, result.metrics["periods_per_year"], bars["close"])
    findings = found(replace(inputs, filled=bars.index[bars["is_filled"]], optimistic_return=result.optimistic["total_return"]))
    assert findings["ambiguous_trades"].value == pytest.approx(result.metrics["ambiguous_share"])
    held = [(bars["is_filled"].loc[t.entry_ts : t.exit_ts]).any() for t in result.trades.itertuples()]
    assert findings["trades_on_filled_bars"].value == pytest.approx(np.mean(held))
