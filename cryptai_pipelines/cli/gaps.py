"""`cryptai gaps`: every gap of the stored series, why it is there as far as that is known, and who was asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.storage.database import Database


def gaps(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT.")] = None,
    timeframe: Annotated[
        list[str] | None,
        typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w; may be given several times."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List every gap of the stored series with its class; `cryptai quality --assess` finds the classes out."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.cli.selection import stored_series
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    settings = load_settings()
    with open_store(settings) as store:
        chosen = stored_series(store.database, symbols, timeframe)
        told = [gap for series in chosen for gap in _gaps_of(store.database, series)]
    if json:
        print_json({"series": len(chosen), "gaps": told, "missing_bars": sum(gap["bars"] for gap in told)})
    else:
        _print(told, len(chosen))


def _gaps_of(database: Database, series: Series) -> list[dict[str, Any]]:
    from cryptai_pipelines.market.clock import format_time
    from cryptai_pipelines.storage import gap_fills, quality_log

    attempts = gap_fills.read_attempts(database, series)
    fills = gap_fills.read_fills(database, series)
    told = []
    for gap in quality_log.read_findings(database, series, "gap"):
        start, end = gap.period
        tried = [one for one in attempts if one.gap.start_ms < end and one.gap.end_ms > start]
        told.append(
            {
                "symbol": series.symbol,
                "timeframe": series.timeframe.code,
                "start": format_time(start),
                "end": format_time(end),
                "bars": gap.missing,
                "class": gap.details.get("class"),
                "evidence": gap.details.get("evidence"),
                "filled": any(fill.start_ms < end and fill.end_ms > start for fill in fills),
                "tried": [{"source": one.source, "bars": one.bars, "error": one.error} for one in tried],
            }
        )
    return told


def _print(told: list[dict[str, Any]], series: int) -> None:
    from rich.table import Table

    from cryptai_pipelines.cli.results import print_table

    if not told:
        typer.echo(f"no gaps in {series} series" if series else "nothing is stored yet; `cryptai sync` fetches bars")
        return
    table = Table("series", "start", "end", "bars", "class", "evidence", "tried")
    for gap in told:
        tried = ", ".join(f"{one['source']}: {one['error'] or one['bars']}" for one in gap["tried"])
        table.add_row(
            f"{gap['symbol']} {gap['timeframe']}",
            gap["start"],
            gap["end"],
            f"{gap['bars']:,}{' (filled)' if gap['filled'] else ''}",
            gap["class"] or "not assessed",
            gap["evidence"] or "",
            tried,
        )
    print_table(table)
    typer.echo(f"{len(told):,} gaps, {sum(gap['bars'] for gap in told):,} bars missing in {series} series")
