"""`cryptai sync`: from the venue to validated bars, without Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import EndOption, JsonOption, StartOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.intervals import Interval
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.walk import SeriesResult
    from cryptai_pipelines.settings import Settings
    from cryptai_pipelines.storage.database import Database


def sync(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT.")] = None,
    timeframe: Annotated[
        list[str] | None,
        typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w; may be given several times."),
    ] = None,
    start: StartOption = None,
    end: EndOption = None,
    exchange: Annotated[str | None, typer.Option(help="The venue; the default is CRYPTAI_EXCHANGE.")] = None,
    json: JsonOption = False,
) -> None:
    """Fetch what is missing, validate it and store it; running it again writes nothing twice."""
    from cryptai_pipelines.cli.selection import chosen_series, chosen_window
    from cryptai_pipelines.settings import load_settings

    settings = load_settings()
    if exchange is not None:
        settings = settings.model_copy(update={"exchange": exchange.strip().lower()})
    told = _brought_up_to_date(chosen_series(symbols, timeframe, settings), chosen_window(start, end), settings)
    _tell(told, json)
    raise typer.Exit(1 if any(one["error"] for one in told) else 0)


def _brought_up_to_date(series: list[Series], window: Interval | None, settings: Settings) -> list[dict[str, Any]]:
    """What became of each series, in their order."""
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.selection import run_name
    from cryptai_pipelines.orchestration.chain.steps import data_steps, holding, planned
    from cryptai_pipelines.orchestration.chain.walk import walk
    from cryptai_pipelines.orchestration.listings import know_listing
    from cryptai_pipelines.orchestration.store import open_archive, open_store, open_venue

    open_venue(settings)  # Calls nothing; a venue that cannot be is told before a server is started.
    with open_store(settings) as store:
        venue = open_venue(settings, database=store.database)
        know_listing(store.database, venue, [one.symbol for one in series])
        with shown_progress() as on_progress:
            archive = open_archive(settings, store.database)
            steps = data_steps(store.database, venue, settings, run_name("sync"), window, on_progress, archive=archive)
            hold = holding(store.database, venue.name, settings, run_name("sync"))
            with planned(store.database, venue.name, series, settings, run_name("sync")):
                results = {result.series: result for result in walk(series, steps, hold, settings.fetch_threads)}
        return [_told(store.database, venue.name, results[one]) for one in series]


def _told(database: Database, venue: str, result: SeriesResult) -> dict[str, Any]:
    from cryptai_pipelines.cli.results import stored_series

    written = {outcome.asset: outcome.written for outcome in result.outcomes}
    facts = {name: value for outcome in result.outcomes for name, value in outcome.facts.items()}
    return {
        **stored_series(database, venue, result.series),
        "rows_fetched": facts.get("rows_fetched", 0),
        "rows_restated": facts.get("rows_restated", 0),
        "raw_rows_written": written.get("raw_ohlcv", 0),
        "validated_rows_written": written.get("validated_bars", 0),
        "rows_written": sum(written.values()),
        "failed_at": result.failed_at,
        "error": result.error,
    }


def _tell(told: list[dict[str, Any]], json: bool) -> None:
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.results import print_series

    failures = [
        f"{one['symbol']} {one['timeframe']} failed at {one['failed_at']}: {one['error']}" for one in told if one["error"]
    ]
    if json:
        summary: dict[str, Any] = {"rows_written": sum(one["rows_written"] for one in told), "series": told}
        print_json({**summary, "error": "; ".join(failures)} if failures else summary)
    elif len(failures) < len(told):
        print_series(told)
    for failure in failures:
        say(f"cryptai: {failure}")
