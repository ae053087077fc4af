"""docs/sources.md holds every venue as the catalog has it. `python -m` of this module prints the rows of the table."""

from __future__ import annotations

import pytest

from cryptai_pipelines.market.timeframe import TIMEFRAMES, Timeframe
from cryptai_pipelines.sources.catalog import VENUES
from cryptai_pipelines.sources.venue import Venue
from cryptai_pipelines_tests.conftest import REPOSITORY


def row(venue: Venue) -> str:
    """The table's row of a venue."""
    native = " ".join(one.code for one in TIMEFRAMES if one in venue.codes)
    history = "all" if venue.history_bars is None else f"last {venue.history_bars:,} bars"
    week = f"its own, {venue.own_week}" if Timeframe.W1 in venue.codes else "made of days"
    if Timeframe.W1 not in venue.codes and venue.own_week:
        week += f" (its own begin on {venue.own_week})"
    beside = ", ".join(f"`{name}`" for name in venue.reported) or "nothing"
    cells = (f"`{venue.name}`", f"{venue.page_bars:,}", history, native, week, venue.empty_bars, "base", beside)
    return f"| {' | '.join(cells)} |"


def test_the_table_is_that_of_the_catalog() -> None:
    assert "\n".join(row(venue) for venue in VENUES.values()) in (REPOSITORY / "docs" / "sources.md").read_text()


@pytest.mark.parametrize("venue", VENUES.values(), ids=lambda venue: venue.name)
def test_what_is_said_of_a_venue_is_what_its_pages_are_made_by(venue: Venue) -> None:
    assert (Timeframe.W1 in venue.codes) == (venue.own_week == "Monday")
    candles = getattr(venue.pages, "__self__", None)
    if candles is not None:
        assert (candles.page_rows, candles.history_bars) == (venue.page_bars, venue.history_bars)
        beside = set(candles.form.fields) - {"", "ts", "open", "high", "low", "close", "volume"}
        assert beside == set(venue.reported)


if __name__ == "__main__":
    print("\n".join(map(row, VENUES.values())))
