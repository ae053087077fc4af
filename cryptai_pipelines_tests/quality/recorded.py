"""Recorded series as the rules take them, and what is known to be wrong with each: the evidence in docs/data-quality.md.

`python -m cryptai_pipelines_tests.quality.recorded FOLDER` counts anew in the files, and prints the table of the page.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cryptai_pipelines.market.bars import BAR_COLUMNS, Columns, take_rows
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.quality.market_signs import complete_aggregates
from cryptai_pipelines.quality.row_rules import ROW_RULES, judge
from cryptai_pipelines.quality.series_rules import SERIES_RULES, find
from cryptai_pipelines.quality.series_view import SeriesFinding, SeriesRule, View
from cryptai_pipelines_tests.quality.samples import closed_at, recorded_rows

# By file, the rows that a row rule refuses; the rows of every other file are all good.
REFUSED: dict[str, dict[str, int]] = {
    "binance_cdd/BTCUSDT_1h": {"conflicting_duplicate": 5298},
    "binance_vision_2025/BTCUSDT_1h": {"off_grid": 43},
    "demo/BTCUSDT_1h": {"off_grid": 43},
    "gemini/BTCUSD_1h": {"not_positive": 1},
}
# By file, every rule that finds something: how many findings, and how many bars are in them. A rule that is not named finds
# nothing.
ALONE: dict[str, dict[str, tuple[int, int]]] = {
    "binance/BTCUSDT_15m": {},
    "binance/BTCUSDT_1d": {},
    "binance/BTCUSDT_1h": {"price_jump": (16, 18)},
    "binance/BTCUSDT_1m": {},
    "binance/BTCUSDT_4h": {"price_jump": (2, 2)},
    "binance/BTCUSDT_5m": {"price_jump": (4, 5)},
    "binance/ETHUSDT_1d": {"wick": (1, 1)},
    "binance/ETHUSDT_1h": {"price_jump": (3, 4)},
    "binance/ETHUSDT_1m": {"price_jump": (2, 2)},
    "binance/ETHUSDT_4h": {},
    "binance/ETHUSDT_5m": {"price_jump": (6, 7)},
    "binance/SOLUSDT_1d": {},
    "binance/SOLUSDT_1h": {"price_jump": (2, 2)},
    "binance/SOLUSDT_4h": {"wick": (1, 1)},
    "binance_2021h1/BTCUSDT_1h": {},
    "binance_2021h1/BTCUSDT_5m": {"zero_volume_run": (2, 27), "flat_run": (2, 27), "price_jump": (1, 1)},
    "binance_2021h1/ETHUSDT_1h": {},
    "binance_2021h1/ETHUSDT_5m": {"zero_volume_run": (2, 27), "flat_run": (2, 27), "price_jump": (2, 3)},
    "binance_2024/BTCUSDT_1m": {"price_jump": (1, 1)},
    "binance_2024/ETHUSDT_1m": {"price_jump": (2, 3)},
    "binance_cdd/BTCUSDT_1h": {
        "zero_volume_run": (12, 103),
        "flat_run": (9, 93),
        "price_jump": (12, 14),
        "jump_across_gap": (2, 2),
        "first_bar": (1, 1),
        "made_up_opens": (12, 20661),
        "duplicate_run": (2649, 2649),
    },
    "binance_vision_2025/BTCUSDT_1h": {"price_jump": (16, 18), "shifted_grid": (1, 43)},
    "bitfinex_derived/BTCUSD_1h": {
        "price_jump": (18, 25),
        "jump_across_gap": (3, 3),
        "wick": (10, 10),
        "precision_change": (10, 10),
    },
    "bitstamp/BTCUSD_1h": {"zero_volume_run": (1, 4), "price_jump": (16, 18), "made_up_opens": (5, 20001)},
    "coinbase/BTCUSD_1h": {
        "zero_volume_run": (2, 18),
        "flat_run": (1, 15),
        "price_jump": (12, 13),
        "made_up_opens": (7, 19703),
        "stale_page": (1, 5),
    },
    "demo/BTCUSDT_1h": {"price_jump": (16, 18), "shifted_grid": (1, 43)},
    "gemini/BTCUSD_1h": {
        "zero_volume_run": (83, 363),
        "flat_run": (41, 295),
        "price_jump": (26, 28),
        "wick": (1, 1),
        "first_bar": (1, 1),
        "precision_change": (19, 19),
        "made_up_opens": (6, 31324),
    },
    "kraken/BTCUSD_1h": {
        "flat_run": (1, 8),
        "price_jump": (24, 26),
        "jump_across_gap": (88, 118),
        "precision_change": (20, 21),
    },
    "mislabelled/BITFINEX_BTCUSD_1h": {
        "zero_volume_run": (2, 18),
        "flat_run": (1, 15),
        "price_jump": (11, 12),
        "made_up_opens": (7, 17175),
        "stale_page": (1, 5),
    },
    "tradingview/BTCUSDT_1d": {},
    "tradingview/BTCUSDT_1h": {},
    "tradingview/BTCUSDT_4h": {"price_jump": (2, 2)},
}
# A file held against a second witness: another venue's file, or a shorter timeframe's.
WITNESSED: dict[tuple[str, str], dict[str, tuple[int, int]]] = {
    ("mislabelled/BITFINEX_BTCUSD_1h", "coinbase/BTCUSD_1h"): {"mislabelled_venue": (12, 17554)},
    ("bitstamp/BTCUSD_1h", "coinbase/BTCUSD_1h"): {"cross_venue_band": (1, 1)},
    ("kraken/BTCUSD_1h", "coinbase/BTCUSD_1h"): {"cross_venue_band": (42, 94)},
    ("gemini/BTCUSD_1h", "coinbase/BTCUSD_1h"): {"cross_venue_band": (33, 65)},
    ("bitfinex_derived/BTCUSD_1h", "kraken/BTCUSD_1h"): {"cross_venue_band": (419, 1314)},
    ("binance/BTCUSDT_1h", "coinbase/BTCUSD_1h"): {"cross_venue_band": (83, 330)},
    ("binance/BTCUSDT_4h", "binance/BTCUSDT_1h"): {},
    ("binance/BTCUSDT_1d", "binance/BTCUSDT_1h"): {},
    ("binance/BTCUSDT_1h", "binance/BTCUSDT_15m"): {},
    ("binance/BTCUSDT_1h", "binance/BTCUSDT_5m"): {},
    ("binance/BTCUSDT_15m", "binance/BTCUSDT_5m"): {},
    ("binance/BTCUSDT_5m", "binance/BTCUSDT_1m"): {},
    ("binance/ETHUSDT_4h", "binance/ETHUSDT_1h"): {},
    ("binance/ETHUSDT_1d", "binance/ETHUSDT_4h"): {},
    ("binance/SOLUSDT_4h", "binance/SOLUSDT_1h"): {},
    ("binance/SOLUSDT_1d", "binance/SOLUSDT_4h"): {},
    ("binance_2021h1/BTCUSDT_1h", "binance_2021h1/BTCUSDT_5m"): {"aggregate_mismatch": (2, 3)},
    ("binance_2021h1/ETHUSDT_1h", "binance_2021h1/ETHUSDT_5m"): {"aggregate_mismatch": (2, 3)},
}


def bars_of(folder: Path, name: str) -> Columns:
    """The file's bars in its own order; flows only where it has them."""
    rows = recorded_rows(folder / f"{name}.parquet")
    reported = BAR_COLUMNS if rows["quote_volume"].any() else BAR_COLUMNS[:5]
    return {"ts": rows["ts"], **{column: rows[column].astype("float64") for column in reported}}


