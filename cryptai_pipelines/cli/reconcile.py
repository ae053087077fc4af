"""`cryptai reconcile`: the sources of a stored series held against each other, or two files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

if TYPE_CHECKING:
    from cryptai_pipelines.market.bars import Columns
    from cryptai_pipelines.market.timeframe import Timeframe
    from cryptai_pipelines.quality.reconciliation import Rule
    from cryptai_pipelines.storage.reconciliations import ReconciledMonth

_LISTED = 200


def reconcile(
    symbol: Annotated[str | None, typer.Argument(metavar="[SYMBOL]", help="Such as BTC-USDT; not with --file.")] = None,
    timeframe: Annotated[str, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w.")] = "1h",
    source: Annotated[str | None, typer.Option(metavar="NAME", help="A source of the series, such as binance.")] = None,
    against: Annotated[str | None, typer.Option(metavar="NAME", help="The other one, such as binance_archive.")] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Two Parquet or CSV files (ts, open, high, low, close, volume) instead of a series."),
    ] = None,
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="What each --file is: api archive file venue; the default is file.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Columns that count, such as high,low,close,volume.")
    ] = None,
    tolerance: Annotated[
        float | None, typer.Option(metavar="SHARE", help="A price differs from this on; the default is 0.0005.")
    ] = None,
    band: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Compare as two venues: prices agree within this, such as 0.01.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Tell where two sources of the same bars disagree, bar by bar, and which one is believed."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.market.timeframe import parse_timeframe

    length, rule = parse_timeframe(timeframe), _rule(columns, tolerance, band)
    if file:
        if symbol is not None or source is not None or against is not None:
            raise BadInput(
                "--file compares two files; a SYMBOL, --source and --against are of the store and are not accepted with it"
            )
        result = _files(file, role or [], length, rule)
    elif symbol is None:
        raise BadInput("nothing to reconcile is named; accepted: a SYMBOL, such as BTC-USDT, or --file twice")
    elif role:
        raise BadInput(f"--role {role[0]} is of a --file; what a source of the store is, is known")
    else:
        result = _stored(symbol, length, source, against, rule)
    if json:
        print_json(result)
    else:
        _print(result)


def _rule(columns: str | None, tolerance: float | None, band: float | None) -> Rule | None:
    """The rule that the options make; None when none was given."""
    from dataclasses import replace

    from cryptai_pipelines.quality.reconciliation import CROSS_VENUE, SAME_VENUE

    given: dict[str, Any] = {"price_tolerance": tolerance, "band": band}
    if columns is not None:
        given["columns"] = tuple(name.strip() for name in columns.split(",") if name.strip())
    given = {name: value for name, value in given.items() if value is not None}
    return replace(SAME_VENUE if band is None else CROSS_VENUE, **given) if given else None


def _stored(symbol: str, timeframe: Timeframe, source: str | None, against: str | None, rule: Rule | None) -> dict[str, Any]:
    from cryptai_pipelines.cli.progress import shown_progress
    from cryptai_pipelines.cli.selection import not_stored
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.market.series import Series, parse_symbol
    from cryptai_pipelines.orchestration.chain.reconcile import reconcile as reconcile_series
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings
    from cryptai_pipelines.storage.reconciliations import held_sources

    series = Series(parse_symbol(symbol), timeframe)
    if (source is None) != (against is None):
        raise BadInput("--source and --against name two sources; accepted: both, or neither for every pair")
    with open_store(load_settings()) as store, shown_progress() as on_progress:
        if not held_sources(store.database, series):
            raise not_stored([series.symbol], [series.timeframe])
        done = reconcile_series(store.database, series, source, against, rule, on_progress=on_progress)
    pairs = dict.fromkeys((month.source, month.other) for month in done.months)
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe.code,
        "months_written": done.written,
        "pairs": [
            _told(pair, [_stored_month(month) for month in done.months if (month.source, month.other) == pair])
            for pair in pairs
        ],
    }


def _files(paths: list[Path], roles: list[str], timeframe: Timeframe, rule: Rule | None) -> dict[str, Any]:
    from cryptai_pipelines.market.errors import BadInput
    from cryptai_pipelines.quality.beliefs import FILE, ROLES
    from cryptai_pipelines.quality.reconciliation import SAME_VENUE

    if len(paths) != 2:
        raise BadInput(f"--file was given {len(paths)} time(s); accepted: twice")
    unknown = [role for role in roles if role not in ROLES]
    if unknown or len(roles) not in (0, 2):
        named = repr(unknown[0]) if unknown else f"given {len(roles)} time(s)"
        raise BadInput(f"--role {named} is not accepted: once for each --file, one of {' '.join(ROLES)}")
    tables, filled = zip(*(_read(path) for path in paths), strict=True)
    names = [f"{path.parent.name}/{path.stem}" if path.parent.name else path.stem for path in paths]
    if names[0] == names[1]:
        names = [str(path) for path in paths]
    chosen = tuple(roles) or (FILE, FILE)
    found = _compare_files(tables, names, (chosen[0], chosen[1]), timeframe, rule or SAME_VENUE)
    return {"timeframe": timeframe.code, "pairs": [{**_told((names[0], names[1]), found), "filled_left_out": list(filled)}]}


def _read(path: Path) -> tuple[Columns, int]:
    from cryptai_pipelines.replay.recordings import read_given_bars

    return read_given_bars(path)


def _compare_files(
    tables: Sequence[Columns], names: list[str], roles: tuple[str, str], timeframe: Timeframe, rule: Rule
) -> list[dict[str, Any]]:
    """Every month of the common span of two tables, each compared by itself."""
    from cryptai_pipelines.market.bars import take_rows
    from cryptai_pipelines.market.errors import CryptaiError
    from cryptai_pipelines.market.intervals import Interval
    from cryptai_pipelines.orchestration.chain.reconcile import month_result
    from cryptai_pipelines.quality.beliefs import found_bars
    from cryptai_pipelines.quality.reconciliation import compare, months

    opens = [table["ts"] for table in tables]
    if not all(len(ts) for ts in opens) or (start := max(ts.min() for ts in opens)) > (last := min(ts.max() for ts in opens)):
        raise CryptaiError(f"{names[0]} and {names[1]} have no time in common; accepted: files whose spans overlap")
    told = []
    for month_ms, part in months(Interval(int(start), int(last) + 1)):
        mine, theirs = (take_rows(table, (table["ts"] >= part.start_ms) & (table["ts"] < part.end_ms)) for table in tables)
        found = compare(mine, theirs, timeframe, rule, part)
        result = month_result(found, found_bars(found, mine, theirs, roles), rule, (names[0], names[1]))
        told.append({"month": month_ms, **{k: v for k, v in result.items() if k != "details"}, **result["details"]})
    return told


def _stored_month(month: ReconciledMonth) -> dict[str, Any]:
    counts = ("compared", "agreeing", "only_source", "only_other", "disagreeing", "believed")
    details = {name: value for name, value in month.details.items() if name != "made_of"}
    return {"month": month.month_ms, **{name: getattr(month, name) for name in counts}, **details}


def _told(names: tuple[str, str], months: list[dict[str, Any]]) -> dict[str, Any]:
    """One pair of sources: totals over all months, and the months."""
    from cryptai_pipelines.market.clock import format_time
    from cryptai_pipelines.quality.reconciliation import KINDS

    counted = ("compared", "agreeing", "only_source", "only_other", "disagreeing", "identical", "bars_found")
    kinds = {kind: sum(month["kinds"].get(kind, 0) for month in months) for kind in KINDS}
    return {
        "source": names[0],
        "against": names[1],
        **{name: sum(month[name] for month in months) for name in counted},
        "kinds": {kind: count for kind, count in kinds.items() if count},
        "suspicious_months": sum(month["suspicious"] for month in months),
        "months": [{**month, "month": format_time(month["month"])[:7]} for month in months],
    }


def _print(result: dict[str, Any]) -> None:
    from cryptai_pipelines.cli.output import say

    if not result["pairs"]:
        say("nothing to reconcile: the store has bars of fewer than two sources of this series, or of no common time")
    for pair in result["pairs"]:
        _print_pair(pair)


def _print_pair(pair: dict[str, Any]) -> None:
    typer.echo(f"{pair['source']} against {pair['against']}: {pair['agreeing']:,} of {pair['compared']:,} bars agree")
    for kind, count in pair["kinds"].items():
        typer.echo(f"  {count:>6,} {_named(kind, pair)}")
    if pair["suspicious_months"]:
        typer.echo(f"  suspicious: bit for bit equal in {pair['suspicious_months']} month(s); one of them is mislabelled")
    for name, filled in zip((pair["source"], pair["against"]), pair.get("filled_left_out", ()), strict=False):
        if filled:
            typer.echo(f"  {filled:>6,} filled bars of {name} are left out: no source has given them")
    differing = [month for month in pair["months"] if month["bars_found"]]
    if differing:
        _print_months(differing, pair)
        _print_bars(differing, pair)


def _print_months(months: list[dict[str, Any]], pair: dict[str, Any]) -> None:
    from cryptai_pipelines.cli.output import print_table

    rows = [
        (
            month["month"],
            f"{month['compared']:,}",
            f"{month['agreeing']:,}",
            str(month["disagreeing"]),
            str(month["only_source"]),
            str(month["only_other"]),
            str(sum(count for kind, count in month["kinds"].items() if kind.startswith("off grid"))),
            month["believed"],
        )
        for month in months
    ]
    heads = ("compared", "agree", "disagree", f"only {pair['source']}", f"only {pair['against']}", "off grid", "believed")
    print_table(("month", *heads), rows)


def _print_bars(months: list[dict[str, Any]], pair: dict[str, Any]) -> None:
    from cryptai_pipelines.cli.output import print_table, say

    bars = [bar for month in months for bar in month["bars"]]
    rows = [
        (
            bar["at"],
            _named(bar["kind"], pair),
            ", ".join(f"{name} {_percent(value)}" for name, value in bar["difference"].items() if value != 0),
            bar["believed"],
            bar["rule"],
        )
        for bar in bars[:_LISTED]
    ]
    print_table(("bar", "finding", "difference", "believed", "because"), rows)
    more = sum(month["bars_found"] for month in months) - len(rows)
    if more:
        say(f"and {more:,} more; --json tells of each")


def _named(kind: str, pair: dict[str, Any]) -> str:
    return kind.replace("in source", f"in {pair['source']}").replace("in other", f"in {pair['against']}")


def _percent(value: float | None) -> str:
    return "is no number" if value is None else f"{100 * value:+.6f} %"
