"""`cryptai sweep`: many parameters of a strategy on stored bars, each point a logged trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cryptai_pipelines.cli.options import EndOption, JsonOption, StartOption
from cryptai_pipelines.cli.search_options import (
    GridOption,
    JobsOption,
    ObjectiveOption,
    OptunaOption,
    RandomOption,
    ResumeOption,
    SchedulerOption,
    SeedOption,
    StrategyOption,
    plan_of,
)

_SHOWN = ("sharpe", "total_return", "max_drawdown", "trade_count", "profit_factor")


def sweep(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTC-USDT.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w.")] = "1h",
    strategy: StrategyOption = None,
    grid: GridOption = None,
    random: RandomOption = None,
    optuna: OptunaOption = None,
    seed: SeedOption = 0,
    objective: ObjectiveOption = "sharpe",
    start: StartOption = None,
    end: EndOption = None,
    jobs: JobsOption = None,
    scheduler: SchedulerOption = None,
    resume: ResumeOption = True,
    json: JsonOption = False,
) -> None:
    """Try many parameters of a strategy on the stored bars of a series, on all cores; one that was cut goes on from there."""
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.points_progress import shown_points
    from cryptai_pipelines.cli.selection import chosen_window
    from cryptai_pipelines.market.series import Series, parse_symbol
    from cryptai_pipelines.market.timeframe import parse_timeframe
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.orchestration.sweep import Request, run_sweep
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.strategy.signals import find_strategy

    # What can be refused is refused before anything is started.
    series = Series(parse_symbol(symbol), parse_timeframe(timeframe))
    plan, settings = plan_of(grid, random, optuna, seed, objective), load_settings()
    name = strategy or settings.strategy
    find_strategy(name)
    request = Request(series, name, plan, chosen_window(start, end), jobs, scheduler, resume)
    with open_store(settings) as store, shown_points(f"{series} sweep") as on_points:
        result = run_sweep(store.database, settings, request, on_points)
    if json:
        print_json(result)
        return
    _print(result)
    if result["heat_map"]:
        say(f"map: {result['heat_map']['path']}")


def _print(result: Mapping[str, Any]) -> None:
    from cryptai_pipelines.backtest.search import told_point
    from cryptai_pipelines.cli.output import counted, print_table, say

    objective = result["objective"]
    names = list(result["best"][0]["point"]) if result["best"] else []
    metrics = dict.fromkeys((objective, *_SHOWN))
    rows = (
        [*(f"{one['point'][name]:g}" if isinstance(one["point"][name], float) else str(one["point"][name]) for name in names)]
        + [f"{one['metrics'][name]:,.4g}" for name in metrics]
        for one in result["best"]
    )
    print_table([*names, *metrics], rows)
    refused = f", {result['points_refused']:,} refused" if result["points_refused"] else ""
    say(f"{counted(result['points'], 'point')}, {result['points_resumed']:,} of them from before{refused}")
    if result["first_refused"]:
        say(f"the first refused, {told_point(result['first_refused']['point'])}: {result['first_refused']['reason']}")
    say(f"fees: {result['fees']}")
    say(f"market rules: {result['market_rules']}")
    for name, what in (("dsr", "deflated Sharpe ratio"), ("pbo", "probability of overfitting")):
        value = result[name]
        told = "not defined" if value is None or value != value else f"{value:.3f}"
        say(f"{what}: {told}" + (f", of {counted(result['trials'], 'trial')} so far" if name == "dsr" else ""))
    if result["verdict"]:
        say(f"verdict on the best: {result['verdict']['answer']}; {result['verdict']['reasons'][0]}")
    for finding in result["findings"] or ():
        say(f"{finding['severity']}: {finding['sentence']}")
