"""A hole is closed by the primary, else by the archive, else by another venue, bar by bar, else filled and flagged; what was
known at any moment can be read again; and bars that come later take the place of filled ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.clock import FixedClock, SystemClock
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.orchestration.chain import validated_bars
from cryptai_pipelines.orchestration.chain.bar_history import read_bars
from cryptai_pipelines.orchestration.chain.holes import Closed, Door, close_holes
from cryptai_pipelines.orchestration.chain.receive import receive_pages
from cryptai_pipelines.orchestration.chain.steps import chain_steps, data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.sources.errors import Transient
from cryptai_pipelines.storage import coverage, gap_fills, market_data, quality_log, series_sources, sync_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.quality_log import Finding, replace_findings
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.orchestration.test_chain_properties import (
    BARS,
    HOUR,
    SERIES,
    START,
    assert_same,
    venue_with,
    walk_bars,
)

HOLES = {100, 101, 102, 103, 400, 401, 900}
NOW = START + BARS * HOUR + 60_000
DAY = 24 * HOUR


def wire_rows(frame: pd.DataFrame, within: Interval) -> dict[str, np.ndarray]:
    ts = frame["ts"].dt.as_unit("ms").astype("int64").to_numpy()
    kept = (ts >= within.start_ms) & (ts < within.end_ms)
    rows = {name: frame[name].to_numpy()[kept] for name in ("open", "high", "low", "close", "volume")}
    zeros = np.zeros(int(kept.sum()))
    return {
        "ts": ts[kept],
        **rows,
        "close_ts": zeros.astype("int64"),
        "quote_volume": zeros,
        "trades": zeros.astype("int64"),
        "taker_buy_base": zeros,
        "taker_buy_quote": zeros,
        "unused": zeros.astype("float32"),
    }


def door(source: str, origin: str, slots: set[int], fetched_at_ms: int = NOW, knocks: list | None = None) -> Door:
    """A source that has the bars of `slots` of the whole walk, and no others."""
    frame = walk_bars(31, set())
    frame = frame.loc[frame.index.isin(slots)]

    def bars(start_ms: int, end_ms: int) -> Iterator[Page]:
        if knocks is not None:
            knocks.append((source, (start_ms - START) // HOUR))
        asked = Interval(start_ms, end_ms)
        yield Page(wire_rows(frame, asked), asked, f"test://{source}", "0" * 64, fetched_at_ms)

    return Door(source, origin, bars)


@pytest.fixture
def world(database: Database, tmp_path: Path) -> Iterator[tuple[Database, object]]:
    with venue_with(walk_bars(31, HOLES), tmp_path, FixedClock(NOW)) as url:
        settings = settings_for(url, tmp_path)
        bring(database, settings)
        yield database, settings


def bring(database: Database, settings: object, whole: bool = False, clock: FixedClock | None = None) -> None:
    steps = (chain_steps if whole else data_steps)(database, open_venue(settings, clock), settings, "test")
    for result in walk([SERIES], steps, holding(database, "binance", settings, "test"), 1):
        assert result.error is None, f"{result.failed_at}: {result.error}"


def close(database: Database, settings: object, *doors: Door, policy: str = "carry_forward", now_ms: int = NOW) -> Closed:
    with holding(database, "binance", settings, "test")(SERIES) as lease:
        return close_holes(database, lease, doors, policy, now_ms, run_id="test")


def origins(database: Database) -> dict[int, tuple[str, str, bool]]:
    """Source, origin and flag of the slots that the venue lacked."""
    frame = market_data.read(database, SERIES)
    slots = (frame.index.as_unit("ms").asi8 - START) // HOUR
    rows = zip(slots.tolist(), frame["source"], frame["origin"], frame["is_filled"], strict=True)
    return {slot: (source, origin, filled) for slot, source, origin, filled in rows if slot in HOLES}


def test_each_bar_comes_from_the_first_source_that_has_it(world: tuple) -> None:
    database, settings = world
    knocks: list = []
    closed = close(
        database,
        settings,
        door("binance", "rest", {100}, knocks=knocks),
        door("binance_archive", "archive", {100, 101}, knocks=knocks),
        door("kraken", "secondary", {100, 101, 102, 400}, knocks=knocks),
    )
    assert origins(database) == {
        100: ("binance", "rest", False),
        101: ("binance_archive", "archive", False),
        102: ("kraken", "secondary", False),
        103: ("binance", "carried", True),
        400: ("kraken", "secondary", False),
        401: ("binance", "carried", True),
        900: ("binance", "carried", True),
    }
    assert closed.closed_by == {"binance": 1, "binance_archive": 1, "kraken": 2}
    assert (closed.gaps, closed.filled, closed.left) == (3, 3, 3)
    # A gap that the source before has closed in part is asked for from where it still is one.
    assert [knock for knock in knocks if knock[0] == "kraken"] == [("kraken", 102), ("kraken", 400), ("kraken", 900)]
    assert [one.source for one in series_sources.read_sources(database, SERIES)] == ["binance", "binance_archive", "kraken"]
    # Nobody but the primary was asked for what lies between the gaps.
    assert coverage.read_coverage(database, "kraken", SERIES).covered is None


def test_a_filled_bar_is_no_received_one(world: tuple) -> None:
    database, settings = world
    before = quality_log.count_bars(database, SERIES)
    close(database, settings)
    assert quality_log.count_bars(database, SERIES) == before == (BARS, BARS - len(HOLES))
    assert quality_log.count_missing(database, SERIES) == (3, len(HOLES))
    bars = market_data.read(database, SERIES)
    filled = bars[bars["is_filled"]]
    assert len(bars) == BARS and len(filled) == len(HOLES)
    carried = bars["close"].where(~bars["is_filled"]).ffill()
    assert (filled[["open", "high", "low", "close"]].to_numpy() == carried[bars["is_filled"]].to_numpy()[:, None]).all()
    assert not filled["volume"].any()


def test_a_bar_that_comes_later_takes_the_place_of_the_filled_one(world: tuple, tmp_path: Path) -> None:
    database, settings = world
    close(database, settings)
    close(database, settings, door("binance", "rest", HOLES), now_ms=NOW + 7 * DAY)
    assert set(origins(database).values()) == {("binance", "rest", False)}
    assert quality_log.count_missing(database, SERIES) == (0, 0)
    assert market_data.count_filled(database, SERIES) == 0


def test_fills_follow_a_restated_close_and_equal_a_rebuild(world: tuple, postgres_server, tmp_path: Path) -> None:
    database, settings = world
    close(database, settings)
    restated = walk_bars(31, HOLES)
    restated.loc[99, "close"] = restated.loc[99, "low"]
    restated.loc[399, "close"] = restated.loc[399, "high"] * 3
    with venue_with(restated, tmp_path / "restated", FixedClock(NOW)) as url, fresh_database(postgres_server) as rebuilt:
        again = settings_for(url, tmp_path)
        for slot in (99, 399):
            window = Interval(START + slot * HOUR, START + (slot + 1) * HOUR)
            steps = data_steps(database, open_venue(again), again, "test", window)
            for result in walk([SERIES], steps, holding(database, "binance", again, "test"), 1):
                assert result.error is None
        bring(database, again, whole=True)
        bring(rebuilt, again)
        close(rebuilt, again, now_ms=NOW)
        close(database, again, now_ms=NOW + 7 * DAY)
        bring(database, again, whole=True)
        bring(rebuilt, again, whole=True)
        assert_same(database, rebuilt)
    bars = market_data.read(database, SERIES)
    assert bars["close"].iloc[100] == restated.loc[99, "low"]
    # Bar 399 became impossible: its slot is part of the gap now, and the close before it is carried.
    assert bars["close"].iloc[400] == restated.loc[398, "close"] and bars["is_filled"].iloc[399]


def test_no_fill_takes_fills_back(world: tuple) -> None:
    database, settings = world
    close(database, settings)
    closed = close(database, settings, policy="none")
    assert closed.filled == 0 and origins(database) == {}
    assert gap_fills.read_fills(database, SERIES) == []


def test_the_edges_of_a_series_are_not_filled(database: Database, tmp_path: Path) -> None:
    frame = walk_bars(31, set())
    frame = frame[(frame.index >= 10) & (frame.index < BARS - 10)]
    with venue_with(frame, tmp_path, FixedClock(NOW)) as url:
        settings = settings_for(url, tmp_path)
        bring(database, settings)
        assert quality_log.count_missing(database, SERIES) == (1, 10)
        assert close(database, settings).filled == 0


def test_a_failing_source_is_told_of_and_the_next_is_asked(world: tuple) -> None:
    database, settings = world

    def broken(start_ms: int, end_ms: int) -> Iterator[Page]:
        raise Transient("binance: HTTP 503")
        yield

    knocks: list = []
    doors = (Door("binance", "rest", broken), door("kraken", "secondary", HOLES, knocks=knocks))
    closed = close(database, settings, *doors)
    assert closed.closed_by == {"kraken": len(HOLES)} and closed.left == 0
    assert closed.errors == ("binance: binance: HTTP 503",)
    told = {row["source"]: (row["status"], row["error"]) for row in sync_log.read_syncs(database, SERIES, 2)}
    assert told["kraken"] == ("COMPLETED", None)
    assert told["binance"] == ("FAILED", "3 of 3 gaps were not answered, the first: binance: HTTP 503")
    attempts = gap_fills.read_attempts(database, SERIES)
    assert [(one.source, one.bars, one.error) for one in attempts if one.gap.start_ms == START + 100 * HOUR] == [
        ("binance", 0, "binance: HTTP 503"),
        ("kraken", 4, None),
    ]


def test_a_source_that_is_down_is_not_asked_for_every_gap(world: tuple) -> None:
    database, settings = world
    asked: list[int] = []

    def broken(start_ms: int, end_ms: int) -> Iterator[Page]:
        asked.append(start_ms)
        raise Transient("kraken: HTTP 503")
        yield

    within = Interval(START, START + BARS * HOUR)
    singles = [Finding(Interval(START + slot * HOUR, START + (slot + 1) * HOUR), "warning", 1, 0, 1) for slot in range(8)]
    with database.transaction() as cursor:
        replace_findings(cursor, SERIES, "gap", within, singles)
    closed = close(database, settings, Door("kraken", "secondary", broken), policy="none")
    assert closed.gaps == 8 and len(asked) == 3 and closed.errors == ("kraken: kraken: HTTP 503",)


def test_a_venue_that_does_not_feed_the_series_is_another_venue(world: tuple) -> None:
    """As when the settings name another exchange than the one that the series was begun with."""
    database, settings = world
    closed = close(database, settings, door("okx", "rest", {100}), policy="none")
    assert closed.closed_by == {"okx": 1}
    assert origins(database)[100] == ("okx", "secondary", False)
    close(database, settings, door("okx", "rest", {400}), policy="none", now_ms=NOW + 7 * DAY)
    assert origins(database)[400] == ("okx", "secondary", False)


def test_a_source_that_had_nothing_is_left_alone_for_some_days(world: tuple) -> None:
    database, settings = world
    knocks: list = []
    for now_ms in (NOW, NOW + DAY, NOW + 7 * DAY):
        close(database, settings, door("kraken", "secondary", set(), knocks=knocks), now_ms=now_ms)
    assert len(knocks) == 2 * 3


def test_bars_are_read_as_they_were_known(database: Database, tmp_path: Path) -> None:
    """Snapshots of the store, taken at the time, are what is read as of that time later."""
    snapshots: dict[int, pd.DataFrame] = {}
    frame = walk_bars(31, HOLES)
    venue_clock, ours = FixedClock(START + 600 * HOUR + 60_000), FixedClock(START + 600 * HOUR + 61_000)

    def snapshot() -> None:
        snapshots[ours.at_ms] = market_data.read(database, SERIES)
        ours.at_ms += 60_000

    for version in range(3):
        with venue_with(frame, tmp_path / str(version), venue_clock) as url:
            settings = settings_for(url, tmp_path)
            bring(database, settings, clock=ours)
            snapshot()
        # The next look shows other values for two of the bars that are asked for again, one of them impossible ones.
        last = (venue_clock.at_ms - START) // HOUR - 2
        frame.loc[last, "close"] = frame.loc[last, "high"]
        frame.loc[last - 3, "low"] = frame.loc[last - 3, "high"] * 2
        venue_clock.at_ms += 50 * HOUR
        ours.at_ms = venue_clock.at_ms + 1_000
    close(database, settings, door("kraken", "secondary", {100, 400}, ours.at_ms), now_ms=ours.at_ms)
    snapshot()
    assert len({len(one) for one in snapshots.values()}) > 1
    for at_ms, expected in snapshots.items():
        found = pd.concat(list(read_bars(database, SERIES, None, at_ms)))
        pd.testing.assert_frame_equal(plain(found), plain(expected))
    part = Interval(START + 95 * HOUR, START + 410 * HOUR)
    found = pd.concat(list(read_bars(database, SERIES, part, ours.at_ms)))
    pd.testing.assert_frame_equal(plain(found), plain(market_data.read(database, SERIES, *part)))
    assert sum(len(block) for block in read_bars(database, SERIES, None, START)) == 0


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"source": str, "origin": str})


def test_asking_for_gaps_settles_nothing_in_between(world: tuple) -> None:
    """What lies between two gaps was never asked of the sources that were asked for the gaps."""
    database, settings = world
    close(database, settings, door("kraken", "secondary", HOLES))
    assert market_data.count_filled(database, SERIES) == 0
    assert coverage.read_coverage(database, "kraken", SERIES).covered is None
    assert coverage.read_coverage(database, "binance", SERIES).covered.end_ms == START + BARS * HOUR


def test_a_gap_of_a_file_is_no_beginning_of_the_venue(database: Database, tmp_path: Path) -> None:
    """A file comes first, its hole is closed by the venue, and then the venue is read for the first time: all of it."""
    with venue_with(walk_bars(31, set()), tmp_path, FixedClock(NOW)) as url:
        settings = settings_for(url, tmp_path)
        rows = wire_rows(walk_bars(31, HOLES), Interval(START + 50 * HOUR, START + 200 * HOUR))
        asked = Interval(START + 50 * HOUR, START + 200 * HOUR)
        with holding(database, "binance", settings, "test")(SERIES) as lease:
            with database.transaction() as cursor:
                series_sources.register_source(cursor, SERIES, "binance", "rest")
            receive_pages(database, lease, "file:x", "csv", [Page(rows, asked, "x.csv", "0" * 64, NOW)], run_id="test")
            validated_bars.bring_up_to_date(database, lease)
        close(database, settings, door("binance", "rest", HOLES))
        assert quality_log.count_missing(database, SERIES) == (0, 0)
        bring(database, settings)
        assert len(market_data.read(database, SERIES)) == BARS


def test_what_was_decided_at_a_time_is_not_forgotten(database: Database, tmp_path: Path) -> None:
    """A decision that grows, or is taken back, was another one before: reading as of then shows that."""
    with venue_with(walk_bars(31, HOLES), tmp_path, FixedClock(NOW)) as url:
        settings = settings_for(url, tmp_path)
        bring(database, settings, clock=FixedClock(NOW))
    close(database, settings, now_ms=NOW + HOUR)
    before = market_data.read(database, SERIES)
    restated = walk_bars(31, HOLES)
    restated.loc[104, "low"] = restated.loc[104, "high"] * 2
    with venue_with(restated, tmp_path / "restated", FixedClock(NOW + 2 * HOUR)) as url:
        again = settings_for(url, tmp_path)
        window = Interval(START + 104 * HOUR, START + 105 * HOUR)
        ours = FixedClock(NOW + 2 * HOUR)
        steps = data_steps(database, open_venue(again, ours), again, "test", window)
        for result in walk([SERIES], steps, holding(database, "binance", again, "test"), 1):
            assert result.error is None
    close(database, settings, now_ms=NOW + 3 * HOUR)
    grown = market_data.read(database, SERIES)
    assert grown["is_filled"].sum() == len(HOLES) + 1
    close(database, settings, policy="none", now_ms=NOW + 5 * HOUR)
    for at_ms, expected in (
        (NOW + HOUR, before),
        (NOW + 4 * HOUR, grown),
        (NOW + 6 * HOUR, market_data.read(database, SERIES)),
    ):
        found = pd.concat(list(read_bars(database, SERIES, None, at_ms)))
        pd.testing.assert_frame_equal(plain(found), plain(expected))


def test_a_filled_bar_follows_a_close_beyond_a_bar_that_is_gone(world: tuple, tmp_path: Path) -> None:
    """Bar 99 went bad and nobody has decided on it yet: the bars filled after it carry the close of bar 98, whatever that
    becomes, in the store and when it is read as of now."""
    database, settings = world
    close(database, settings)
    restated = walk_bars(31, HOLES)
    restated.loc[99, "low"] = restated.loc[99, "high"] * 2
    for version, at in enumerate((99, 98)):
        if at == 98:
            restated.loc[98, "close"] = restated.loc[98, "low"]
        with venue_with(restated, tmp_path / str(version), FixedClock(NOW)) as url:
            again = settings_for(url, tmp_path)
            window = Interval(START + at * HOUR, START + (at + 1) * HOUR)
            steps = data_steps(database, open_venue(again), again, "test", window)
            for result in walk([SERIES], steps, holding(database, "binance", again, "test"), 1):
                assert result.error is None
    bars = market_data.read(database, SERIES, START + 98 * HOUR, START + 104 * HOUR)
    assert (bars["close"] == restated.loc[98, "low"]).all() and len(bars) == 5
    part = Interval(START + 101 * HOUR, START + 105 * HOUR)
    found = pd.concat(list(read_bars(database, SERIES, part, SystemClock().now_ms() + HOUR)))
    pd.testing.assert_frame_equal(plain(found), plain(market_data.read(database, SERIES, *part)))
