"""`cryptai walkforward`: parameters chosen on the past and traded on what came next, window after window."""

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


def walkforward(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTC-USDT.")],
    train: Annotated[str, typer.Option(metavar="LENGTH", help="Bars to choose on: 360d for days, 5000b for bars.")],
    test: Annotated[str, typer.Option(metavar="LENGTH", help="Bars to trade after them, in the same unit.")],
    step: Annotated[str | None, typer.Option(metavar="LENGTH", help="From one window to the next; --test by default.")] = None,
    anchored: Annotated[bool, typer.Option("--anchored", help="Every training begins at the first bar.")] = False,
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
    """Choose parameters on one window of the stored bars and trade the next with them, again and again; tell what is left."""
    from cryptai_pipelines.backtest.walk_forward import parse_length
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.points_progress import shown_points
    from cryptai_pipelines.cli.selection import chosen_window
    from cryptai_pipelines.market.series import Series, parse_symbol
    from cryptai_pipelines.market.timeframe import parse_timeframe
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.orchestration.sweep import Request
    from cryptai_pipelines.orchestration.walk_forward import run_walk_forward
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.strategy.signals import find_strategy

    series = Series(parse_symbol(symbol), parse_timeframe(timeframe))
    plan, settings = plan_of(grid, random, optuna, seed, objective), load_settings()
    name = strategy or settings.strategy
    find_strategy(name)
    lengths = (parse_length(train), parse_length(test), None if step is None else parse_length(step))
    request = Request(series, name, plan, chosen_window(start, end), jobs, scheduler, resume)
    with open_store(settings) as store, shown_points(f"{series} walk-forward") as on_points:
        result = run_walk_forward(store.database, settings, request, lengths, anchored, on_points)
    if json:
        print_json(result)
        return
    _print(result)
    say(f"picture: {result['picture']}")


def _print(result: Mapping[str, Any]) -> None:
    from cryptai_pipelines.cli.output import counted, print_table, say

    rows = (
        [
            f"{window['test'][0]} to {window['test'][1]}",
            "none" if window["point"] is None else ", ".join(f"{name} {value}" for name, value in window["point"].items()),
            "" if window["point"] is None else f"{window['in_sample']:,.3f}",
            "" if window["point"] is None else f"{window['metrics'][result['objective']]:,.3f}",
            "" if window["point"] is None else f"{100 * window['metrics']['total_return']:,.2f} %",
        ]
        for window in result["windows"]
    )
    objective, summary = result["objective"], result["summary"]
    print_table(["test", "chosen", f"{objective} before", f"{objective} in the test", "return in the test"], rows)
    say(f"fees: {result['fees']}")
    say(f"market rules: {result['market_rules']}")
    if not summary["windows_traded"]:
        say(f"nothing was traded in {summary['windows']:.0f} tests: no point had a {objective} in the training before it")
        return
    efficiency = summary["efficiency"]
    told = "not defined" if efficiency != efficiency else f"{efficiency:.2f}"
    say(f"walk-forward efficiency: {told}, {objective} lost out of sample: {summary['loss']:.3f}")
    say(f"out of sample: {100 * result['metrics']['total_return']:,.2f} % over {summary['windows']:.0f} tests")
    if result["verdict"]:
        verdict, trials = result["verdict"], counted(result["trials"], "trial")
        say(f"verdict out of sample: {verdict['answer']} ({trials}); {verdict['reasons'][0]}")
    for finding in result["findings"] or ():
        say(f"{finding['severity']}: {finding['sentence']}")
