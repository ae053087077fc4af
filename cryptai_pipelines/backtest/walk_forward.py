"""Choosing on the past and trading what comes next, window after window: what a search is worth to someone who does not know
the future. The search within a window is `search`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.evaluation import Evaluator, Task
from cryptai_pipelines.backtest.records import TRADE_DTYPE, trades_frame
from cryptai_pipelines.backtest.search import Batch, Found, Plan, Result, best, search
from cryptai_pipelines.backtest.search_space import Dimension, Value
from cryptai_pipelines.backtest.subject import Span
from cryptai_pipelines.backtest.workers import Submit
from cryptai_pipelines.market.errors import BadArgument

_DAY_MS = 86_400_000
_LEAST_TRAIN_BARS = 30


class Window(NamedTuple):
    """Bars to choose on and the bars right after them to trade on."""

    train: Span
    test: Span


class Length(NamedTuple):
    """So many bars, or so many days of 24 hours."""

    count: int
    unit: str

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"


@dataclass(frozen=True)
class Step:
    """One window. chosen: the best point of its training, None where no point had the objective, and nothing is traded then.
    tested: the metrics of that point on the test bars, of the start capital of the subject; None without one."""

    window: Window
    chosen: Found | None
    tested: dict[str, float] | None


@dataclass(frozen=True)
class WalkForward:
    """steps: window by window. equity: float64 at every bar of every test, each test beginning with what the one before left;
    trades: of all tests, columns of `records.trades_frame`. A position that is open at the end of a test is closed there at its
    close (`end`). summary: see `summarised`; stability: see `stability`, by parameter."""

    steps: tuple[Step, ...]
    equity: pd.Series
    trades: pd.DataFrame
    summary: dict[str, float]
    stability: dict[str, dict[str, float]]


def parse_length(text: str) -> Length:
    """`180d` is 180 days, `5000b` 5,000 bars; `BadArgument` for other text."""
    count, unit = text[:-1], text[-1:]
    if unit not in ("d", "b") or not count.isdigit() or int(count) < 1:
        raise BadArgument(f"length {text!r} is not accepted: a whole number of days or bars, such as 180d or 5000b")
    return Length(int(count), unit)


def windows_of(
    ts_ms: np.ndarray, train: Length, test: Length, step: Length | None = None, *, anchored: bool = False
) -> tuple[Window, ...]:
    """Windows over bars with the open times `ts_ms` (int64, ascending), from the first bar on.

    Each is `step` (None: `test`, so that the tests lie end to end) after the one before; the training of an anchored one begins
    at the first bar all the same. Tests never overlap, the last one may be shorter, and a window without bars to train or to
    test on is left out. `BadArgument` when a step is shorter than
    a test, when units differ, or when the bars do not reach beyond the first training.
    """
    step = step or test
    if len({train.unit, test.unit, step.unit}) > 1:
        raise BadArgument(f"train {train}, test {test} and step {step} are not of one unit; accepted: all days or all bars")
    if step.count < test.count:
        raise BadArgument(f"step {step} is shorter than test {test}: tests would overlap; accepted: at least as long")
    if train.unit == "b":
        positions, unit = np.arange(len(ts_ms), dtype=np.int64), 1
    else:
        positions, unit = ts_ms - (ts_ms[0] if len(ts_ms) else 0), _DAY_MS
    found = []
    for origin in itertools.count(0, step.count):
        edges = (0 if anchored else origin, origin + train.count, origin + train.count + test.count)
        begin, middle, end = np.searchsorted(positions, [edge * unit for edge in edges]).tolist()
        if middle == len(positions):
            break
        # Where bars are missing there may be nothing to choose on, or nothing to trade.
        if middle - begin >= _LEAST_TRAIN_BARS and end > middle:
            found.append(Window(Span(begin, middle), Span(middle, end)))
    if not found:
        raise BadArgument(
            f"{len(ts_ms):,} bars do not hold a training of {train} and a test after it; "
            f"accepted: a shorter one of at least {_LEAST_TRAIN_BARS} bars, or more bars"
        )
    return tuple(found)


def walk_forward(
    evaluator: Evaluator,
    plan: Plan,
    windows: Sequence[Window],
    submit: Submit,
    *,
    known: Mapping[str, Result] | None = None,
    on_batch: Callable[[int, Batch], None] = lambda number, batch: None,
) -> WalkForward:
    """Search each window's training bars by `plan`, trade its test bars with the best point, and put the tests together.

    Signals are computed over all bars, each from its own and earlier ones; trades are made within a window only, so the first
    signal that counts is that of a window's first bar. Every search has the same plan, its seed included. known, on_batch: as
    in `search`, the latter with the number of the window.
    """
    subject = evaluator.subject
    steps, equity, trades = [], [], []
    for number, window in enumerate(windows):
        found = search(
            subject,
            plan,
            submit,
            span=window.train,
            known=known,
            on_batch=lambda batch, number=number: on_batch(number, batch),
        )
        chosen = best(found, plan.objective)
        capital = float(equity[-1].iloc[-1]) if equity else subject.capital
        if chosen is None:
            index = subject.bars.index[window.test.begin : window.test.end]
            steps.append(Step(window, None, None))
            equity.append(pd.Series(capital, index=index))
            continue
        result = evaluator.simulate(chosen.point, window.test, capital)
        tested = evaluator.evaluate(Task((chosen.point,), window.test)).results[0]
        steps.append(Step(window, chosen, tested))
        equity.append(result.equity)
        trades.append(result.trades)
    stitched = pd.concat(equity).rename("equity")
    return WalkForward(
        tuple(steps),
        stitched,
        pd.concat(trades, ignore_index=True) if trades else trades_frame(np.zeros(0, TRADE_DTYPE)),
        summarised(steps, plan.objective, subject.bars.index),
        stability(steps, plan.space),
    )


def summarised(steps: Sequence[Step], objective: str, index: pd.DatetimeIndex) -> dict[str, float]:
    """In-sample against out-of-sample, over the windows in which a point was chosen.

    in_sample_rate, out_of_sample_rate: logarithmic return per day of the windows' trainings and of their tests, pooled.
    efficiency: the latter over the former (Pardo's walk-forward efficiency); NaN unless something was earned in-sample.
    in_sample_objective, out_of_sample_objective: means over the windows in which both are finite; loss: their difference.
    profitable_windows: share of tests with a profit.
    """
    chosen = [(step.window, step.chosen.result, step.tested) for step in steps if step.chosen and step.tested]
    inside = _rate([(window.train, result["total_return"]) for window, result, _ in chosen], index)
    outside = _rate([(window.test, tested["total_return"]) for window, _, tested in chosen], index)
    pairs = np.array([(result[objective], tested[objective]) for _, result, tested in chosen]).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    before, after = pairs.mean(axis=0).tolist() if len(pairs) else (math.nan, math.nan)
    profits = [tested["total_return"] > 0 for _, _, tested in chosen]
    return {
        "windows": float(len(steps)),
        "windows_traded": float(len(chosen)),
        "in_sample_rate": inside,
        "out_of_sample_rate": outside,
        "efficiency": outside / inside if inside > 0 else math.nan,
        "in_sample_objective": before,
        "out_of_sample_objective": after,
        "loss": before - after,
        "profitable_windows": float(np.mean(profits)) if profits else math.nan,
    }


def _rate(returns: Sequence[tuple[Span, float]], index: pd.DatetimeIndex) -> float:
    days = sum((index[span.end - 1] - index[span.begin]) / pd.Timedelta("1D") for span, _ in returns)
    if not days > 0:
        return math.nan
    return sum(math.log1p(one) if one > -1 else -math.inf for _, one in returns) / days


def stability(steps: Sequence[Step], space: Sequence[Dimension]) -> dict[str, dict[str, float]]:
    """How the chosen values of each parameter vary from window to window.

    distinct: how many values were chosen; usual_share: share of the windows with the most usual one. Of ordered parameters
    also move: mean change from one window to the next as a share of the range (0: never changes), by position among the
    values or, where those are not given, by number (by logarithm where drawn so).
    """
    chosen = [step.chosen.point for step in steps if step.chosen]
    table = {}
    for dimension in space:
        values = [point[dimension.name] for point in chosen]
        counts = Counter(values)
        table[dimension.name] = {
            "distinct": float(len(counts)),
            "usual_share": max(counts.values()) / len(values) if values else math.nan,
            "move": _mean_move(dimension, values),
        }
    return table


def _mean_move(dimension: Dimension, values: Sequence[Value]) -> float:
    if len(values) < 2 or not dimension.ordered:
        return math.nan
    if dimension.values is not None:
        places, width = [float(dimension.values.index(value)) for value in values], len(dimension.values) - 1
    else:
        scale = math.log if dimension.log else float
        places, width = [scale(value) for value in values], scale(dimension.high) - scale(dimension.low)
    return float(np.mean(np.abs(np.diff(places)))) / width if width else 0.0