def timeframe_of(name: str) -> Timeframe:
    """The timeframe in a file's name."""
    return Timeframe(name.rsplit("_", 1)[1])


def ascending(bars: Columns) -> Columns:
    """Each open time once, the first of its rows."""
    return take_rows(bars, np.unique(bars["ts"], return_index=True)[1])


def found_alone(folder: Path, name: str) -> list[SeriesFinding]:
    """What the rules find in a file by itself."""
    return find(View(bars_of(folder, name), timeframe_of(name), starts_series=True))


def found_beside(folder: Path, name: str, witness: str) -> list[SeriesFinding]:
    """What the rules that need a second witness find."""
    own, other = ascending(bars_of(folder, name)), ascending(bars_of(folder, witness))
    timeframe, others = timeframe_of(name), timeframe_of(witness)
    if others is timeframe:
        view = View(own, timeframe, other=other)
    else:
        view = View(own, timeframe, finer=complete_aggregates(other, others, timeframe))
    return find(view, [rule for rule in SERIES_RULES if rule.needs])


def counted(found: Iterable[SeriesFinding]) -> dict[str, tuple[int, int]]:
    """Findings and the bars in them, by rule."""
    findings, bars = Counter[str](), Counter[str]()
    for one in found:
        findings[one.rule] += 1
        bars[one.rule] += one.count
    return {rule: (findings[rule], bars[rule]) for rule in findings}


def refused(folder: Path, name: str) -> dict[str, int]:
    """How many rows of a file each row rule refuses."""
    rows, timeframe = recorded_rows(folder / f"{name}.parquet"), timeframe_of(name)
    return dict(Counter(judge(rows, timeframe, closed_at(rows, timeframe)).rules))


def rule_table() -> list[str]:
    """The lines of the table of all rules: those of single rows first, then those of series."""
    lines = ["| rule | severity | what it says | threshold | in recorded data |", "| --- | --- | --- | --- | --- |"]
    for rule in ROW_RULES:
        found = [f"{name}: {counts[rule.name]:,}" for name, counts in REFUSED.items() if rule.name in counts]
        lines.append(f"| `{rule.name}` | refused | {rule.description} | | {'; '.join(found) or 'none'} |")
    for rule in SERIES_RULES:
        limits = ", ".join(f"{name} {value:g}" for name, value in rule.limits.items())
        lines.append(f"| `{rule.name}` | {rule.severity} | {rule.description} | {limits} | {_evidence(rule)} |")
    return lines


def _evidence(rule: SeriesRule) -> str:
    """Findings and bars in the files where there are most of them, and in how many others there are some."""
    told = {name: counts[rule.name] for name, counts in ALONE.items() if rule.name in counts}
    told |= {f"{name} beside {other}": counts[rule.name] for (name, other), counts in WITNESSED.items() if rule.name in counts}
    most = sorted(told.items(), key=lambda one: -one[1][1])[:3]
    parts = [f"{name}: {count:,} ({bars:,} bars)" for name, (count, bars) in most]
    return "; ".join(parts) + (f"; and {len(told) - 3} more" if len(told) > 3 else "") if parts else "none"


def _print_tables(folder: Path) -> None:
    for name in ALONE:
        print(f"{name!r}: {refused(folder, name)},")
    for name in ALONE:
        print(f"{name!r}: {counted(found_alone(folder, name))},")
    for name, witness in WITNESSED:
        print(f"{(name, witness)!r}: {counted(found_beside(folder, name, witness))},")
    print("\n".join(rule_table()))


if __name__ == "__main__":
    _print_tables(Path(sys.argv[1]))
