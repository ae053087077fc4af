"""What a point of a search comes to: a subject (bars, strategy, what the points have in common), points, metrics.

Points that ask for the same entries share them, and those that differ in target and stop only go through `exit_grid` together.
Which points there are is the affair of `search`, on how many processes they are evaluated of `workers`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cryptai_pipelines.backtest.exit_grid import run_grid
from cryptai_pipelines.backtest.inputs import bar_arrays
from cryptai_pipelines.backtest.market_arrays import BarArrays
from cryptai_pipelines.backtest.parameters import ALWAYS_TOLD, EngineParameters
from cryptai_pipelines.backtest.search_space import Dimension, Point, Value
from cryptai_pipelines.backtest.simulation import SimulationResult, simulate_entries
from cryptai_pipelines.market.bars import OHLCV, index_ms
from cryptai_pipelines.market.errors import BadArgument, CryptaiError
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.strategy.checked import decide_checked
from cryptai_pipelines.strategy.decisions import FLAGS, LEVELS
from cryptai_pipelines.strategy.inputs import gather
from cryptai_pipelines.strategy.parameters import parameters_in
from cryptai_pipelines.strategy.parameters import parameters_of as strategy_parameters_of
from cryptai_pipelines.strategy.protocol import Inputs, Strategy
from cryptai_pipelines.strategy.signals import find_strategy

_ENGINE = frozenset(field.name for field in fields(EngineParameters))
# One byte per bar each; a walk-forward comes back to them with every window.
_ENTRIES_KEPT = 64


class Span(NamedTuple):
    """Rows [begin, end) of the bars."""

    begin: int
    end: int


@dataclass(frozen=True)
class Subject:
    """What every point of a search is tried on. bars: a validated bars frame with `is_filled`. strategy: as `find_strategy`
    takes it. defaults, asked: parameters of strategy and engine by name that a point does not give; the exits that belong to
    the strategy stand between the two. What none of them names has the default of its own. Plain data besides the bars, so
    that any process can make the same of it."""

    bars: pd.DataFrame
    timeframe: Timeframe
    strategy: str
    defaults: Mapping[str, Value]
    asked: Mapping[str, Value]

    @cached_property
    def found(self) -> Strategy:
        """The strategy, looked up once: a user's file is run each time that it is."""
        return find_strategy(self.strategy)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; a strategy of a file is looked up there anew."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def capital(self) -> float:
        """The start capital of a point that names none."""
        return parameters_of(self, {})[1].initial_capital

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """What the results depend on besides the parameters, as plain data."""
        return {
            "strategy": self.found.name,
            "strategy_version": self.found.code_version,
            "timeframe": self.timeframe.code,
            "bars_sha256": bars_sha256(self.bars),
        }


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


def check_space(subject: Subject, space: Sequence[Dimension]) -> None:
    """`BadArgument` names the first parameter that neither the strategy nor the engine has, or none of whose values is
    accepted. Whether one value is may depend on the other parameters of its point."""
    known = sorted(signal_parameters(subject) | _ENGINE)
    for dimension in space:
        if dimension.name not in known:
            raise BadArgument(f"parameter {dimension.name!r} is not known; accepted: {', '.join(known)}")
        values = dimension.values or (dimension.low, dimension.high)
        refusals = [refusal for value in values if (refusal := _refusal(subject, {dimension.name: value}))]
        if len(refusals) == len(values) or (refusals and len(space) == 1):
            raise refusals[0]


def _refusal(subject: Subject, point: Point) -> BadArgument | None:
    try:
        parameters_of(subject, point)
    except BadArgument as refusal:
        return refusal
    return None


def signal_parameters(subject: Subject) -> frozenset[str]:
    """Names of the parameters of the strategy."""
    return frozenset(one.name for one in parameters_in(subject.found.parameters))


def parameters_of(subject: Subject, point: Point) -> tuple[Any, EngineParameters]:
    """The strategy's parameters and the engine's at a point; a name that both have is the same for both. `BadArgument` as they
    raise it, and for what the engine can do but `exit_grid` cannot."""
    strategy, names = subject.found, signal_parameters(subject)
    asked = {**subject.asked, **point}
    told = {**subject.defaults, **asked}
    rules = strategy_parameters_of(strategy.parameters, {name: value for name, value in told.items() if name in names})
    chosen = {**subject.defaults, **strategy.exits(rules), **asked}
    engine = EngineParameters(**{name: value for name, value in chosen.items() if name in _ENGINE})
    beyond = [name for name in engine.told if name not in ALWAYS_TOLD]
    if beyond:
        raise BadArgument(f"{beyond[0]} {engine.told[beyond[0]]!r} is unknown to a search; accepted: {', '.join(ALWAYS_TOLD)}")
    return rules, engine


