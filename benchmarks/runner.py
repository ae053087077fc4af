"""Running benchmarks, each in a process of its own so that neither memory nor caches of one show in another, and printing what
they found as one table. What is measured stands in the `bench_*` modules."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

Row = dict[str, object]

NAMES = (
    "ingest",
    "archive",
    "download",
    "indicators",
    "leaks",
    "backtest",
    "sweep",
    "freqtrade",
    "portfolio",
    "tick",
    "tick_bars",
    "demo",
)
_KEYS = ("name", "ours_s", "peer_s", "ratio", "goal")
_GOAL = re.compile(r"\s*(<=|>=|<|>)?\s*([0-9.]+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": lambda value, goal: value <= goal,
    ">=": lambda value, goal: value >= goal,
    "<": lambda value, goal: value < goal,
    ">": lambda value, goal: value > goal,
}


def main(arguments: Sequence[str]) -> None:
    """Run what `arguments` name and print it. A benchmark that cannot run says why in its row, and nothing here is a verdict:
    the exit code is 0 whatever was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print one table with ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {' '.join(NAMES)}; all of them when none is named")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows instead of a table")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in NAMES]
    if unknown:
        parser.error(f"benchmark {unknown[0]!r} is not known; accepted: {' '.join(NAMES)}")
    rows: list[Row] = []
    for name in asked.names or NAMES:
        print(f"benchmarks: {name} ...", file=sys.stderr, flush=True)
        rows += [{**row, "met": met(row)} for row in in_own_process(name)]
    if asked.json:
        print(json.dumps([_finite(row) for row in rows], indent=2))
    else:
        print_table(rows)


def in_own_process(name: str) -> list[Row]:
    """The rows of one benchmark."""
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_run, args=(name, there))
    process.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        return [_failed(name, "its process ended without a result")]
    finally:
        process.join()


def _run(name: str, pipe: Connection) -> None:
    try:
        rows = [{key: row.get(key) for key in _KEYS} for row in importlib.import_module(f"benchmarks.bench_{name}").run()]
    except Exception as error:  # noqa: BLE001 - whatever keeps one benchmark from running must not cost the others' results
        rows = [_failed(name, f"{type(error).__name__}: {' '.join(str(error).split())}")]
    pipe.send(rows)


def _failed(name: str, reason: str) -> Row:
    return {"name": f"{name}: {reason}", "ours_s": math.nan, "peer_s": math.nan, "ratio": math.nan, "goal": ""}


def met(row: Row) -> bool | None:
    """Was the goal met? None for a row without a goal or without a ratio. The goal is a bound of the ratio, such as `<= 3`
    (a bare number is an upper bound); with a unit, as in `< 60 s`, it is one of our own figure."""
    found = _GOAL.match(str(row["goal"] or ""))
    if not found:
        return None
    unit = re.search(r"(s|MB)\s*$", str(row["goal"]))
    value = row["ours_s"] if unit else row["ratio"]
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return bool(_COMPARE[found[1] or "<="](float(value), float(found[2])))


def print_table(rows: Iterable[Row]) -> None:
    """All rows; figures are seconds unless the row says otherwise."""
    from rich.console import Console
    from rich.table import Table

    table = Table("benchmark", title="benchmarks (seconds, best or median as each says)", title_justify="left")
    for heading in ("ours", "peer", "ratio", "goal"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("met", no_wrap=True)
    for row in rows:
        figures = [_figure(row[key]) for key in ("ours_s", "peer_s", "ratio")]
        answer = {True: "yes", False: "NO", None: ""}[row["met"]]  # type: ignore[index]
        table.add_row(str(row["name"]), *figures, str(row["goal"] or ""), answer)
    width = None if sys.stdout.isatty() else 150
    Console(width=width).print(table)


def _figure(value: object) -> str:
    if not isinstance(value, int | float) or not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def _finite(row: Row) -> Row:
    """NaN is no JSON."""
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
