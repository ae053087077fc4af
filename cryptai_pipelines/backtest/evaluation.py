"""What the points of a search come to: tasks in, metrics out.

Points that ask for the same decisions share them. Those that differ in target and stop only go through `exit_grid` together, as
long as nothing is asked of the engine that the grid does not know; the others are simulated one by one, with equal metrics.
Which points there are is the affair of `search`, on how many processes they are evaluated that of `workers`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import daily_rows
from cryptai_pipelines.backtest.engine import BarArrays
from cryptai_pipelines.backtest.exit_grid import known_to_grid, run_grid
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.point_metrics import POINT_METRICS, daily_returns, return_columns
from cryptai_pipelines.backtest.portfolio import PortfolioResult, simulate_portfolio
from cryptai_pipelines.backtest.return_metrics import span_of
from cryptai_pipelines.backtest.search_space import Point
from cryptai_pipelines.backtest.subject import Span, Subject, parameters_of
from cryptai_pipelines.market.errors import BadArgument
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import DECISION_COLUMNS, FLAGS, LEVELS
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.protocol import Inputs

# A walk-forward comes back to the same decisions with every window.
_DECISIONS_KEPT, _CELLS_KEPT = 64, 20_000_000
_SYMBOL = "series"


class Task(NamedTuple):
    """Points to evaluate on one span of the bars (None: all of them); with their daily returns when these are wanted."""

    points: tuple[Point, ...]
    span: Span | None = None
    keep_returns: bool = False


class Answer(NamedTuple):
    """What became of the points of a task, in their order: metrics by name (`point_metrics.POINT_METRICS`), or why the point
    cannot be (a text). daily_returns: float32, a row per point (NaN for those that cannot be), a column per day; or None."""

    results: tuple[dict[str, float] | str, ...]
    daily_returns: np.ndarray | None


Outcome: TypeAlias = tuple[dict[str, float], np.ndarray]
"""Metrics and daily returns of a point."""


class Decisions(NamedTuple):
    """What a strategy decided on all bars. entries: a bool per bar, longs. orders: a decisions frame where more is asked for
    than longs at the next open, else None."""

    entries: np.ndarray
    orders: pd.DataFrame | None

    @property
    def cells(self) -> int:
        return len(self.entries) * (1 if self.orders is None else 1 + self.orders.shape[1])


class Evaluator:
    """A subject with what its evaluations have in common: the checked bars, what is computed of them, the last decisions."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._inputs: dict[tuple[Any, ...], Inputs] = {}
        self._decisions: OrderedDict[Any, Decisions] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def _bars(self) -> BarArrays:
        bars = self.subject.bars
        return bar_arrays(bars, pd.Series(False, index=bars.index))

    def decisions(self, rules: Any) -> Decisions:
        """Those of the strategy, computed over all bars and each from its own and earlier ones. `StrategyFailed` when the
        strategy raises."""
        with self._lock:
            if rules not in self._decisions:
                self._decisions[rules] = self._computed(rules)
                while len(self._decisions) > 1 and self._is_full():
                    self._decisions.popitem(last=False)
            self._decisions.move_to_end(rules)
            return self._decisions[rules]

    def _is_full(self) -> bool:
        held = sum(one.cells for one in self._decisions.values())
        return len(self._decisions) > _DECISIONS_KEPT or held > _CELLS_KEPT

    def _computed(self, rules: Any) -> Decisions:
        bars, strategy, timeframe = self.subject.bars, self.subject.found, self.subject.timeframe
        read = (strategy.indicators(rules), strategy.structure(rules))
        if read not in self._inputs:
            # Those of one choice of indicators at a time: of many bars they are the largest thing here.
            self._inputs = {read: gather(bars, strategy, rules, timeframe)}
        rows = decide_checked(strategy, self._inputs[read], rules)
        return Decisions(rows["side"].to_numpy() == 1, rows[list(DECISION_COLUMNS)].copy() if _asks_more(rows) else None)

    def simulate(self, point: Point, span: Span | None, initial_capital: float | None = None) -> PortfolioResult:
        """One point on a span of the bars with its trades and equity, from that capital on. `BadArgument` for a point that
        cannot be."""
        capital = {} if initial_capital is None else {"initial_capital": initial_capital}
        return self._simulated(*parameters_of(self.subject, {**point, **capital}), span)

    def _simulated(self, rules: Any, engine: EngineParameters, span: Span | None) -> PortfolioResult:
        decided, rows = self.decisions(rules), slice(None) if span is None else slice(*span)
        orders = decided.orders
        if orders is None:
            orders = pd.DataFrame({"side": decided.entries.astype("int8")}, index=self.subject.bars.index)
        return simulate_portfolio({_SYMBOL: self.subject.bars.iloc[rows]}, {_SYMBOL: orders.iloc[rows]}, engine)

    def evaluate(self, task: Task) -> Answer:
        """The metrics of the points of a task. A position that is open at the end of a span is closed there, and a signal
        before its first bar is not acted on."""
        results: list[dict[str, float] | str] = [""] * len(task.points)
        returns: dict[int, np.ndarray] = {}
        groups: dict[tuple[Any, EngineParameters], dict[int, EngineParameters]] = {}
        for number, point in enumerate(task.points):
            try:
                rules, engine = parameters_of(self.subject, point)
            except BadArgument as refusal:
                results[number] = str(refusal)
                continue
            alike = replace(engine, take_profit=1.0, stop_loss=0.5) if known_to_grid(engine) else engine
            groups.setdefault((rules, alike), {})[number] = engine
        for (rules, _), engines in groups.items():
            found = self._together(rules, list(engines.values()), task)
            for number, (metrics, daily) in zip(engines, found, strict=True):
                results[number], returns[number] = metrics, daily
        return Answer(tuple(results), _matrix(returns, len(results)) if task.keep_returns else None)

    def _together(
        self, rules: Any, engines: Sequence[EngineParameters], task: Task
    ) -> list[tuple[dict[str, float], np.ndarray]]:
        """The outcomes of points that differ in target and stop only, if at all."""
        decided = self.decisions(rules)
        if decided.orders is not None or not known_to_grid(engines[0]):
            return [point_of(self._simulated(rules, engine, task.span), engine.initial_capital) for engine in engines]
        arrays = within(replace(self._bars, entries=decided.entries), task.span)
        pairs = np.array([(engine.take_profit, engine.stop_loss) for engine in engines])
        grid = run_grid(arrays, pairs, engines[0], keep_returns=task.keep_returns, threads=1)
        rows = grid.daily_returns if grid.daily_returns is not None else np.empty((len(engines), 0))
        return list(zip(grid.metrics.to_dict("records"), rows, strict=True))


