"""`cryptai explain`: why a strategy did, or did not, ask for a position at a bar."""

from __future__ import annotations

from typing import Annotated

import typer

from cryptai_pipelines.cli.options import JsonOption


def explain(
    series: Annotated[str, typer.Argument(metavar="SERIES", help="Such as BTC-USDT@1h, or BTC-USDT with --timeframe.")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="A moment within the bar (ISO 8601, UTC).")],
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="A name, or FILE.py or FILE.py:NAME; else the scheduled one, as stored.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the strategy; as often as wanted.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell every gate, score and level of a strategy at a bar, and what it decided."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.cli.selection import chosen_parameters, one_series
    from cryptai_pipelines.market.clock import parse_time
    from cryptai_pipelines.orchestration.chain.trial_parameters import chosen_trial, scheduled_trial
    from cryptai_pipelines.orchestration.explained import explain_bar
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    named, at_ms, settings = one_series(series, timeframe), parse_time(time, "TIME"), load_settings()
    trial = scheduled_trial(settings)
    if strategy is not None or set_:
        trial = chosen_trial(settings, strategy or settings.strategy, chosen_parameters(set_ or (), {}))
    with open_store(settings) as store:
        told = explain_bar(store.database, named, trial, at_ms)
    if json:
        print_json(told)
        return
    for sentence in told["sentences"]:
        typer.echo(sentence)
