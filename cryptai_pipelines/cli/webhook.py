"""`cryptai webhook`: the receiver of TradingView's alerts, on loopback, for a proxy with TLS to stand in front of."""

from __future__ import annotations

from typing import Annotated

import typer


def webhook(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 8787,
    per_minute: Annotated[int, typer.Option(min=1, help="Alerts taken per minute; more are answered 429.")] = 60,
    print_url: Annotated[bool, typer.Option("--print-url", help="Print the address with its secret, and end.")] = False,
) -> None:
    """Store what TradingView's alerts send to /tradingview/SECRET, until interrupted. The secret: CRYPTAI_WEBHOOK_SECRET."""
    from cryptai_pipelines.cli.output import say
    from cryptai_pipelines.market.clock import SystemClock
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.web.serving import HOST, serve
    from cryptai_pipelines.web.webhook import PATH, checked_secret, webhook_app

    settings = load_settings()
    secret = checked_secret(None if settings.webhook_secret is None else settings.webhook_secret.get_secret_value())
    if print_url:
        typer.echo(f"http://{HOST}:{port}{PATH}{secret}")
        return
    with open_store(settings) as store:
        app = webhook_app(store.database, secret, per_minute, SystemClock())
        serve(app, port, lambda url: say(f"webhook: alerts are taken at {url}{PATH}<CRYPTAI_WEBHOOK_SECRET>"))
