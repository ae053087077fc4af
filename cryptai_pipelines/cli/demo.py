"""`cryptai demo`: the main job on the recorded sample, from a venue in this process to the result on the terminal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from cryptai_pipelines.cli.output import print_json, say
from cryptai_pipelines.cli.progress import shown_progress
from cryptai_pipelines.cli.results import backtest_result, print_backtest, print_series, stored_series
from cryptai_pipelines.market.clock import parse_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.publish import files_of
from cryptai_pipelines.orchestration.chain.steps import default_trial
from cryptai_pipelines.orchestration.instance import dagster_environment, materialize_graph
from cryptai_pipelines.orchestration.store import open_store
from cryptai_pipelines.settings import load_settings

SAMPLE = Path(__file__).resolve().parent.parent / "sample"
SAMPLE_SERIES = Series("BTC-USDT", Timeframe.H1)
# Five minutes after the last bar of the sample has closed.
SAMPLE_NOW = "2024-01-02T00:05:00Z"


def demo(json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Run the main job on 55,765 recorded Binance BTC/USDT bars and print the result. Needs no network and no keys."""
    from cryptai_pipelines.replay.recorded import open_recorded
    from cryptai_pipelines.replay.server import running
    from cryptai_pipelines.replay.venue_clock import venue_clock

    began = time.monotonic()
    venue = open_recorded(SAMPLE, venue_clock(parse_time(SAMPLE_NOW)))
    with running(venue) as base_url:
        os.environ["CRYPTAI_BINANCE_URL"] = base_url
        settings = load_settings()
        say(f"demo: opening the store in {settings.home} and replaying the recorded sample at {base_url}")
        with open_store(settings) as store:
            say(f"demo: materializing the graph for {SAMPLE_SERIES}")
            with shown_progress() as on_progress:
                run_id = materialize_graph(dagster_environment(settings, store), [SAMPLE_SERIES], on_progress)
            trial = default_trial(settings)
            data = stored_series(store.database, settings.exchange, SAMPLE_SERIES)
            result = backtest_result(store.database, SAMPLE_SERIES, trial)
    report = files_of(settings.home.resolve() / "reports", SAMPLE_SERIES, trial.strategy).report
    seconds = round(time.monotonic() - began, 1)
    if json:
        print_json({"data": data, "backtest": result, "report": str(report), "run_id": run_id, "seconds": seconds})
        return
    print_series([data])
    print_backtest(result)
    typer.echo(f"report  {report}")
    say(f"done in {seconds} s; see the graph with: {Path(sys.argv[0])} up")
