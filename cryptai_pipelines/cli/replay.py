"""`cryptai replay`: a local venue that speaks the REST APIs of Binance, spot and USD-M, and of Coinbase from recorded or
simulated bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def replay(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Holds <venue>/<SYMBOL>_<timeframe>.parquet or .csv")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 8899,
    now: Annotated[str | None, typer.Option(help="The venue's clock starts here (ISO 8601, UTC).")] = None,
    speed: Annotated[
        float | None, typer.Option(help="How fast the venue's clock runs: 1 is real time. With --now alone it stands still.")
    ] = None,
    simulate: Annotated[int | None, typer.Option(metavar="SEED", help="Serve a simulated market made from this seed.")] = None,
    symbols: Annotated[int, typer.Option(min=1, max=2000, help="How many symbols the simulated market lists.")] = 10,
    weight_limit: Annotated[
        int, typer.Option(min=1, help="Request weight allowed per minute; of USD-M two fifths of it.")
    ] = 6000,
) -> None:
    """Serve recorded (DIR) or simulated (--simulate SEED) bars until interrupted."""
    from cryptai_pipelines.cli.output import counted, say
    from cryptai_pipelines.market.clock import parse_time
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.replay.rate_limit import Limits
    from cryptai_pipelines.replay.recorded import open_recorded
    from cryptai_pipelines.replay.server import serve
    from cryptai_pipelines.replay.simulated import open_simulated
    from cryptai_pipelines.replay.venue_clock import venue_clock

    if (folder is None) == (simulate is None):
        raise BadInput("replay needs either DIR or --simulate SEED")
    clock = venue_clock(None if now is None else parse_time(now, "--now"), speed)
    if folder is not None:
        venue, title = open_recorded(folder, clock), f"recorded bars of {folder}"
    else:
        venue, title = (
            open_simulated(simulate, symbols, clock),
            f"a simulated market of {counted(symbols, 'symbol')} (seed {simulate})",
        )
    serve(venue, port, ready=lambda url: say(f"replay: {title} at {url}"), limits=Limits(weight_per_minute=weight_limit))
