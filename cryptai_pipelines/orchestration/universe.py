"""When the symbols of a backtest were chosen, and which ones nobody could choose any more: what is known of survivorship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.storage import fetch_log, symbols
from cryptai_pipelines.storage.database import Database


def chosen_at(database: Database, first_bars: Mapping[Series, int]) -> int | None:
    """By when all of the series had been chosen (epoch ms); None when no page of any is on record.

    A series was chosen when its first page was received. One that was there before its first bar of the test (`first_bars`,
    open times) was chosen without knowing what became of it, however late it was listed: of the others the last one counts, and
    without any the first of all.
    """
    received = {series: fetch_log.first_fetched_at(database, series) for series in first_bars}
    known = {series: moment for series, moment in received.items() if moment is not None}
    if not known:
        return None
    late = [moment for series, moment in known.items() if moment > first_bars[series]]
    return max(late) if late else min(known.values())


def gone_symbols(database: Database, venue: str, chosen: Sequence[Series], start_ms: int) -> tuple[int, int]:
    """How many symbols of the same quote currencies the store has seen listed by `venue` that were gone after `start_ms`, and
    how many of those are among the chosen. What vanished before the store first saw the venue's list is not known to it."""
    quotes = {one.symbol.partition("-")[2] for one in chosen}
    missing = symbols.read_missing(database, venue)
    gone = {
        one.symbol
        for one in symbols.read_symbols(database, venue)
        if one.quote in quotes and (one.symbol in missing or (one.delisted_at_ms or 0) > start_ms)
    }
    return len(gone), len(gone & {one.symbol for one in chosen})
