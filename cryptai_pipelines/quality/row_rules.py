"""What makes a single bar bad: a table of rules, and the verdict on a batch of wire rows. The shape of whole batches is
checked in `schemas`; rows that are absent are the matter of `gaps`.

A rule says that a bar cannot be true, not that it is unusual: a tenfold price, a flat bar without volume and a jump across an
outage all happened, and pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.market.bars import BAR_COLUMNS, OHLCV, Columns, bars_frame, row_count, take_rows
from cryptai_pipelines.market.timeframe import Timeframe

PRICES = ("open", "high", "low", "close")
FLOWS = ("quote_volume", "taker_buy_base", "taker_buy_quote", "trades")

# No venue traded before 2009. The same moment in microseconds, read as milliseconds, is the year 40971: what lies between is
# a time in milliseconds, of the past or of the future, and what lies outside is another unit.
FIRST_MS = 1_230_768_000_000
FIRST_US = FIRST_MS * 1_000


class Limits(NamedTuple):
    """What rules must know besides the rows. `not_after_ms`: the moment by which a bar must have closed."""

    timeframe: Timeframe
    not_after_ms: int


@dataclass(frozen=True)
class RowRule:
    """One way for a row to be bad. `broken(rows, limits, sound)` gives a boolean mask of the rows that break the rule; `sound`
    marks those that break no earlier one. `fields` are the columns whose values explain it."""

    name: str
    description: str
    fields: tuple[str, ...]
    broken: Callable[[Columns, Limits, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Verdict:
    """The judgement of a batch: every row is good, bad, or a repetition of an earlier one that is the same in every column.

    `good`: boolean mask over the rows. `bad`: positions (int64, ascending) of the bad rows; `rules` and `reasons` run along
    with it, the first rule each breaks and one line with the values. `repeated`: how many rows were dropped as repetitions.
    """

    good: np.ndarray
    bad: np.ndarray
    rules: tuple[str, ...]
    reasons: tuple[str, ...]
    repeated: int


def judge(rows: Columns, timeframe: Timeframe, not_after_ms: int) -> Verdict:
    """The verdict on wire rows (`WIRE_DTYPES`, any order).

    `not_after_ms`: bars that close later are refused; `clock.closed_until` gives it. Of rows with the same open time that
    break no other rule, the first stands when all are the same, and none stands when they differ.
    """
    limits = Limits(timeframe, not_after_ms)
    sound = np.ones(row_count(rows), dtype=bool)
    masks = []
    for rule in ROW_RULES:
        broken = rule.broken(rows, limits, sound)
        sound &= ~broken
        masks.append(broken)
    bad = np.flatnonzero(~sound)
    repeated = _repetitions(rows, sound)
    broken_by = np.array([mask[bad] for mask in masks], dtype=bool)
    first = broken_by.argmax(axis=0)
    return Verdict(
        good=sound & ~repeated,
        bad=bad,
        rules=tuple(ROW_RULES[rule].name for rule in first.tolist()),
        reasons=tuple(_reasons(take_rows(rows, bad), broken_by, first)),
        repeated=int(repeated.sum()),
    )


def good_bars(rows: Columns, verdict: Verdict) -> pd.DataFrame:
    """The good rows as a bars frame, ascending by `ts`, with unreported values as NaN."""
    good = take_rows(rows, verdict.good)
    if not (good["ts"][1:] > good["ts"][:-1]).all():
        good = take_rows(good, np.argsort(good["ts"]))
    return bars_frame(unreported_to_nan(good))


def unreported_to_nan(rows: Columns) -> Columns:
    """`rows` with NaN (so float64) for quote volume, trades and taker volumes that the venue did not report.

    A traded bar cannot have no trades or no quote volume, so a zero there stands for silence. Taker volumes may truly be zero,
    when sellers took every trade; they are silence only where the number of trades is silent too. A bar without volume keeps
    its zeros: nothing happened, and that is known.
    """
    traded = rows["volume"] > 0
    silent = traded & (rows["trades"] == 0)
    unknown = {
        "quote_volume": traded & (rows["quote_volume"] == 0),
        "trades": silent,
        "taker_buy_base": silent & (rows["taker_buy_base"] == 0),
        "taker_buy_quote": silent & (rows["taker_buy_quote"] == 0),
    }
    return {**rows, **{name: np.where(mask, np.nan, rows[name]) for name, mask in unknown.items()}}


def _other_unit(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return (rows["ts"] < FIRST_MS) | (rows["ts"] >= FIRST_US)


def _off_grid(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return ~limits.timeframe.on_grid(rows["ts"])


def _not_closed(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return rows["ts"] > limits.not_after_ms - limits.timeframe.ms


def _not_finite(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return _any([~np.isfinite(rows[name]) for name in OHLCV])


def _not_positive(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return _any([rows[name] <= 0 for name in PRICES])


def _negative_volume(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return rows["volume"] < 0


def _price_order(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    low, high = rows["low"], rows["high"]
    return _any([low > high, low > rows["open"], low > rows["close"], high < rows["open"], high < rows["close"]])


def _impossible_flow(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    return _any([(rows[name] < 0) | np.isinf(rows[name]) for name in FLOWS])


def _close_time(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    expected = rows["ts"] + (limits.timeframe.ms - 1)
    # 0 is "not given"; what a source could not read is negative.
    return (rows["close_ts"] != 0) & (rows["close_ts"] != expected) & limits.timeframe.on_grid(rows["ts"])


def _conflicting(rows: Columns, limits: Limits, sound: np.ndarray) -> np.ndarray:
    positions, group, _, differs = _shared_opens(rows, sound)
    conflict = np.zeros(len(sound), dtype=bool)
    conflict[positions] = np.isin(group, group[differs])
    return conflict


def _repetitions(rows: Columns, sound: np.ndarray) -> np.ndarray:
    """Mask of the sound rows that repeat an earlier one; conflicting rows are no longer sound, so all that share a time do."""
    positions, _, leads, _ = _shared_opens(rows, sound)
    repeated = np.zeros(len(sound), dtype=bool)
    repeated[positions[~leads]] = True
    return repeated


def _shared_opens(rows: Columns, among: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The rows of `among` that share their open time: positions by time and then in batch order, a group number per open
    time, whether each leads its group, and whether it differs from its leader in any column that has a meaning."""
    ts = rows["ts"]
    if (ts[1:] > ts[:-1]).all():
        among = np.zeros_like(among)
    positions = np.flatnonzero(among)
    positions = positions[np.argsort(ts[positions], kind="stable")]
    follows = np.zeros(len(positions), dtype=bool)
    follows[1:] = ts[positions][1:] == ts[positions][:-1]
    shared = follows.copy()
    shared[:-1] |= follows[1:]
    positions, leads = positions[shared], ~follows[shared]
    group = np.cumsum(leads)
    leader = positions[leads][group - 1]
    return positions, group, leads, _any([_unequal(rows[name], positions, leader) for name in rows if name != "unused"])


