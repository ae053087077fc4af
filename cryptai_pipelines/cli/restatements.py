"""`cryptai restatements`: the bars that their sources changed after they had been stored, and what that touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cryptai_pipelines.cli.options import JsonOption

_LISTED = 100


def restatements(
    symbol: Annotated[str | None, typer.Argument(metavar="[SYMBOL]", help="Such as BTC-USDT; all without it.")] = None,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", "-t", metavar="CODE", help="1m 5m 15m 30m 1h 4h 1d 1w; all without it.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many entries, the latest first.")] = 20,
    json: JsonOption = False,
) -> None:
    """List restated bars with their values before and after, what depended on them, and whether it was computed again."""
    from cryptai_pipelines.cli.output import print_json
    from cryptai_pipelines.cli.selection import named, stored_series
    from cryptai_pipelines.orchestration.chain.restatement import read_ledger
    from cryptai_pipelines.orchestration.store import open_store
    from cryptai_pipelines.settings import load_settings

    names = named([] if symbol is None else [symbol], [] if timeframe is None else [timeframe])
    slug, code = next(iter(names.symbols), None), next((one.code for one in names.timeframes), None)
    with open_store(load_settings()) as store:
        stored_series(store.database, names)  # Nothing restated is an answer only where something is stored.
        entries = read_ledger(store.database, slug, code, limit)
    if json:
        print_json({"restatements": entries})
    else:
        _print(entries)


def _print(entries: Sequence[dict[str, Any]]) -> None:
    from cryptai_pipelines.cli.output import print_table, say

    if not entries:
        say("no stored bar was restated")
        return
    heads = ("id", "series", "source", "first bar", "last bar", "bars", "known at", "touched", "computed again")
    print_table(heads, [_row(entry) for entry in entries])
    changed = [line for entry in entries for line in _changes(entry)]
    print_table(("id", "bar", "column", "before", "after", "by"), changed[:_LISTED])
    if len(changed) > _LISTED:
        say(f"and {len(changed) - _LISTED:,} more changed values; --json tells of each")


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(entry["id"]),
        f"{entry['symbol']} {entry['timeframe']}",
        entry["source"],
        entry["first_bar"],
        entry["last_bar"],
        f"{entry['bars']:,}",
        entry["known_at"],
        _touched(entry["touched"]),
        entry["recomputed_at"] or "not yet",
    )


def _touched(touched: dict[str, Any]) -> str:
    """In words what depended on the bars."""
    from cryptai_pipelines.cli.output import counted

    parts = [
        counted(touched["technical_indicators"]["rows"], "indicator"),
        counted(touched.get("market_structure", {"rows": 0})["rows"], "reading of structure", "readings of structure"),
        counted(sum(one["rows"] for one in touched["signals"]), "signal"),
        counted(len(touched["backtest_results"]), "backtest"),
        counted(sum(one["trades"] for one in touched["backtest_results"]), "trade"),
    ]
    named = [part for part in parts if not part.startswith("0 ")]
    return ", ".join(named) or "nothing"


def _changes(entry: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (str(entry["id"]), bar["at"], name, f"{bar['before'][name]:.12g}", f"{bar['after'][name]:.12g}", _by(bar, name))
        for bar in entry["values"]
        for name in bar["changed"]
    ]


def _by(bar: dict[str, Any], name: str) -> str:
    before, after = bar["before"][name], bar["after"][name]
    return f"{100 * (after / before - 1):+.4f} %" if before else ""
