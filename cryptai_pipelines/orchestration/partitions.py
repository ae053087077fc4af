"""The grid of series that every per-series asset shares. Time is not a partition: it is coverage, kept in Postgres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg

from cryptai_pipelines.market.series import Series, parse_series
from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe

SYMBOLS = dg.DynamicPartitionsDefinition(name="symbols")
GRID = dg.MultiPartitionsDefinition(
    {"symbol": SYMBOLS, "timeframe": dg.StaticPartitionsDefinition([timeframe.code for timeframe in TIMEFRAMES])}
)
# A range of the grid is brought up to date by one run, whatever its size: a run costs seconds before it does anything.
ONE_RUN = dg.BackfillPolicy.single_run()


def add_symbols(instance: dg.DagsterInstance, symbols: Iterable[str]) -> list[str]:
    """Add what is not on the grid yet, in order, and return it. Nothing is ever taken off: a delisting is a flag."""
    known = set(instance.get_dynamic_partitions(SYMBOLS.name))
    new = [symbol for symbol in symbols if symbol not in known]
    if new:
        instance.add_dynamic_partitions(SYMBOLS.name, new)
    return new


def series_of(partition_keys: Iterable[str]) -> list[Series]:
    """The series of grid keys, in their order."""
    return [parse_series(str(key)) for key in partition_keys]


def rectangle_tags(symbols: Sequence[str], timeframes: Sequence[Timeframe]) -> dict[str, str]:
    """The pair of run tags that names all `symbols` x the timeframes from the first to the last of `timeframes`.

    Both sequences are non-empty and in grid order (symbols in order of addition, timeframes ascending).
    """
    return {
        "dagster/asset_partition_range_start": Series(symbols[0], timeframes[0]).key,
        "dagster/asset_partition_range_end": Series(symbols[-1], timeframes[-1]).key,
    }
