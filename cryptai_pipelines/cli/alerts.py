"""`cryptai alerts`: what is wrong, who was told of it, and whether the receivers take a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption, refuse_options_before

if TYPE_CHECKING:
    from cryptai_pipelines.orchestration.alerts.receivers import Receiver as Configured
    from cryptai_pipelines.storage.alerts import Alert, Receiver

app = typer.Typer()
_LIMIT = 50


@app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="The most alerts to list.")] = _LIMIT,
    json: JsonOption = False,
) -> None:
    """List alerts, the firing ones first, and the receivers of CRYPTAI_ALERT_URLS."""
    if context.invoked_subcommand is not None:
        refuse_options_before(context, {"--limit": limit != _LIMIT, "--json": json})
        return
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.orchestration.alerts.receivers import read_receivers
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage import alerts as stored

    settings = load_settings()
    configured = {receiver.name: receiver for receiver in read_receivers(settings.alert_urls)}
    with open_store(settings) as store:
        found = [_told(alert) for alert in stored.read_alerts(store.database, limit)]
        receivers = _receivers(configured, stored.read_receivers(store.database))
    if json:
        print_json({"firing": sum(one["recovered"] is None for one in found), "alerts": found, "receivers": receivers})
    else:
        _print(found, receivers)


@app.command()
def test(json: JsonOption = False) -> None:
    """Send a test message to every receiver and report what became of it; exit code 1 when one did not take it."""
    from cryptai_pipelines.cli.output import counted, print_json, say, step
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.orchestration.alerts.delivery import send
    from cryptai_pipelines.orchestration.alerts.messages import trial_message
    from cryptai_pipelines.orchestration.alerts.receivers import read_receivers
    from cryptai_pipelines.settings import load_settings

    settings = load_settings()
    receivers = read_receivers(settings.alert_urls)
    if not receivers:
        raise BadInput("CRYPTAI_ALERT_URLS is empty; accepted: Apprise URLs, comma separated, such as json://HOST:PORT/PATH")
    with step(f"alerts: a test message to {counted(len(receivers), 'receiver')}"):
        errors = [(one, next(iter(send(one, [trial_message(settings.ui_url)])))) for one in receivers]
    failed = [f"{one.shown}: {error}" for one, error in errors if error]
    if json:
        told = [
            {"receiver": one.name, "address": one.address, "delivered": error is None, "error": error} for one, error in errors
        ]
        print_json({"receivers": told, **({"error": "; ".join(failed)} if failed else {})})
    else:
        for one, error in errors:
            typer.echo(f"{'FAIL' if error else 'ok  '} {one.shown}{f'  {error}' if error else ''}")
    for line in failed:
        say(f"cryptai: {line}")
    raise typer.Exit(1 if failed else 0)


def _told(alert: Alert) -> dict[str, Any]:
    from cryptai_pipelines.market.clock import format_time

    return {
        "cause": alert.cause,
        "severity": alert.severity,
        "subject": alert.subject,
        "summary": alert.summary,
        "since": format_time(alert.since_ms),
        "fired": format_time(alert.fired_ms),
        "recovered": None if alert.recovered_ms is None else format_time(alert.recovered_ms),
        "link": alert.link,
        "details": dict(alert.details),
    }


def _receivers(configured: Mapping[str, Configured], known: list[Receiver]) -> list[dict[str, Any]]:
    """The configured receivers, and those that are not any more as long as something waits for them."""
    from cryptai_pipelines.market.clock import format_time

    by_name = {one.receiver: one for one in known}
    names = dict.fromkeys([*configured, *(one.receiver for one in known if one.pending)])
    told = []
    for name in names:
        one = by_name.get(name)
        told.append(
            {
                "receiver": name,
                "address": configured[name].address if name in configured else None,
                "configured": name in configured,
                "pending": one.pending if one else 0,
                "failures": one.failures if one else 0,
                "error": one.last_error if one else None,
                "last_sent": format_time(one.last_sent_ms) if one and one.last_sent_ms is not None else None,
            }
        )
    return told


def _print(found: list[dict[str, Any]], receivers: list[dict[str, Any]]) -> None:
    for one in found:
        state = f"recovered {one['recovered']}" if one["recovered"] else one["severity"].upper()
        typer.echo(f"{state}  {one['cause']}  {one['subject']}, since {one['since']}: {one['summary']}")
    if not found:
        typer.echo("nothing is wrong, and nothing was")
    for one in receivers:
        state = (
            f"failed {one['failures']} times: {one['error']}" if one["failures"] else f"last sent {one['last_sent'] or 'never'}"
        )
        where = f" ({one['address']})" if one["address"] else ""
        typer.echo(f"receiver {one['receiver']}{where}: {one['pending']} waiting, {state}")
    if not receivers:
        typer.echo("nobody is told: CRYPTAI_ALERT_URLS is empty")
