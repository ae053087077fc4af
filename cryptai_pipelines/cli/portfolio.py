"""`cryptai portfolio`: a strategy on many stored symbols and one capital; each distinct set of parameters and symbols is a
logged trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import EndOption, JsonOption, StartOption
from cryptai_pipelines.cli.search_options import StrategyOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.intervals import Interval
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.market.timeframe import Timeframe
    from cryptai_pipelines.storage.database import Database


def portfolio(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT ETH-USDT.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every symbol that is stored on the timeframe.")] = False,
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w.")] = "1h",
    strategy: StrategyOption = None,
    as_of: Annotated[str | None, typer.Option(metavar="TIME", help="On bars as known then (ISO 8601, UTC).")] = None,
    start: StartOption = None,
    end: EndOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A parameter of the strategy or the engine, such as max_positions=5; as often as wanted.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Simulate a strategy on many stored symbols that share one capital, print the metrics and write the report."""
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.selection import chosen_moment, chosen_parameters, chosen_window, named, run_name
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial
    from cryptai_pipelines.orchestration.portfolio import chosen_portfolio, run_portfolio
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    if bool(symbols) is all_:
        raise BadInput(f"{'--all stands beside symbols' if all_ else 'no symbol is named'}; accepted: SYMBOL ... or --all")
    slugs, (length,) = named(symbols, [timeframe])
    settings, window, moment = load_settings(), chosen_window(start, end), chosen_moment(as_of)
    name, asked = strategy or settings.strategy, chosen_parameters(set_ or (), {})
    # What can be refused is refused before anything is started.
    if slugs:
        chosen_portfolio(settings, name, asked, [Series(slug, length) for slug in slugs])
    else:
        chosen_trial(settings, name, asked)
    with open_store(settings) as store, shown_progress() as on_progress:
        series = _chosen(store.database, slugs, length, window)
        chosen = chosen_portfolio(settings, name, asked, series, window, moment)
        result = run_portfolio(store.database, settings, chosen, run_name("portfolio"), on_progress)
    _tell(result, json)
    raise typer.Exit(1 if result["failures"] else 0)


def _chosen(database: Database, symbols: tuple[str, ...], timeframe: Timeframe, window: Interval | None) -> list[Series]:
    """The named series; without names those that have a bar in the window."""
    from cryptai_pipelines.cli.selection import Named, not_stored, stored_series
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.storage import market_data

    known = stored_series(database, Named(symbols, (timeframe,)))
    if symbols:
        return known
    spans = {one: market_data.span(database, one) for one in known}
    within = [one for one, span in spans.items() if span is not None and (window is None or _touch(span, window))]
    if not within and window is None:
        raise not_stored((), [timeframe])
    if not within:
        raise BadInput(f"no bars on {timeframe.code} are stored between --start and --end")
    return within


def _touch(span: Interval, window: Interval) -> bool:
    return span.start_ms < window.end_ms and span.end_ms >= window.start_ms


def _tell(result: Mapping[str, Any], json: bool) -> None:
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.results import print_portfolio

    failures = [f"{symbol} {result['timeframe']} failed: {error}" for symbol, error in result["failures"].items()]
    if json:
        print_json({**result, "error": "; ".join(failures)} if failures else result)
    else:
        print_portfolio(result)
        say(f"report: {result['report']}")
    for failure in failures:
        say(f"cryptai: {failure}")
