"""Trying the points of a space: all of them, some at random, or those that Optuna's TPE expects most of. A search remembers
nothing itself: what is known already is handed in, what becomes known is handed out.

What a point comes to is in `evaluation`, on how many processes in `workers`, searches over moving windows in `walk_forward`.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from cryptai_pipelines.backtest.evaluation import Answer, Task
from cryptai_pipelines.backtest.search_space import Dimension, Point, grid_points, grid_size, random_points
from cryptai_pipelines.backtest.subject import Span, Subject, point_key, signal_parameters
from cryptai_pipelines.backtest.workers import Submit
from cryptai_pipelines.market.errors import BadArgument, CryptaiError

METHODS = ("grid", "random", "optuna")
OBJECTIVES = (
    "sharpe",
    "sortino",
    "total_return",
    "cagr",
    "profit_factor",
    "expectancy",
    "win_rate",
    "max_drawdown",
    "final_equity",
    "optimistic_total_return",
)
"""The metrics of which more is better; of a loss as of a negative number more is less of it."""

# Optuna's next batch is asked for when the one before is known, whatever the number of workers, so that it cannot show.
_ASKED_AT_ONCE = 16
_POINTS_A_TASK = 128
_TASKS_AHEAD = 64

Result: TypeAlias = dict[str, float] | str


@dataclass(frozen=True)
class Plan:
    """How a space is searched: `method` of `METHODS`, how many points (grid: all), the seed, what to maximise.
    `BadArgument` for what cannot be."""

    space: tuple[Dimension, ...]
    method: str = "grid"
    count: int = 0
    seed: int = 0
    objective: str = "sharpe"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise BadArgument(f"method {self.method!r} is not known; accepted: {', '.join(METHODS)}")
        if self.objective not in OBJECTIVES:
            raise BadArgument(f"objective {self.objective!r} is not known; accepted: {', '.join(OBJECTIVES)}")
        if self.method == "grid":
            grid_size(self.space)
        elif self.count < 1:
            raise BadArgument(f"a {self.method} search of {self.count} points is not accepted; accepted: at least 1")

    @property
    def size(self) -> int:
        """How many points are tried at most."""
        sizes = [math.inf if one.values is None else len(one.values) for one in self.space]
        return grid_size(self.space) if self.method == "grid" else int(min(self.count, math.prod(sizes)))


class Found(NamedTuple):
    """One point: its number in the order of the search, its key, and its metrics or why it cannot be."""

    number: int
    key: str
    point: Point
    result: Result

    def value(self, objective: str) -> float:
        """What it is worth; minus infinity where it has no such value."""
        worth = math.nan if isinstance(self.result, str) else self.result[objective]
        return -math.inf if math.isnan(worth) else worth


class Batch(NamedTuple):
    """Points that became known together. daily_returns: float32, a row per point, or None."""

    found: list[Found]
    daily_returns: np.ndarray | None


OnBatch: TypeAlias = Callable[[Batch], None]
_Asked: TypeAlias = tuple[int, str, Point]


def search(
    subject: Subject,
    plan: Plan,
    submit: Submit,
    *,
    span: Span | None = None,
    known: Mapping[str, Result] | None = None,
    keep_returns: bool = False,
    on_batch: OnBatch = lambda batch: None,
) -> list[Found]:
    """Every point of the plan with its result, in the order of their numbers.

    known: results by key of points that were finished before; they are not evaluated again. on_batch: called in this thread
    with what became known, as soon as it did. The result depends on subject, plan and span alone, not on the workers, nor on
    what was known. A point that cannot be, for it is refused or the strategy raises there, is kept with the reason;
    `CryptaiError` names the first where none can be. A task that fails otherwise ends the search with its error.
    """
    run = _Run(subject, submit, span, dict(known or {}), keep_returns, on_batch)
    if plan.method == "optuna":
        return _possible(_search_optuna(run, plan))
    points = grid_points(plan.space) if plan.method == "grid" else random_points(plan.space, plan.count, plan.seed)
    asked = [(number, point_key(subject, point, span), point) for number, point in enumerate(points)]
    _evaluate(run, asked)
    return _possible([Found(*one, run.finished[one[1]]) for one in asked])


def first_refused(found: Iterable[Found]) -> Found | None:
    """The first point that cannot be, which tells why; None when all can."""
    return next((one for one in found if isinstance(one.result, str)), None)


def told_point(point: Point) -> str:
    """A point in words, such as `fast=10, slow=50`."""
    return ", ".join(f"{name}={value}" for name, value in point.items())


def _possible(found: list[Found]) -> list[Found]:
    """`found`, when any of it can be."""
    first = first_refused(found)
    if first is not None and all(isinstance(one.result, str) for one in found):
        raise CryptaiError(f"none of {len(found):,} points can be; the first, {told_point(first.point)}: {first.result}")
    return found


def best(found: Iterable[Found], objective: str) -> Found | None:
    """The point with the highest objective, of equals the first; None when no point has one."""
    ranked = max(found, key=lambda one: one.value(objective), default=None)
    return None if ranked is None or ranked.value(objective) == -math.inf else ranked


def daily_returns_of(found: Sequence[Found], submit: Submit, span: Span | None = None) -> np.ndarray:
    """The daily returns of points that can be, evaluated anew: float32, a row per point and a column per day."""
    starts = range(0, len(found), _POINTS_A_TASK)
    tasks = [Task(tuple(one.point for one in found[start : start + _POINTS_A_TASK]), span, True) for start in starts]
    return np.concatenate([future.result().daily_returns for future in [submit(task) for task in tasks]])


@dataclass(frozen=True)
class _Run:
    """What a search needs at every step; `finished` grows."""

    subject: Subject
    submit: Submit
    span: Span | None
    finished: dict[str, Result]
    keep_returns: bool
    on_batch: OnBatch


def _evaluate(run: _Run, asked: Sequence[_Asked]) -> None:
    """Make the results of all `asked` points part of what is finished."""
    parts = _parts([one for one in asked if one[1] not in run.finished], signal_parameters(run.subject))
    waiting: dict[Future[Answer], list[_Asked]] = {}
    while True:
        for part in itertools.islice(parts, _TASKS_AHEAD - len(waiting)):
            waiting[run.submit(Task(tuple(point for _, _, point in part), run.span, run.keep_returns))] = part
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            part, answer = waiting.pop(future), future.result()
            found = [Found(*one, result) for one, result in zip(part, answer.results, strict=True)]
            run.finished.update((one.key, one.result) for one in found)
            run.on_batch(Batch(found, answer.daily_returns))


def _parts(asked: Sequence[_Asked], of_signals: Collection[str]) -> Iterator[list[_Asked]]:
    """Points that ask for the same signals, so many at a time as make a task."""
    groups: dict[tuple[Any, ...], list[_Asked]] = {}
    for one in asked:
        groups.setdefault(tuple(value for name, value in one[2].items() if name in of_signals), []).append(one)
    for group in groups.values():
        for begin in range(0, len(group), _POINTS_A_TASK):
            yield group[begin : begin + _POINTS_A_TASK]


def _search_optuna(run: _Run, plan: Plan) -> list[Found]:
    """As many points as the plan has are asked for; one that comes again is not tried again."""
    study, distributions = _study(plan)
    found: dict[str, Found] = {}
    left = plan.count
    while left and len(found) < plan.size:
        trials = [study.ask(distributions) for _ in range(min(left, _ASKED_AT_ONCE))]
        left -= len(trials)
        points = [{one.name: _chosen(one, trial.params[one.name]) for one in plan.space} for trial in trials]
        keys = [point_key(run.subject, point, run.span) for point in points]
        fresh = {key: point for key, point in zip(keys, points, strict=True) if key not in found}
        asked = [(len(found) + number, key, point) for number, (key, point) in enumerate(fresh.items())]
        _evaluate(run, asked)
        found.update((key, Found(number, key, point, run.finished[key])) for number, key, point in asked)
        for trial, key in zip(trials, keys, strict=True):
            _tell(study, trial, found[key].value(plan.objective))
    return list(found.values())


def _study(plan: Plan) -> tuple[Any, dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # Points that are being tried must count, or a batch would be sixteen times the same; this is called experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=plan.seed, constant_liar=True)
    return optuna.create_study(direction="maximize", sampler=sampler), {one.name: _distribution(one) for one in plan.space}


def _distribution(dimension: Dimension) -> Any:
    """Values that are known beforehand are drawn by their position, so that they come out as they were given."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if dimension.values is None:
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log)
    if dimension.ordered:
        return IntDistribution(0, len(dimension.values) - 1)
    return CategoricalDistribution(list(range(len(dimension.values))))


def _chosen(dimension: Dimension, drawn: Any) -> Any:
    return drawn if dimension.values is None else dimension.values[drawn]


def _tell(study: Any, trial: Any, worth: float) -> None:
    from optuna.trial import TrialState

    if math.isfinite(worth):
        study.tell(trial, worth)
    else:
        study.tell(trial, state=TrialState.FAIL)
