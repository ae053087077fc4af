"""What the graph says about each per-series asset: where it is stored, what it depends on, who owns it. Plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One asset. `code_version` grows when the same input would give other rows; then everything below is computed anew."""

    name: str
    group: str
    deps: tuple[str, ...]
    table: str
    kinds: frozenset[str]
    code_version: str
    description: str


OWNERS = ("team:cryptai",)

CHAIN: tuple[Entry, ...] = (
    Entry(
        name="raw_ohlcv",
        group="market_data",
        deps=("symbols",),
        table="raw_ohlcv",
        kinds=frozenset({"python", "postgres", "ccxt"}),
        code_version="1",
        description="Closed bars exactly as the venue gave them: append-only, every restatement a revision, every answer "
        "proven by its SHA-256 in `fetch_log`. What is fetched follows from coverage: what is missing, and an overlap.",
    ),
    Entry(
        name="validated_bars",
        group="market_data",
        deps=("raw_ohlcv",),
        table="market_data",
        kinds=frozenset({"python", "postgres", "pandera"}),
        code_version="1",
        description="The current truth, one row per open time. A bar that breaks a rule is in `quarantine` with its reason "
        "and never here; a gap is a row of `data_quality`, never an absence.",
    ),
    Entry(
        name="technical_indicators",
        group="research",
        deps=("validated_bars",),
        table="technical_indicators",
        kinds=frozenset({"python", "postgres", "numpy"}),
        code_version="2",
        description="The configured indicators on canonical chunks: bringing a series up to date in any number of steps gives "
        "the same bits as computing it once.",
    ),
    Entry(
        name="market_structure",
        group="research",
        deps=("validated_bars",),
        table="market_structure",
        kinds=frozenset({"python", "postgres", "numba"}),
        code_version="1",
        description="Swing pivots, breaks of structure, changes of character and fair-value gaps as they were known at each "
        "bar's close, and trend and structure of the higher timeframe by then. A reading is never rewritten.",
    ),
    Entry(
        name="signals",
        group="research",
        deps=("validated_bars", "technical_indicators", "market_structure"),
        table="signals",
        kinds=frozenset({"python", "postgres", "numpy"}),
        code_version="1",
        description="One row per bar, one column per gate, known at the bar's close: a signal explains itself.",
    ),
    Entry(
        name="backtest_results",
        group="research",
        deps=("validated_bars", "signals"),
        table="backtest_results",
        kinds=frozenset({"python", "postgres", "numba"}),
        code_version="3",
        description="Trades of the signals: decision at the close, fill at the next open, fees and slippage on both sides. "
        "Where a bar touches both levels, finer bars tell which came first, or it counts as the stop; such bars are counted.",
    ),
    Entry(
        name="performance_metrics",
        group="research",
        deps=("validated_bars", "backtest_results"),
        table="performance_metrics",
        kinds=frozenset({"python", "postgres", "plotly"}),
        code_version="2",
        description="The portfolio day by day, the metrics of docs/metrics.md, a picture and a self-contained HTML report.",
    ),
)


def lineage_version(name: str) -> str:
    """The code versions of the asset and of all that it is made of, in the order of the chain: `1.1.2`. Raising one makes all
    below it stale."""
    lineage = _made_of(name)
    return ".".join(entry.code_version for entry in CHAIN if entry.name in lineage)


def _made_of(name: str) -> set[str]:
    deps = next((entry.deps for entry in CHAIN if entry.name == name), ())
    return {name}.union(*map(_made_of, deps))
