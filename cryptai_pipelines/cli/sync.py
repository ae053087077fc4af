"""`cryptai sync`: from the venue to validated bars, without Dagster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cryptai_pipelines.cli.output import print_json, say
from cryptai_pipelines.cli.progress import shown_progress
from cryptai_pipelines.cli.results import print_series, stored_series
from cryptai_pipelines.cli.selection import (
    EndOption,
    JsonOption,
    StartOption,
    SymbolsArgument,
    TimeframesOption,
    chosen_series,
    chosen_window,
    run_name,
)
from cryptai_pipelines.orchestration.chain.steps import data_steps
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.store import open_store, open_venue
from cryptai_pipelines.settings import load_settings
from cryptai_pipelines.storage.database import Database


def sync(
    symbols: SymbolsArgument = None,
    timeframe: TimeframesOption = None,
    start: StartOption = None,
    end: EndOption = None,
    exchange: Annotated[str | None, typer.Option(help="The venue; the default is CRYPTAI_EXCHANGE.")] = None,
    json: JsonOption = False,
) -> None:
    """Fetch what is missing, validate it and store it; running it again writes nothing twice."""
    settings = load_settings()
    if exchange is not None:
        settings = settings.model_copy(update={"exchange": exchange})
    series, window = chosen_series(symbols, timeframe, settings), chosen_window(start, end)
    venue = open_venue(settings)
    with open_store(settings) as store:
        with shown_progress() as on_progress:
            steps = data_steps(store.database, venue, settings, run_name("sync"), window, on_progress)
            results = list(walk(series, steps, settings.fetch_threads))
        told = [_told(store.database, venue.name, result) for result in _in_order(results, series)]
    failed = [result for result in results if result.error]
    if json:
        print_json({"rows_written": sum(one["rows_written"] for one in told), "series": told})
    else:
        print_series(told)
    for result in failed:
        say(f"cryptai: {result.series} failed at {result.failed_at}: {result.error}")
    raise typer.Exit(1 if failed else 0)


def _in_order(results: Sequence[SeriesResult], series: Sequence[object]) -> list[SeriesResult]:
    return sorted(results, key=lambda result: series.index(result.series))


def _told(database: Database, venue: str, result: SeriesResult) -> dict[str, Any]:
    written = {outcome.asset: outcome.written for outcome in result.outcomes}
    facts = {name: value for outcome in result.outcomes for name, value in outcome.facts.items()}
    return {
        **stored_series(database, venue, result.series),
        "rows_fetched": facts.get("rows_fetched", 0),
        "rows_restated": facts.get("rows_restated", 0),
        "raw_rows_written": written.get("raw_ohlcv", 0),
        "validated_rows_written": written.get("validated_bars", 0),
        "rows_written": sum(written.values()),
        "error": result.error,
    }
