"""What is stored of a series and what came out of it, as plain data and as tables on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from cryptai_pipelines.backtest.drill_down import counts_among, told_ambiguity
from cryptai_pipelines.backtest.metrics import METRICS
from cryptai_pipelines.market.clock import format_time
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain.backtest_results import Trial
from cryptai_pipelines.orchestration.chain.market_rules import in_market
from cryptai_pipelines.orchestration.trial import stored_result
from cryptai_pipelines.storage import backtests, coverage, quality_log, symbols
from cryptai_pipelines.storage.database import Database

_PERCENT = ("total_return", "optimistic_total_return", "buy_and_hold_return", "cagr", "volatility", "max_drawdown", "var_95")
_SHARES = ("win_rate", "exposure", "ambiguous_share", "filled_share")


def stored_series(database: Database, venue: str, series: Series) -> dict[str, Any]:
    """Bars, gaps, completeness and quarantine of one series. Completeness is that of `cryptai quality`: bars as a share of the
    expected ones less `excused_bars`, which nobody could have received."""
    covered, (first, last) = coverage.read_hull(database, series), coverage.read_first_and_last(database, series)
    expected, bars, excused = quality_log.completeness_adjusted(database, series)
    gaps, missing = quality_log.count_missing(database, series)
    quarantined = quality_log.count_quarantined(database, series)
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe.code,
        "source": venue,
        "simulated": bool(symbols.is_simulated(database, venue, series.symbol)),
        "bars": bars,
        "expected_bars": expected,
        "excused_bars": excused,
        "missing_bars": missing,
        "gaps": gaps,
        "completeness": bars / (expected - excused) if expected > excused else None,
        "quarantined": quarantined,
        "first_bar": None if first is None else format_time(first),
        "last_bar": None if last is None else format_time(last),
        "covered_until": None if covered is None else format_time(covered.end_ms),
    }


def backtest_result(database: Database, venue: str, series: Series, trial: Trial) -> dict[str, Any] | None:
    """The stored result of a trial, or None."""
    config = in_market(database, venue, series, trial).config
    found = backtests.read_backtest(database, trial.strategy.name, series, config)
    return None if found is None else stored_result(database, venue, *found)


def print_series(told: Sequence[Mapping[str, Any]]) -> None:
    """One table row per series."""
    table = Table("series", "bars", "gaps", "missing", "complete", "quarantined", "first", "last")
    for one in told:
        complete = "" if one["completeness"] is None else f"{100 * one['completeness']:.3f} %"
        new = f" (+{one['validated_rows_written']:,})" if one.get("validated_rows_written") else ""
        table.add_row(
            f"{one['symbol']} {one['timeframe']}{' (simulated)' if one['simulated'] else ''}",
            f"{one['bars']:,}{new}",
            str(one["gaps"]),
            f"{one['missing_bars']:,}",
            complete,
            ", ".join(f"{count} {rule}" for rule, count in one["quarantined"].items()) or "0",
            one["first_bar"] or "",
            one["last_bar"] or "",
        )
    print_table(table)


def print_backtest(result: Mapping[str, Any]) -> None:
    """The metrics of one result, one per line, under what they are of."""
    mark = " (simulated)" if result["simulated"] else ""
    known = f", bars as known at {result['as_of']}" if result["as_of"] else ""
    title = f"{result['strategy']} on {result['symbol']} {result['timeframe']}{mark}{known}"
    _print_metrics(title, result)


def print_portfolio(result: Mapping[str, Any]) -> None:
    """What each symbol brought, and the metrics of all of them."""
    table = Table("symbol", "trades", "profit", "share of it", "buy and hold", "correlation with the others")
    for symbol, told in result["by_symbol"].items():
        shares = (_formatted("total_return", told[name]) for name in ("share", "buy_and_hold_return"))
        correlation = "not defined" if told["correlation"] is None else f"{told['correlation']:.2f}"
        table.add_row(symbol, f"{told['trades']:,.0f}", f"{told['profit']:,.2f}", *shares, correlation)
    print_table(table)
    mark = " (simulated)" if result["simulated"] else ""
    known = f", bars as known at {result['as_of']}" if result["as_of"] else ""
    count = len(result["by_symbol"])
    _print_metrics(f"{result['strategy']} on {count:,} symbols {result['timeframe']}{mark}{known}", result)


def _print_metrics(title: str, result: Mapping[str, Any]) -> None:
    # A title that is longer than the table is wide would be wrapped in the middle of the moment.
    table = Table("metric", "value", title=title, min_width=len(title))
    counts = counts_among(result["metrics"])
    shown = dict.fromkeys(name for name in (*METRICS, *result["metrics"]) if name not in counts)
    for name in shown:
        if name in result["metrics"]:
            table.add_row(name, _formatted(name, result["metrics"][name]))
    print_table(table)
    if counts:
        typer.echo(told_ambiguity(counts))
    typer.echo(f"fees: {result['fees']}")
    typer.echo(f"market rules: {result['market_rules']}")
    if result.get("funding"):
        typer.echo(f"funding: {result['funding']}")
    if "refused" in result:
        refused = ", ".join(f"{number:,} {reason}" for reason, number in result["refused"].items())
        typer.echo(f"refused entries: {refused or 'none'}")
    _print_gates(result["gates"])
    if result["verdict"] is not None:
        _print_conclusions(result["verdict"], result["findings"])


def _print_gates(gates: Sequence[Mapping[str, Any]]) -> None:
    """On how many of the bars each gate let pass, by the verdicts that it had."""
    for one in gates:
        rate = "without a verdict" if one["pass_rate"] is None else f"passes {one['pass_rate']:.1%}"
        numbers = f"{one['passed']:,} passed, {one['rejected']:,} rejected, {one['unknown']:,} unknown"
        typer.echo(f"gate {one['gate']}: {rate} ({numbers}){'; ' if one['note'] else ''}{one['note']}")


def _print_conclusions(verdict: Mapping[str, Any], findings: Sequence[Mapping[str, Any]]) -> None:
    """The verdict with what it rests upon, and what the review has to complain of, the worst first."""
    trials = f"{verdict['trials']:,} trial{'s' if verdict['trials'] != 1 else ''}"
    typer.echo(f"verdict: {verdict['answer']} ({trials})")
    for reason in verdict["reasons"]:
        typer.echo(f"  {reason}")
    for finding in sorted(findings, key=lambda one: one["severity"] != "error"):
        typer.echo(f"{finding['severity']}: {finding['code']}: {finding['sentence']}")


def _formatted(name: str, value: float | None) -> str:
    if value is None:
        return "not defined"
    if name in _PERCENT or name in _SHARES:
        return f"{100 * value:,.2f} %"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"


def print_table(table: Table) -> None:
    """A table on stdout."""
    # Off a terminal nothing may be cut: whoever reads it may be a file.
    console = Console() if sys.stdout.isatty() else Console(width=200)
    console.print(table)
