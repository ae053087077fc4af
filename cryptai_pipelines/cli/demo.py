"""`cryptai demo`: the main job on the recorded sample, from a venue in this process to the result on the terminal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import typer

from cryptai_pipelines.cli.options import JsonOption

SAMPLE = Path(__file__).resolve().parent.parent / "sample"
SAMPLE_SERIES = "BTC-USDT|1h"
# Five minutes after the last bar of the sample has closed.
SAMPLE_NOW = "2024-01-02T00:05:00Z"


def demo(json: JsonOption = False) -> None:
    """Run the main job on 55,765 recorded Binance BTC/USDT bars and print the result. Needs no network and no keys."""
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.results import print_backtest, print_series

    began = time.monotonic()
    told = {**_materialized(), "seconds": round(time.monotonic() - began, 1)}
    if json:
        print_json(told)
        return
    print_series([told["data"]])
    print_backtest(told["backtest"])
    typer.echo(f"report  {told['report']}")
    say(f"done in {told['seconds']} s; see the graph with: {_own_name()} up")


def _materialized() -> dict[str, Any]:
    """The graph brought up to date from a venue in this process; what is stored after it."""
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.results import backtest_result, stored_series
    from cryptai_pipelines.market.clock import parse_time
    from cryptai_pipelines.market.series import parse_series
    from cryptai_pipelines.orchestration.chain.publish import files_of
    from cryptai_pipelines.orchestration.chain.trial_parameters import scheduled_trial
    from cryptai_pipelines.orchestration.instance import dagster_environment, materialize_graph
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.replay.recorded import open_recorded
    from cryptai_pipelines.replay.server import running
    from cryptai_pipelines.replay.venue_clock import venue_clock
    from cryptai_pipelines.settings import load_settings

    series = parse_series(SAMPLE_SERIES)
    venue = open_recorded(SAMPLE, venue_clock(parse_time(SAMPLE_NOW)))
    with running(venue) as base_url:
        # Assets read the settings of their own process, which this one is.
        os.environ["CRYPTAI_BINANCE_URL"] = base_url
        settings = load_settings()
        trial = scheduled_trial(settings)
        say(f"demo: opening the store in {settings.home} and replaying the recorded sample at {base_url}")
        with open_store(settings) as store:
            say(f"demo: materializing the graph for {series}")
            with shown_progress() as on_progress:
                run_id = materialize_graph(dagster_environment(settings, store), [series], on_progress)
            report = files_of(settings.home.resolve() / "reports", series, trial.strategy.name).report
            return {
                "data": stored_series(store.database, settings.exchange, series),
                "backtest": backtest_result(store.database, settings.exchange, series, trial),
                "report": str(report),
                "run_id": run_id,
            }


def _own_name() -> str:
    """How this command was called, as it can be typed again."""
    program = Path(sys.argv[0])
    return str(program) if program.name == "cryptai" else "cryptai"
