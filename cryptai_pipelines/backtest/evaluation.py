"""What the points of a search come to: tasks in, metrics out.

Points that ask for the same decisions share them. Those that differ in target and stop only go through `exit_grid` together, as
long as nothing is ordered or asked of the engine that the grid does not know; the others are simulated one by one. Which of the
two it was does not show in the metrics.

Which points there are is the affair of `search`, on how many processes they are evaluated that of `workers`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.daily import daily_rows
from cryptai_pipelines.backtest.exit_grid import known_to_grid, orders_known_to_grid, run_grid
from cryptai_pipelines.backtest.inputs import decision_arrays
from cryptai_pipelines.backtest.parameters import EngineParameters
from cryptai_pipelines.backtest.point_metrics import POINT_METRICS, daily_returns, return_columns
from cryptai_pipelines.backtest.portfolio import PortfolioResult, simulate_portfolio
from cryptai_pipelines.backtest.return_metrics import span_of
from cryptai_pipelines.backtest.search_space import Point
from cryptai_pipelines.backtest.subject import Span, Subject, parameters_of
from cryptai_pipelines.market.errors import BadArgument, CryptaiError
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import FLAGS, NUMBERS
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


class Evaluator:
    """A subject with what its evaluations have in common: what is computed of the bars, and the last decisions."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._inputs: dict[tuple[Any, ...], Inputs] = {}
        self._decisions: OrderedDict[Any, pd.DataFrame] = OrderedDict()
        self._lock = threading.Lock()

    def decisions(self, rules: Any) -> pd.DataFrame:
        """Those of the strategy, the columns that ask for anything, computed over all bars and each from its own and earlier
        ones. `StrategyFailed` when the strategy raises."""
        with self._lock:
            if rules not in self._decisions:
                self._decisions[rules] = self._computed(rules)
                while len(self._decisions) > 1 and self._is_full():
                    self._decisions.popitem(last=False)
            self._decisions.move_to_end(rules)
            return self._decisions[rules]

    def _is_full(self) -> bool:
        held = sum(one.size for one in self._decisions.values())
        return len(self._decisions) > _DECISIONS_KEPT or held > _CELLS_KEPT

    def _computed(self, rules: Any) -> pd.DataFrame:
        bars, strategy, timeframe = self.subject.bars, self.subject.found, self.subject.timeframe
        read = (strategy.indicators(rules), strategy.structure(rules))
        if read not in self._inputs:
            # Those of one choice of indicators at a time: of many bars they are the largest thing here.
            self._inputs = {read: gather(bars, strategy, rules, timeframe)}
        rows = decide_checked(strategy, self._inputs[read], rules)
        flags = [name for name in FLAGS if rows[name].to_numpy().any()]
        numbers = [name for name in NUMBERS if name != "priority" and rows[name].notna().any()]
        return rows[["side", *flags, *numbers]].copy()

    def simulate(self, point: Point, span: Span | None, initial_capital: float | None = None) -> PortfolioResult:
        """One point on a span of the bars with its trades and equity, from that capital on. `BadArgument` for a point that
        cannot be."""
        capital = {} if initial_capital is None else {"initial_capital": initial_capital}
        return self._simulated(*parameters_of(self.subject, {**point, **capital}), span)

    def _simulated(self, rules: Any, engine: EngineParameters, span: Span | None) -> PortfolioResult:
        bars, decisions = self._within(rules, span)
        return simulate_portfolio({_SYMBOL: bars}, {_SYMBOL: decisions}, engine, {_SYMBOL: self.subject.market})

    def _within(self, rules: Any, span: Span | None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The bars of a span with their own decisions."""
        rows = slice(None) if span is None else slice(*span)
        return self.subject.bars.iloc[rows], self.decisions(rules).iloc[rows]

    def evaluate(self, task: Task) -> Answer:
        """The metrics of the points of a task, or why one cannot be: it is refused, or the strategy raises there. A position
        that is open at the end of a span is closed there, and a signal before its first bar is not acted on."""
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
            try:
                found = self._together(rules, list(engines.values()), task)
            except CryptaiError as failure:
                # A strategy may fail at one choice of its parameters: the other points go on.
                for number in engines:
                    results[number] = str(failure)
                continue
            for number, (metrics, daily) in zip(engines, found, strict=True):
                results[number], returns[number] = metrics, daily
        return Answer(tuple(results), _matrix(returns, len(results)) if task.keep_returns else None)

    def _together(self, rules: Any, engines: Sequence[EngineParameters], task: Task) -> list[Outcome]:
        """The outcomes of points that differ in target and stop only, if at all."""
        arrays = decision_arrays(*self._within(rules, task.span), _SYMBOL)
        market, yearly = self.subject.market, self.subject.timeframe.values_per_year
        if not (known_to_grid(engines[0]) and orders_known_to_grid(arrays)):
            return [point_of(self._simulated(rules, engine, task.span), engine.initial_capital, yearly) for engine in engines]
        pairs = np.array([(engine.take_profit, engine.stop_loss) for engine in engines])
        grid = run_grid(arrays, pairs, engines[0], market, yearly, keep_returns=task.keep_returns, threads=1)
        rows = grid.daily_returns if grid.daily_returns is not None else np.empty((len(engines), 0))
        return list(zip(grid.metrics.to_dict("records"), rows, strict=True))


def point_of(result: PortfolioResult, initial_capital: float, periods_per_year: float) -> Outcome:
    """Metrics (`POINT_METRICS`) and daily returns of one backtest, as `exit_grid` gives them of many. periods_per_year: how
    many daily values a year has (`Timeframe.values_per_year`)."""
    values = daily_rows(result.equity, initial_capital)["total_value"].to_numpy()[None, :]
    of_days = return_columns(values, initial_capital, span_of(result.equity.index), periods_per_year)
    known = {**result.metrics, **{name: float(column[0]) for name, column in of_days.items()}}
    known["optimistic_total_return"] = result.optimistic.metrics["total_return"]
    return {name: known[name] for name in POINT_METRICS}, daily_returns(values, initial_capital)[0]


def _matrix(returns: dict[int, np.ndarray], points: int) -> np.ndarray | None:
    """Rows by number, NaN where there is none; None without any."""
    if not returns:
        return None
    matrix = np.full((points, len(next(iter(returns.values())))), np.nan, dtype="float32")
    for number, row in returns.items():
        matrix[number] = row
    return matrix
