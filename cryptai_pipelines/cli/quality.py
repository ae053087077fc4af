"""`cryptai quality`: how complete the stored series are, what the rules find in them, and how their last syncs went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.data_quality import QualityAssessment, SeriesQuality
    from cryptai_pipelines.storage.database import Database

_SYNCS = 5
_FINDINGS = 20


def quality(
    symbols: Annotated[list[str] | None, typer.Argument(metavar="[SYMBOL]...", help="Such as BTC-USDT.")] = None,
    timeframe: Annotated[
        list[str] | None,
        typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w; may be given several times."),
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="The venue; the default is CRYPTAI_EXCHANGE.")] = None,
    assess: Annotated[bool, typer.Option("--assess", help="Ask every rule of what has changed first.")] = False,
    json: JsonOption = False,
) -> None:
    """Show completeness by month, findings by rule, quarantine, outages and the last syncs of the stored series."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.cli.selection import named, stored_series, venue_name
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    names, settings = named(symbols, timeframe), load_settings()
    venue = venue_name(exchange, settings)
    with open_store(settings) as store:
        chosen = stored_series(store.database, names)
        found = _assessed(store.database, venue, chosen, assess)
        syncs = {series: _syncs_of(store.database, series) for series in chosen}
    if json:
        print_json(_told(found, syncs))
    elif not chosen:
        typer.echo("nothing is stored yet; `cryptai sync` fetches bars")
    else:
        _print(found, syncs)


def _assessed(database: Database, venue: str, chosen: list[Series], assess: bool) -> QualityAssessment:
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.market.clock import SystemClock
    from cryptai_pipelines.orchestration.chain import data_quality

    if not assess or not chosen:
        return data_quality.read_assessment(database, venue, chosen)
    with shown_progress() as on_progress:
        return data_quality.assess(database, venue, chosen, SystemClock().now_ms(), on_progress=on_progress)


def _syncs_of(database: Database, series: Series) -> list[dict[str, Any]]:
    from cryptai_pipelines.storage import sync_log

    kept = (
        "source",
        "status",
        "started_at",
        "finished_at",
        "rows_fetched",
        "rows_new",
        "rows_restated",
        "rows_quarantined",
        "error",
    )
    return [{name: row[name] for name in kept} for row in sync_log.read_syncs(database, series, _SYNCS)]


def _told(found: QualityAssessment, syncs: dict[Series, list[dict[str, Any]]]) -> dict[str, Any]:
    from cryptai_pipelines.market.clock import format_time

    return {
        "venue": found.venue,
        "rows_changed": found.changed,
        "outages": [
            {
                "start": format_time(one.start_ms),
                "end": format_time(one.end_ms),
                "symbols": list(one.symbols),
                "of_symbols": one.of_symbols,
            }
            for one in found.outages
        ],
        "series": [{**_series_told(one), "syncs": syncs[one.series]} for one in found.series],
    }


def _series_told(one: SeriesQuality) -> dict[str, Any]:
    from cryptai_pipelines.market.clock import format_time

    def counts(month: Any) -> dict[str, Any]:
        return {**dict(zip(month._fields[1:], month[1:], strict=True)), "completeness": month.completeness}

    return {
        "symbol": one.series.symbol,
        "timeframe": one.series.timeframe.code,
        "oldest_bar": None if one.oldest_ms is None else format_time(one.oldest_ms),
        **counts(one.total),
        "months": [{"month": format_time(month.start_ms)[:7], **counts(month)} for month in one.months],
        "gaps": dict(one.gaps),
        "missing_bars": dict(one.missing),
        "quarantined": dict(one.quarantined),
        "findings": {
            rule: [
                {
                    "start": format_time(finding.period.start_ms),
                    "end": format_time(finding.period.end_ms),
                    "severity": finding.severity,
                    **finding.details,
                }
                for finding in findings
            ]
            for rule, findings in one.findings.items()
        },
    }


