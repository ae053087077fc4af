"""`cryptai import`: a user's own file of bars into a series."""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.series import Series
    from cryptai_pipelines.orchestration.chain.import_file import RefusedRows, RuleFindings
    from cryptai_pipelines.settings import Settings
    from cryptai_pipelines.sources.bar_files import BarFile


_SECONDS_BETWEEN_LINES = 5.0
_LISTED = 3


class Rank(enum.StrEnum):
    """Where a file stands among the sources of its series."""

    PRIMARY = "primary"
    LAST = "last"


def import_bars(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV (also .gz), Parquet or Feather.")],
    symbol: Annotated[str, typer.Option(metavar="SYMBOL", help="Such as BTC-USDT.")],
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w.")],
    name: Annotated[str | None, typer.Option(help="Stored as the source file:NAME; the default is made of the file's.")] = None,
    columns: Annotated[
        str | None,
        typer.Option("--map", metavar="FIELD=COLUMN,...", help="Such as ts=Date,open=Open; numbers from 1 work too."),
    ] = None,
    zone: Annotated[
        str, typer.Option("--tz", metavar="ZONE", help="Zone of times without an offset, such as Asia/Seoul.")
    ] = "UTC",
    time_unit: Annotated[str, typer.Option(metavar="UNIT", help="Of epoch times: s ms us, or auto, row by row.")] = "auto",
    rank: Annotated[
        Rank | None,
        typer.Option(
            help="Believed before all other sources of the series, the exchange too, or after them; the default leaves a known"
            " source where it is, and puts a new one last."
        ),
    ] = None,
    keep_last: Annotated[bool, typer.Option(help="Keep the last bar of a TradingView export, which is unfinished.")] = False,
    sparse: Annotated[bool, typer.Option("--sparse", help="Single bars that lie as far apart as longer ones.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Say what is recognised; store nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Import a file of bars as a source of a series; importing it again writes nothing twice."""
    from cryptai_pipelines.cli.output import print_json, step
    from cryptai_pipelines.market.clock import SystemClock
    from cryptai_pipelines.market.series import Series, parse_symbol
    from cryptai_pipelines.market.timeframe import parse_timeframe
    from cryptai_pipelines.orchestration.chain.import_file import file_source
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.sources.bar_files import FileOptions, open_bar_file
    from cryptai_pipelines.sources.file_columns import parse_mapping

    settings = load_settings()
    series = Series(parse_symbol(symbol), parse_timeframe(timeframe))
    source = file_source(name, file.name)
    options = FileOptions(series, parse_mapping(columns), zone, time_unit, keep_last, sparse)
    with ExitStack() as open_files:
        with step(f"reading {file.name}"):
            opened = open_files.enter_context(open_bar_file(file, options, SystemClock().now_ms(), _on_rows(file.name)))
        told = _told(opened, series, source)
        if not json:
            _tell_findings(told, dry_run)
        if not dry_run:
            told |= _stored(settings, series, source, opened, rank)
    if json:
        print_json({**told, "dry_run": dry_run})
    elif not dry_run:
        _tell_stored(told)


def _on_rows(name: str) -> Callable[[int], None]:
    """Says every few seconds how far a long file is read."""
    last = time.monotonic()

    def tell(rows: int) -> None:
        from cryptai_pipelines.cli.output import counted, say

        nonlocal last
        if time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"reading {name}: {counted(rows, 'row')}")

    return tell


def _told(file: BarFile, series: Series, source: str) -> dict[str, Any]:
    from dataclasses import asdict

    from cryptai_pipelines.orchestration.chain.import_file import judge_received, judge_rows

    found, refused = judge_received(file), judge_rows(file)
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe.code,
        "source": source,
        "recognised": asdict(file.findings),
        "findings": _findings(found),
        "findings_by_rule": {rule: {"findings": one.count, "rows": one.rows} for rule, one in found.items()},
        "rows_refused": sum(one.rows for one in refused.values()),
        "refused_by_rule": _refused(refused),
    }


def _findings(found: Mapping[str, RuleFindings]) -> list[dict[str, Any]]:
    from cryptai_pipelines.market.clock import format_time

    return [
        {
            "rule": rule,
            "severity": finding.severity,
            "first_open": format_time(finding.start_ms),
            "rows": finding.count,
            "detail": finding.reason,
        }
        for rule, one in found.items()
        for finding in one.first
    ]


def _refused(refused: Mapping[str, RefusedRows]) -> dict[str, dict[str, Any]]:
    from cryptai_pipelines.market.clock import format_time

    return {
        rule: {"rows": one.rows, "first_open": format_time(one.first_ms), "reason": one.reason} for rule, one in refused.items()
    }


def _stored(settings: Settings, series: Series, source: str, file: BarFile, rank: Rank | None) -> dict[str, Any]:
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.results import stored_series
    from cryptai_pipelines.cli.selection import run_name
    from cryptai_pipelines.market.errors import CryptaiError
    from cryptai_pipelines.orchestration.chain.import_file import import_file
    from cryptai_pipelines.orchestration.chain.steps import holding
    from cryptai_pipelines.orchestration.store import open_store, open_venue
    from cryptai_pipelines.storage.series_sources import read_sources
    from cryptai_pipelines.storage.symbols import is_simulated

    run_id, venue = run_name("import"), open_venue(settings)
    with open_store(settings) as store, shown_progress() as on_progress:
        if is_simulated(store.database, venue.name, series.symbol):
            raise CryptaiError(
                f"{series.symbol} is a simulated market of {venue.name} in this store, {file.findings.file} holds a real one;"
                " accepted: another CRYPTAI_HOME or CRYPTAI_DATABASE_URL for it"
            )
        imported = import_file(
            store.database,
            holding(store.database, venue.name, settings, run_id),
            series,
            source,
            file,
            run_id=run_id,
            place=None if rank is None else ("first" if rank is Rank.PRIMARY else "last"),
            behind=(venue.name, venue.origin(series.timeframe)),
            on_progress=on_progress,
        )
        return {
            **stored_series(store.database, source, series),
            "sources": [one._asdict() for one in read_sources(store.database, series)],
            "rows_new": imported.received.change.new,
            "rows_restated": imported.received.change.restated,
            "validated_rows_written": imported.outcome.written,
        }


def _tell_findings(told: dict[str, Any], dry_run: bool) -> None:
    from cryptai_pipelines.cli.output import counted

    found = told["recognised"]
    columns = ", ".join(f"{field} = {name!r}" for field, name in found["columns"].items())
    lines = [
        f"{found['file']}: {found['kind']}, {counted(found['rows'], 'row')}, {found['order']}",
        f"  columns     {columns}",
        f"  not read    {', '.join(map(repr, found['ignored'])) or 'none'}",
        f"  times       {', '.join(found['times'])}",
        f"  duplicates  {found['repeated']:,} the same, {found['conflicting']:,} conflicting{_conflicts(found)}",
        f"  off grid    {found['off_grid']:,}",
        *(f"  findings    {line}" for line in _finding_lines(told) or ["none"]),
        *(f"  refused     {line}" for line in _refused_lines(told) or ["none"]),
        f"  unfinished  {_unfinished(found)}",
        *(f"  note        {note}" for note in found["notes"]),
        f"  bars        {found['bars']:,} from {found['first']} to {found['last']}",
        f"  goes to     {told['symbol']} {told['timeframe']} as {told['source']}{' (dry run: nothing is stored)' * dry_run}",
    ]
    for line in lines:
        typer.echo(line)


def _finding_lines(told: dict[str, Any]) -> list[str]:
    """The first findings of each rule, and how many more there are."""
    lines = []
    for rule, total in told["findings_by_rule"].items():
        shown = [one for one in told["findings"] if one["rule"] == rule][:_LISTED]
        lines += [f"{rule}, {one['severity']}: {one['detail']}, from {one['first_open']} on" for one in shown]
        if total["findings"] > len(shown):
            lines.append(f"{rule}: {total['findings']:,} findings in all, {total['rows']:,} rows in them (--json lists more)")
    return lines


def _refused_lines(told: dict[str, Any]) -> list[str]:
    from cryptai_pipelines.cli.output import counted

    return [
        f"{rule}: {counted(one['rows'], 'row')}, the first at {one['first_open']}: {one['reason']}"
        for rule, one in told["refused_by_rule"].items()
    ]


def _conflicts(found: dict[str, Any]) -> str:
    shown = ", ".join(found["conflicts"])
    return f" (the last row in the file counts; {shown}{' ...' if found['conflicting'] > 3 else ''})" if shown else ""


def _unfinished(found: dict[str, Any]) -> str:
    parts = [f"{found['not_closed']:,} not closed yet"] if found["not_closed"] else []
    if found["last_dropped"]:
        parts.append(f"the last bar of the export, {found['last_dropped']}, is left out (--keep-last keeps it)")
    return "; ".join(parts) or "none"


def _tell_stored(told: dict[str, Any]) -> None:
    from cryptai_pipelines.cli.results import print_series

    ranked = ", ".join(one["source"] for one in told["sources"])
    by_rule = ", ".join(f"{one['rows']:,} {rule}" for rule, one in told["refused_by_rule"].items())
    typer.echo(f"  stored      {told['rows_new']:,} new, {told['rows_restated']:,} restated; believed in this order: {ranked}")
    typer.echo(f"  validated   {told['rows_refused']:,} refused{f' ({by_rule}), which are in quarantine' * bool(by_rule)}")
    print_series([told])