def _unequal(values: np.ndarray, these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Are the values at two sets of positions different? NaN is equal to NaN."""
    a, b = values[these], values[those]
    return (a != b) & ~((a != a) & (b != b))


def _any(masks: list[np.ndarray]) -> np.ndarray:
    return np.logical_or.reduce(masks)


def _reasons(rows: Columns, broken_by: np.ndarray, first: np.ndarray) -> list[str]:
    """One line for each of `rows`, all bad: what the first broken rule says, the values it saw, and the names of the others."""
    reasons = [""] * len(first)
    patterns, pattern = np.unique(np.packbits(broken_by, axis=0).T, axis=0, return_inverse=True)
    also = [_also(np.unpackbits(bits, count=len(ROW_RULES)).astype(bool)) for bits in patterns]
    for number, rule in enumerate(ROW_RULES):
        mine = np.flatnonzero(first == number)
        shown = [_shown(name, rows[name][mine]) for name in rule.fields]
        for row, values, others in zip(mine.tolist(), zip(*shown, strict=True), pattern[mine].tolist(), strict=True):
            reasons[row] = f"{rule.description}: {', '.join(values)}{also[others]}"
    return reasons


def _also(broken: np.ndarray) -> str:
    """The names of all broken rules but the first, as the end of a reason."""
    names = [rule.name for rule, is_broken in zip(ROW_RULES, broken.tolist(), strict=True) if is_broken]
    return f"; also {', '.join(names[1:])}" if len(names) > 1 else ""


def _shown(name: str, values: np.ndarray) -> list[str]:
    if name not in ("ts", "close_ts"):
        return [f"{name}={value!r}" for value in values.tolist()]
    texts = np.datetime_as_string(values.view("datetime64[ms]"), timezone="UTC")
    return [f"{name}={number} ({text})" for number, text in zip(values.tolist(), texts.tolist(), strict=True)]


ROW_RULES: tuple[RowRule, ...] = (
    RowRule("time_unit", "the open time is not in milliseconds since 1970, or before 2009", ("ts",), _other_unit),
    RowRule("off_grid", "the open time is not on the grid of the timeframe", ("ts",), _off_grid),
    RowRule("not_closed", "the bar was not closed yet by the venue's time", ("ts",), _not_closed),
    RowRule("not_finite", "a price or the volume is not a finite number", OHLCV, _not_finite),
    RowRule("not_positive", "a price is zero or negative", PRICES, _not_positive),
    RowRule("negative_volume", "the volume is negative", ("volume",), _negative_volume),
    RowRule("price_order", "low is not the lowest or high not the highest price", PRICES, _price_order),
    RowRule("impossible_flow", "quote volume, taker volume or trades are negative or infinite", FLOWS, _impossible_flow),
    RowRule("close_time", "the close time is not the last millisecond of the bar", ("ts", "close_ts"), _close_time),
    RowRule("conflicting_duplicate", "rows with this open time contradict each other", ("ts", *BAR_COLUMNS), _conflicting),
)
"""In the order of their weight: a bad row is filed under the first rule it breaks."""