def _print(found: QualityAssessment, syncs: dict[Series, list[dict[str, Any]]]) -> None:
    if len(found.series) > 1:
        _print_overview(found, syncs)
    for one in found.series:
        _print_months(one)
        _print_findings(one)
        _print_gaps(one)
        _print_syncs(syncs[one.series])
    from cryptai_pipelines.market.clock import format_time

    for outage in found.outages:
        symbols = f"{len(outage.symbols)} of {outage.of_symbols} symbols"
        typer.echo(f"outage of {found.venue} {format_time(outage.start_ms)} to {format_time(outage.end_ms)}: {symbols}")


def _print_overview(found: QualityAssessment, syncs: dict[Series, list[dict[str, Any]]]) -> None:
    """A line per series, before the details of each. `quarantined` are bars in whose place no good one stands."""
    from cryptai_pipelines.cli.output import print_table

    heads = ("series", "bars", "complete", "missing", "quarantined", "findings", "last sync")
    print_table(heads, [_overview(one, syncs[one.series]) for one in found.series])


def _overview(one: SeriesQuality, syncs: list[dict[str, Any]]) -> tuple[str, ...]:
    share = one.total.completeness
    return (
        str(one.series),
        f"{one.total.received:,}",
        "" if share is None else f"{100 * share:.3f} %",
        f"{sum(one.missing.values()):,}",
        f"{sum(one.quarantined.values()):,}",
        _by_severity(one),
        f"{syncs[0]['status']}, {syncs[0]['started_at']:%Y-%m-%dT%H:%M:%SZ}" if syncs else "none",
    )


def _by_severity(one: SeriesQuality) -> str:
    """How many findings there are, the grave ones by name."""
    from cryptai_pipelines.cli.output import counted

    severities = [finding.severity for findings in one.findings.values() for finding in findings]
    grave = ", ".join(counted(severities.count(name), name) for name in ("error", "warning") if name in severities)
    return f"{len(severities):,} ({grave})" if grave else f"{len(severities):,}"


def _print_months(one: SeriesQuality) -> None:
    """The months that lack something, and all of them as one line."""
    from rich.table import Table

    from cryptai_pipelines.cli.results import print_table
    from cryptai_pipelines.market.clock import format_time

    oldest = "no bars" if one.oldest_ms is None else f"oldest bar {format_time(one.oldest_ms)}"
    table = Table("month", "bars", "expected", "unlisted", "in outage", "complete", title=f"{one.series}: {oldest}")
    shown = [(format_time(month.start_ms)[:7], month) for month in one.months if month.received < month.expected]
    for name, month in (*shown, (f"all {len(one.months)} months", one.total)):
        share = month.completeness
        table.add_row(
            name,
            *(f"{count:,}" for count in month[2:0:-1]),
            *(f"{count:,}" for count in month[3:]),
            "" if share is None else f"{100 * share:.3f} %",
        )
    print_table(table)


def _print_findings(one: SeriesQuality) -> None:
    from rich.table import Table

    from cryptai_pipelines.cli.results import print_table
    from cryptai_pipelines.market.clock import format_time

    if not one.findings:
        return
    table = Table("rule", "severity", "start", "end", "finding")
    for rule, findings in one.findings.items():
        for finding in findings[-_FINDINGS:]:
            start, end = (format_time(ts) for ts in finding.period)
            table.add_row(rule, finding.severity, start, end, str(finding.details.get("reason", "")))
        if len(findings) > _FINDINGS:
            table.add_row(rule, "", "", "", f"and {len(findings) - _FINDINGS:,} earlier ones (--json lists them)")
    print_table(table)


def _print_gaps(one: SeriesQuality) -> None:
    for gap_class, count in one.gaps.items():
        typer.echo(f"gaps, {gap_class}: {count:,}, bars missing in them: {one.missing[gap_class]:,}")
    for rule, count in one.quarantined.items():
        typer.echo(f"bars in quarantine, {rule}: {count:,}")


def _print_syncs(syncs: list[dict[str, Any]]) -> None:
    for row in syncs:
        error = f": {row['error']}" if row["error"] else ""
        told = f"{row['status']}, {row['rows_new'] or 0:,} new bars{error}"
        typer.echo(f"sync of {row['started_at']:%Y-%m-%dT%H:%M:%SZ} from {row['source']} {told}")
