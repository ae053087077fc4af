"""`cryptai outages`: when a venue stood still, as found in what its symbols miss or as a person has declared it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption, refuse_options_before

if TYPE_CHECKING:
    from cryptai_pipelines.storage.outages import KnownOutage

app = typer.Typer()
_APPLIED = "`cryptai quality --assess` applies it now, the next data_quality asset otherwise"

ExchangeOption = Annotated[str | None, typer.Option(help="The venue; the default is CRYPTAI_EXCHANGE.")]
StartArgument = Annotated[str, typer.Argument(metavar="START", help="When it began (ISO 8601, UTC).")]


@app.callback(invoke_without_command=True)
def outages(context: typer.Context, exchange: ExchangeOption = None, json: JsonOption = False) -> None:
    """List the known outages of a venue. Bars that are missing in one of them do not count against completeness."""
    if context.invoked_subcommand is not None:
        refuse_options_before(context, {"--exchange": exchange, "--json": json})
        return
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.cli.selection import venue_name
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.outages import read_known_outages

    settings = load_settings()
    venue = venue_name(exchange, settings)
    with open_store(settings) as store:
        found = read_known_outages(store.database, venue)
    if json:
        print_json({"venue": venue, "outages": [_told(one) for one in found]})
    else:
        _print(venue, found)


@app.command()
def declare(
    start: StartArgument,
    end: Annotated[str, typer.Argument(metavar="END", help="When it was over.")],
    source: Annotated[str, typer.Option(metavar="TEXT", help="Where it is known from, such as a status page's address.")],
    exchange: ExchangeOption = None,
    json: JsonOption = False,
) -> None:
    """Declare an outage of the whole venue, as when one symbol alone cannot show it. What is found never withdraws it."""
    from cryptai_pipelines.cli.selection import venue_name
    from cryptai_pipelines.market.clock import SystemClock, format_time, parse_time
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.quality.outages import Outage
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.outages import KnownOutage, declare_outage

    settings, now_ms = load_settings(), SystemClock().now_ms()
    venue = venue_name(exchange, settings)
    outage = Outage(parse_time(start, "START"), parse_time(end, "END"), (), 0, ())
    if outage.start_ms >= outage.end_ms:
        raise BadInput(f"END {end!r} is not after START {start!r}; accepted: a later moment")
    if outage.end_ms > now_ms:
        raise BadInput(f"END {end!r} is in the future; accepted: an outage that is over")
    if not source.strip():
        raise BadInput("--source is empty; accepted: where the outage is known from, such as a status page's address")
    with open_store(settings) as store, store.database.transaction() as cursor:
        if not declare_outage(cursor, venue, outage, source.strip(), now_ms):
            raise BadInput(
                f"an outage of {venue} that began at {format_time(outage.start_ms)} is known; accepted: another START, or this"
                " one once it is withdrawn, if it was declared"
            )
    _tell_changed("declared", venue, _told(KnownOutage(outage, source.strip())), json)


@app.command()
def withdraw(start: StartArgument, exchange: ExchangeOption = None, json: JsonOption = False) -> None:
    """Withdraw the declared outage that began at START; one that was found is not a person's to withdraw."""
    from cryptai_pipelines.cli.selection import venue_name
    from cryptai_pipelines.market.clock import format_time, parse_time
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.outages import read_known_outages, withdraw_outage

    settings, start_ms = load_settings(), parse_time(start, "START")
    venue = venue_name(exchange, settings)
    with open_store(settings) as store:
        declared = [one for one in read_known_outages(store.database, venue) if one.declared_by is not None]
        gone = [one for one in declared if one.outage.start_ms == start_ms]
        if not gone:
            starts = " ".join(format_time(one.outage.start_ms) for one in declared) or "none is declared"
            raise BadInput(f"no declared outage of {venue} starts at {start!r}; declared: {starts}")
        with store.database.transaction() as cursor:
            withdraw_outage(cursor, venue, start_ms)
    _tell_changed("withdrawn", venue, _told(gone[0]), json)


def _told(one: KnownOutage) -> dict[str, Any]:
    from cryptai_pipelines.market.clock import format_time

    outage = one.outage
    return {
        "start": format_time(outage.start_ms),
        "end": format_time(outage.end_ms),
        "symbols": list(outage.symbols),
        "of_symbols": outage.of_symbols,
        "timeframes": list(outage.timeframes),
        "declared_by": one.declared_by,
    }


def _tell_changed(what: str, venue: str, told: dict[str, Any], json: bool) -> None:
    from cryptai_pipelines.cli.output import print_json, say

    if json:
        print_json({"venue": venue, what: told})
    else:
        typer.echo(f"{what}: outage of {venue} {told['start']} to {told['end']} ({told['declared_by']})")
    say(f"outages: {_APPLIED}")


def _print(venue: str, found: list[KnownOutage]) -> None:
    from rich.table import Table

    from cryptai_pipelines.cli.results import print_table

    if not found:
        typer.echo(f"no outage of {venue} is known; `cryptai quality --assess` looks for them, two symbols or more show them")
        return
    table = Table("start", "end", "symbols", "timeframes", "known from", title=venue)
    for one in map(_told, found):
        seen = f"{len(one['symbols'])} of {one['of_symbols']}" if one["symbols"] else "all"
        table.add_row(one["start"], one["end"], seen, " ".join(one["timeframes"]), one["declared_by"] or "missing bars")
    print_table(table)
