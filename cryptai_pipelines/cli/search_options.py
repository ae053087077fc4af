"""The options by which `sweep` and `walkforward` are told what is searched and how, and the plan that these make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cryptai_pipelines.backtest.search import Plan

StrategyOption = Annotated[
    str | None, typer.Option("--strategy", metavar="NAME", help="A name, or FILE.py or FILE.py:NAME; else the scheduled one.")
]
GridOption = Annotated[
    list[str] | None,
    typer.Option(
        "--grid",
        metavar="NAME=VALUES",
        help="A parameter of the strategy or the engine: a,b,c or low:high:step or low:high or low:high:log or low:high:logN.",
    ),
]
RandomOption = Annotated[int | None, typer.Option("--random", metavar="N", help="N points at random instead of all.", min=1)]
OptunaOption = Annotated[int | None, typer.Option("--optuna", metavar="N", help="N points asked of Optuna's TPE.", min=1)]
SeedOption = Annotated[int, typer.Option("--seed", help="Of the points that are drawn.", min=0)]
ObjectiveOption = Annotated[str, typer.Option("--objective", metavar="METRIC", help="What is maximised.")]
JobsOption = Annotated[int | None, typer.Option("--jobs", "-j", metavar="N", help="Workers; one per core by default.", min=1)]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, such as tcp://10.0.0.5:8786.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume/--anew", help="Go on from the points of the same search that are stored, or begin anew.")
]


def plan_of(grid: list[str] | None, random: int | None, optuna: int | None, seed: int, objective: str) -> Plan:
    """The plan of these options. `BadInput` for one that cannot be."""
    from cryptai_pipelines.backtest.search import Plan
    from cryptai_pipelines.backtest.search_space import parse_dimension, space_of
    from cryptai_pipelines.market.errors import BadInput

    given = [parse_dimension(text) for text in grid or ()]
    names = [name for name, _ in given]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise BadInput(f"--grid {twice[0]} is given {names.count(twice[0])} times; accepted: once for each parameter")
    if not given:
        raise BadInput("nothing is searched without --grid; accepted: at least one, such as --grid stop_loss=0.02:0.10:0.01")
    if random is not None and optuna is not None:
        raise BadInput("--random and --optuna are two ways to choose points; accepted: one of them, or none for all points")
    method = "random" if random is not None else "optuna" if optuna is not None else "grid"
    return Plan(space_of(dict(given)), method, random or optuna or 0, seed, objective)
