"""Our trades beside those of another engine, trade by trade, and a checked reason for each that differs. Pure: how an engine is
called stands in `peer_vectorbt` and `peer_backtesting`, what a rule makes of one position in `parity_exits`.

A reason is never a tolerance. A position that ends otherwise is explained when the rules in which the peer is known to differ
give the peer's own bar and price; a trade of one side alone when the other was in a position that differs, or refuses such an
order by a rule that can be checked. What no rule reproduces is `UNEXPLAINED`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.parity_exits import ENTRY_BAR, LEFT_OPEN, STOP_FIRST, Exit, Market, exit_of
from cryptai_pipelines.market.bars import index_ms

REFUSED = "levels_not_around_the_last_close"
WHOLE_UNITS = "whole_units"
ELSEWHERE = "in_another_position"
UNEXPLAINED = "unexplained"

REASONS = {
    ENTRY_BAR: "the peer does not look at the bar of entry, in which a level is touched",
    STOP_FIRST: "a bar opens beyond the target and falls to the stop: here the open fills the target, the peer takes the stop",
    LEFT_OPEN: "a position that is open at the last bar is closed at its close here, the peer leaves it open",
    REFUSED: "the next open is so far from the last close that one of the levels lies between: the peer takes no such order",
    WHOLE_UNITS: "the peer buys whole units only",
    ELSEWHERE: "one side passes over the signal, because it is in a position that differs from the other's",
}
"""What a difference can come from, in words. One that takes two of them together is told as `A + B`."""

PEER_COLUMNS = ("entry_ts", "exit_ts", "entry_price", "exit_price", "quantity", "pnl")
"""Trades of a peer, in order of entry: times of bars as in `records.trades_frame`, pnl after the fees of both sides; exit_ts is
NaT, exit_price and pnl NaN for a position that is left open."""

_TOLERANCE = 1e-9


class Terms(NamedTuple):
    """What both sides are told, as `simulate` takes it."""

    take_profit: float
    stop_loss: float
    fee_rate: float
    initial_capital: float
    size: float = 1.0


class Habits(NamedTuple):
    """In which rules a peer is known to differ: of `REASONS` those about its exits and orders. `unit`: of what size its
    quantities are multiples; 0 for any quantity."""

    differs: tuple[str, ...] = ()
    unit: float = 0.0


class Difference(NamedTuple):
    """A trade that is not the same on both sides. `ours`, `peers`: `exit_ts exit_price` of it, empty where there is none."""

    entry_ts: pd.Timestamp
    reason: str
    ours: str
    peers: str


@dataclass(frozen=True)
class Parity:
    """`ours`, `peers`: the trades that each side made. `equal`: those on both sides with the same bars, prices, return after
    fees, and share of the equity put in, to 1e-9; as long as nothing differs before them their quantities are the same, too.
    `differences`: all others, in order of entry."""

    ours: int
    peers: int
    equal: int
    differences: tuple[Difference, ...]

    @property
    def explained(self) -> dict[str, int]:
        """How many differences each reason explains, the most frequent first."""
        return dict(Counter(one.reason for one in self.differences if one.reason != UNEXPLAINED).most_common())

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        """What no rule reproduces. There must be none."""
        return tuple(one for one in self.differences if one.reason == UNEXPLAINED)


def shared_bars(bars: pd.DataFrame, entries: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """The bars that every engine can trade on, and their entries. Peers know neither filled bars nor such without volume, on
    which nothing is filled here."""
    tradable = bars["volume"].to_numpy() > 0
    if "is_filled" in bars:
        tradable &= ~bars["is_filled"].to_numpy(dtype=bool)
    return bars[tradable], entries[tradable]


def compare(
    bars: pd.DataFrame, entries: pd.Series, ours: pd.DataFrame, peers: pd.DataFrame, terms: Terms, habits: Habits
) -> Parity:
    """Every trade of either side held against the other side and against the rules. An entry that a side should have made and
    did not is a difference, too, also when neither made it.

    bars, entries: what both sides were given, all of it tradable (`shared_bars`). ours: trades of `simulate` without slippage.
    peers: `PEER_COLUMNS`, one position at a time.
    """
    market = Market.of(bars, entries)
    own, other = _Side(ours, bars, market, terms, Habits()), _Side(peers, bars, market, terms, habits)
    equal, found = 0, []
    for row in sorted({*own.number, *other.number, *own.passed_over(), *other.passed_over()}):
        reason = _reason(row, own, other)
        equal += reason is None
        if reason is not None:
            found.append(Difference(bars.index[row], reason, own.told(row, bars), other.told(row, bars)))
    return Parity(len(ours), len(peers), equal, tuple(found))


def _reason(row: int, own: _Side, other: _Side) -> str | None:
    """Why the trade entered at `row` is not the same on both sides; None when it is."""
    mine, theirs = own.rules_of(row), other.rules_of(row)
    if UNEXPLAINED in (mine, theirs) or mine is None and theirs is None:
        return UNEXPLAINED
    if theirs is None:
        return ELSEWHERE if other.held_at(row - 1) else REFUSED if other.refuses(row) else UNEXPLAINED
    if mine is None:
        return ELSEWHERE if own.held_at(row - 1) else UNEXPLAINED
    if own.exit_at(row) != other.exit_at(row):
        return theirs or UNEXPLAINED
    if _near(own.share(row), other.share(row)):
        return None
    return WHOLE_UNITS if other.habits.unit else UNEXPLAINED


class _Side:
    """The trades of one side by the row of their entry, and whether they follow the rules of that side."""

    def __init__(self, trades: pd.DataFrame, bars: pd.DataFrame, market: Market, terms: Terms, habits: Habits) -> None:
        opens = index_ms(bars.index)
        left_open = trades["exit_ts"].isna().to_numpy()
        self.market, self.terms, self.habits = market, terms, habits
        self.entry = np.searchsorted(opens, _ms(trades["entry_ts"]))
        self.exit = np.where(left_open, len(opens), np.searchsorted(opens, _ms(trades["exit_ts"].fillna(bars.index[-1]))))
        columns = ("entry_price", "exit_price", "quantity", "pnl")
        self.entry_price, self.exit_price, self.quantity, self.pnl = (trades[name].to_numpy("float64") for name in columns)
        # Added up in this order, and not as one sum, an account that was nearly lost keeps its digits.
        self.cash = np.cumsum(np.concatenate(([terms.initial_capital], self.pnl)))[: len(trades)]
        self.number = {row: number for number, row in enumerate(self.entry.tolist())}

    def held_at(self, row: int) -> bool:
        """Is a position open at the close of `row`?"""
        before = int(np.searchsorted(self.entry, row, side="right")) - 1
        return before >= 0 and int(self.exit[before]) > row

    def passed_over(self) -> list[int]:
        """The rows at whose open a trade should have been entered and was not."""
        opened, closed = np.zeros(len(self.market.asked) + 1, "int64"), np.zeros(len(self.market.asked) + 1, "int64")
        np.add.at(opened, self.entry, 1)
        np.add.at(closed, self.exit, 1)
        flat = np.cumsum(opened - closed)[:-1] == 0
        rows = 1 + np.flatnonzero(self.market.asked[:-1] & flat[:-1])
        return [row for row in rows.tolist() if row not in self.number and not self.refuses(row)]

    def refuses(self, row: int) -> bool:
        """Is an order for the open of `row` one that this side takes none of?"""
        stop, target = self._levels(row)
        return REFUSED in self.habits.differs and not stop < self.market.close[row - 1] < target

    def exit_at(self, row: int) -> Exit:
        """Where the trade entered at `row` ends by the rules of this side that it follows."""
        return exit_of(self.market, row, *self._levels(row), self._followed(row) or ())

    def share(self, row: int) -> float:
        """Of the equity put into the trade entered at `row`."""
        number = self.number[row]
        return self.quantity[number] * self.entry_price[number] / self.cash[number]

    def rules_of(self, row: int) -> str | None:
        """The fewest of this side's own rules by which it made the trade entered at `row`, joined by ` + ` (empty: the shared
        ones alone); `UNEXPLAINED` when it follows none, None when there is no such trade."""
        if row not in self.number:
            return None
        followed = self._followed(row)
        asked = row > 0 and self.market.asked[row - 1] and not self.held_at(row - 1)
        sound = asked and followed is not None and self._is_bought_by_the_rules(row) and self._adds_up(row)
        return " + ".join(followed) if sound and followed is not None else UNEXPLAINED

    def told(self, row: int, bars: pd.DataFrame) -> str:
        """The exit of the trade entered at `row` as text."""
        number = self.number.get(row)
        if number is None:
            return ""
        if self.exit[number] == len(bars):
            return "open"
        return f"{bars.index[self.exit[number]]:%Y-%m-%dT%H:%MZ} {self.exit_price[number]:.10g}"

    def _levels(self, row: int) -> tuple[float, float]:
        price = float(self.market.open[row])
        return price * (1.0 - self.terms.stop_loss), price * (1.0 + self.terms.take_profit)

    def _followed(self, row: int) -> tuple[str, ...] | None:
        number = self.number[row]
        made = int(self.exit[number]), float(self.exit_price[number])
        for differs in _subsets(tuple(name for name in self.habits.differs if name != REFUSED)):
            ends, price = exit_of(self.market, row, *self._levels(row), differs)
            if ends == made[0] and (_near(price, made[1]) or np.isnan(price) and np.isnan(made[1])):
                return differs
        return None

    def _is_bought_by_the_rules(self, row: int) -> bool:
        number = self.number[row]
        bought, wanted = self.quantity[number], self.terms.size * self.cash[number]
        whole = wanted / (self.entry_price[number] * (1.0 + self.terms.fee_rate))
        if not _near(self.entry_price[number], self.market.open[row]):
            return False
        unit = self.habits.unit
        # A peer of whole units may round the money down to whole ones, too.
        missing = unit * (1.0 + 1.0 / self.entry_price[number])
        within = whole * (1 - _TOLERANCE) - missing <= bought <= whole * (1 + _TOLERANCE)
        return bool(within and (not unit or bought % unit == 0))

    def _adds_up(self, row: int) -> bool:
        number = self.number[row]
        if np.isnan(self.exit_price[number]):
            return True
        quantity, paid, got = self.quantity[number], self.entry_price[number], self.exit_price[number]
        pnl = quantity * (got - paid) - self.terms.fee_rate * quantity * (paid + got)
        return bool(abs(pnl - self.pnl[number]) <= _TOLERANCE * quantity * paid)


def _subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """None of them, then each, then each two, and so on."""
    for count in range(len(names) + 1):
        yield from combinations(names, count)


def _near(one: float, other: float) -> bool:
    return bool(abs(one - other) <= _TOLERANCE * abs(other))


def _ms(times: pd.Series) -> np.ndarray:
    return index_ms(pd.DatetimeIndex(times))