def point_of(result: PortfolioResult, initial_capital: float) -> Outcome:
    """Metrics (`POINT_METRICS`) and daily returns of one backtest, as `exit_grid` gives them of many."""
    values = daily_rows(result.equity, initial_capital)["total_value"].to_numpy()[None, :]
    of_days = return_columns(values, initial_capital, span_of(result.equity.index))
    known = {**result.metrics, **{name: float(column[0]) for name, column in of_days.items()}}
    known["optimistic_total_return"] = result.optimistic.metrics["total_return"]
    return {name: known[name] for name in POINT_METRICS}, daily_returns(values, initial_capital)[0]


def within(arrays: BarArrays, span: Span | None) -> BarArrays:
    """The bars of a span with their own signals; of `arrays` without orders beside their entries."""
    if span is None:
        return arrays
    columns = {field.name: getattr(arrays, field.name) for field in fields(BarArrays)}
    return BarArrays(**{name: None if column is None else column[span.begin : span.end] for name, column in columns.items()})


def _matrix(returns: dict[int, np.ndarray], points: int) -> np.ndarray | None:
    """Rows by number, NaN where there is none; None without any."""
    if not returns:
        return None
    matrix = np.full((points, len(next(iter(returns.values())))), np.nan, dtype="float32")
    for number, row in returns.items():
        matrix[number] = row
    return matrix


def _asks_more(rows: pd.DataFrame) -> bool:
    """Do the decisions ask for more than longs at the next open?"""
    flagged = any(rows[name].to_numpy().any() for name in FLAGS)
    return flagged or bool((rows["side"] < 0).any()) or any(rows[name].notna().any() for name in LEVELS)