def point_key(subject: Subject, point: Point, span: Span | None) -> str:
    """SHA-256 of all that the metrics of a point depend on, so that one point has one key in whatever search it is."""
    try:
        rules, engine = parameters_of(subject, point)
        parameters = {"rules": asdict(rules), "engine": engine.told}
    except BadArgument:
        parameters = {"refused": {**subject.defaults, **subject.asked, **point}}
    content = {**subject.inputs, **parameters, "span": None if span is None else list(span)}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def bars_sha256(bars: pd.DataFrame) -> str:
    """SHA-256 over open times, prices, volumes and fill flags."""
    digest = hashlib.sha256(index_ms(bars.index).astype("<i8").tobytes())
    for name in OHLCV:
        digest.update(bars[name].to_numpy(dtype="<f8").tobytes())
    digest.update(bars["is_filled"].to_numpy(dtype=bool).tobytes())
    return digest.hexdigest()


class Evaluator:
    """A subject with what its evaluations have in common: the checked bars, their indicators, the entries used last."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._inputs: dict[tuple[Any, ...], Inputs] = {}
        self._entries: OrderedDict[Any, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    @cached_property
    def _bars(self) -> BarArrays:
        bars = self.subject.bars
        return bar_arrays(bars, pd.Series(False, index=bars.index))

    def entries(self, rules: Any) -> np.ndarray:
        """The entries of the strategy, a bool per bar, computed over all bars and each from its own and earlier ones.
        `StrategyFailed` when the strategy raises."""
        with self._lock:
            if rules not in self._entries:
                self._entries[rules] = self._computed(rules)
            self._entries.move_to_end(rules)
            if len(self._entries) > _ENTRIES_KEPT:
                self._entries.popitem(last=False)
            return self._entries[rules]

    def _computed(self, rules: Any) -> np.ndarray:
        bars, strategy, timeframe = self.subject.bars, self.subject.found, self.subject.timeframe
        read = (strategy.indicators(rules), strategy.structure(rules))
        if read not in self._inputs:
            # Those of one choice of indicators at a time: of many bars they are the largest thing here.
            self._inputs = {read: gather(bars, strategy, rules, timeframe)}
        rows = decide_checked(strategy, self._inputs[read], rules)
        beyond = _beyond_entries(rows)
        if beyond:
            raise CryptaiError(
                f"strategy {strategy.name} gives {beyond}, of which a search knows nothing; accepted: long entries"
            )
        return rows["side"].to_numpy() == 1

    def simulate(self, point: Point, span: Span, initial_capital: float) -> SimulationResult:
        """One point on a span of the bars with its trades and equity, from that capital on."""
        rules, engine = parameters_of(self.subject, {**point, "initial_capital": initial_capital})
        bars = self.subject.bars.iloc[span.begin : span.end]
        entries = pd.Series(self.entries(rules)[span.begin : span.end], index=bars.index)
        return simulate_entries(bars, entries, engine)

    def evaluate(self, task: Task) -> Answer:
        """The metrics of the points of a task. A position that is open at the end of a span is closed there, and a signal
        before its first bar is not acted on."""
        results: list[dict[str, float] | str] = [""] * len(task.points)
        groups: dict[tuple[Any, EngineParameters], list[int]] = {}
        pairs: dict[int, tuple[float, float]] = {}
        for number, point in enumerate(task.points):
            try:
                rules, engine = parameters_of(self.subject, point)
            except BadArgument as refusal:
                results[number] = str(refusal)
                continue
            pairs[number] = (engine.take_profit, engine.stop_loss)
            groups.setdefault((rules, replace(engine, take_profit=1.0, stop_loss=0.5)), []).append(number)
        returns: np.ndarray | None = None
        for (rules, engine), numbers in groups.items():
            arrays = within(replace(self._bars, entries=self.entries(rules)), task.span)
            grid = run_grid(
                arrays, np.array([pairs[number] for number in numbers]), engine, keep_returns=task.keep_returns, threads=1
            )
            for number, metrics in zip(numbers, grid.metrics.to_dict("records"), strict=True):
                results[number] = metrics
            if grid.daily_returns is not None:
                if returns is None:
                    returns = np.full((len(task.points), grid.daily_returns.shape[1]), np.nan, dtype="float32")
                returns[numbers] = grid.daily_returns
        return Answer(tuple(results), returns)


def _beyond_entries(rows: pd.DataFrame) -> str | None:
    """The first decision column that asks for more than a long at the next open."""
    if (rows["side"] < 0).any():
        return "side -1"
    return next((name for name in (*FLAGS, *LEVELS) if (rows[name].any() if name in FLAGS else rows[name].notna().any())), None)


def within(arrays: BarArrays, span: Span | None) -> BarArrays:
    """The bars of a span with their own signals."""
    if span is None:
        return arrays
    return arrays.rows(span.begin, span.end)
