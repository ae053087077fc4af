"""`cryptai gaps`: every gap of the stored series, why it is there as far as that is known, and who was asked for it; with
`--close` the sources are asked for them, and what nobody has is filled by `CRYPTAI_FILL`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

if TYPE_CHECKING:
    from cryptai_pipelines.cli.selection import Named
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.mend import MendedSeries, MendResult
    from cryptai_pipelines.settings import Settings
    from cryptai_pipelines.storage.database import Database


def gaps(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT.")] = None,
    timeframe: Annotated[
        list[str] | None,
        typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w; may be given several times."),
    ] = None,
    close: Annotated[bool, typer.Option("--close", help="Ask every source for them, and fill by CRYPTAI_FILL.")] = False,
    ask_again: Annotated[
        bool, typer.Option("--ask-again", help="With --close: also sources that were asked within the last six days.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List every gap of the stored series with its class (`cryptai quality --assess` finds the classes out), or close them."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.cli.selection import named, stored_series
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    if ask_again and not close:
        raise BadInput("--ask-again is of closing gaps; accepted: together with --close")
    names, settings = named(symbols, timeframe), load_settings()
    if close:
        raise typer.Exit(_close(settings, names, ask_again, json))
    with open_store(settings) as store:
        chosen = stored_series(store.database, names)
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

    from cryptai_pipelines.cli.output import counted
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
    missing = counted(sum(gap["bars"] for gap in told), "bar")
    typer.echo(f"{counted(len(told), 'gap')}, {missing} missing in {series:,} series")


def _close(settings: Settings, names: Named, ask_again: bool, json: bool) -> int:
    """Close the gaps of the chosen series and tell of it; the exit code."""
    from cryptai_pipelines.cli.output import print_json, say
    from cryptai_pipelines.cli.selection import stored_series
    from cryptai_pipelines.orchestration.doors import parse_secondaries
    from cryptai_pipelines.orchestration.store import open_store, open_venue

    # Calls nothing; a venue that cannot be is told before a server is started.
    open_venue(settings)
    for secondary in parse_secondaries(settings):
        open_venue(settings, exchange=secondary.exchange)
    with open_store(settings) as store:
        chosen = stored_series(store.database, names)
        if not chosen and not json:
            typer.echo("nothing is stored yet; `cryptai sync` fetches bars")
            return 0
        found = _mended(store.database, settings, chosen, ask_again)
    failures = [f"{one.series} failed at {one.failed_at}: {one.error}" for one in found.failed]
    failures += [f"assessing the series failed: {found.error}"] if found.error else []
    if json:
        told = _close_told(found)
        print_json({**told, "error": "; ".join(failures)} if failures else told)
    else:
        for one in found.series:
            _print_mended(one)
    for failure in failures:
        say(f"cryptai: {failure}")
    return 1 if failures else 0


def _mended(database: Database, settings: Settings, chosen: list[Series], ask_again: bool) -> MendResult:
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.selection import run_name
    from cryptai_pipelines.market.clock import SystemClock
    from cryptai_pipelines.orchestration.chain.mend import mend
    from cryptai_pipelines.orchestration.store import open_archive, open_doors, open_venue

    doors = open_doors(settings, database, open_venue(settings, database=database))
    with shown_progress() as on_progress:
        return mend(
            database,
            settings,
            doors,
            chosen,
            SystemClock().now_ms(),
            run_name("gaps"),
            on_progress,
            archive=open_archive(settings, database),
            ask_again=ask_again,
        )


def _close_told(found: MendResult) -> dict[str, Any]:
    return {
        "series": [_series_told(one) for one in found.series],
        "closed_by": dict(found.closed_by),
        "filled_bars": found.filled,
        "missing_bars": found.left,
        "restated_bars": found.restated,
    }


def _series_told(one: MendedSeries) -> dict[str, Any]:
    closed = one.closed
    return {
        "symbol": one.series.symbol,
        "timeframe": one.series.timeframe.code,
        "gaps": closed.gaps if closed else None,
        "closed_by": dict(closed.closed_by) if closed else {},
        "filled_bars": closed.filled if closed else None,
        "missing_bars": closed.left if closed else None,
        "replaced_files": list(one.reread.replaced),
        "pending_files": list(one.reread.pending),
        "restated_bars": one.reread.restated,
        "troubles": list(one.troubles),
        "failed_at": one.failed_at,
        "error": one.error,
    }


def _print_mended(one: MendedSeries) -> None:
    """One line for a series that reached the end, and one on stderr for every source that could not answer."""
    from cryptai_pipelines.cli.output import counted, say

    closed = one.closed
    if closed is not None and one.error is None:
        by = ", ".join(f"{bars:,} by {source}" for source, bars in closed.closed_by.items()) or "none"
        parts = [counted(closed.gaps, "gap"), f"bars closed: {by}", f"filled: {closed.filled:,}"]
        parts.append(f"left: {closed.left:,} (filled ones included)" if closed.filled else f"left: {closed.left:,}")
        if one.reread.replaced or one.reread.restated:
            parts.append(f"archive files replaced: {len(one.reread.replaced):,}, bars restated: {one.reread.restated:,}")
        if one.reread.pending:
            parts.append(f"archive files still to be read: {len(one.reread.pending):,}")
        typer.echo(f"{one.series}: {'; '.join(parts)}")
    for trouble in one.troubles:
        say(f"cryptai: {one.series}: {trouble}")
