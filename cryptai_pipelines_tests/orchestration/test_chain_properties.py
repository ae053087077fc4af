"""Bringing a series up to date in any number of steps, with any restatement on the way, gives the tables of doing it once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cryptai_pipelines.market.clock import FixedClock, parse_time
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.replay.recorded import open_recorded
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.storage import quality_log
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for

SERIES = Series("BTC-USDT", Timeframe.H1)
START = parse_time("2021-01-01T00:00:00Z")
HOUR = Timeframe.H1.ms
BARS = 1_500
# Everything that is computed, without ids, clock times, and the count of the steps in which it was done.
TABLES = {
    "market_data": "ts, open, high, low, close, volume, quote_volume, trades, source, origin, is_filled",
    "technical_indicators": "ts, to_jsonb(t) - 'coverage_revision'",
    "market_structure": "ts, to_jsonb(t) - 'coverage_revision'",
    "structure_checkpoints": "at, encode(state, 'hex')",
    "signals": "ts, to_jsonb(t) - 'coverage_revision'",
    "data_quality": "kind, period_start, period_end, expected, received, missing",
    "backtest_trades": "number, entry_ts, entry_price, exit_ts, exit_price, exit_reason, quantity, pnl, ambiguous, is_open",
    "performance_metrics": "day, total_value, daily_return, cumulative_return, drawdown",
    "backtest_results": "bars, trade_count, ambiguous_count, trades_sha256, metrics",
}


def walk_bars(seed: int, holes: set[int]) -> pd.DataFrame:
    """A random walk of hourly bars with holes."""
    random = np.random.default_rng(seed)
    close = 30_000 * np.exp(np.cumsum(random.normal(0, 0.02, BARS)))
    opening = np.concatenate(([30_000.0], close[:-1]))
    spread = np.exp(np.abs(random.normal(0, 0.01, BARS)))
    frame = pd.DataFrame(
        {
            "ts": pd.DatetimeIndex((START + HOUR * np.arange(BARS)).astype("datetime64[ms]"), tz="UTC"),
            "open": opening,
            "high": np.maximum(opening, close) * spread,
            "low": np.minimum(opening, close) / spread,
            "close": close,
            "volume": random.uniform(1, 100, BARS),
        }
    )
    frame[["open", "high", "low", "close", "volume"]] = frame[["open", "high", "low", "close", "volume"]].round(2)
    return frame.drop(index=[hole for hole in holes if 0 < hole < BARS - 1])


@contextmanager
def venue_with(frame: pd.DataFrame, folder: Path, clock: FixedClock) -> Iterator[str]:
    target = folder / "binance"
    target.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(target / "BTCUSDT_1h.parquet", index=False)
    with running(open_recorded(folder, clock)) as url:
        yield url


def bring_up_to_date(database: Database, url: str, home: Path, window: Interval | None = None) -> None:
    settings = settings_for(url, home)
    steps = chain_steps(database, open_venue(settings), settings, "test", window)
    for result in walk([SERIES], steps, holding(database, "binance", settings, "test"), 1):
        assert result.error is None, f"{result.failed_at}: {result.error}"


def contents(database: Database) -> dict[str, list[tuple]]:
    return {
        table: sorted(map(repr, database.rows(f"SELECT {columns} FROM {table} AS t")))  # noqa: S608 - names stand above
        for table, columns in TABLES.items()
    }


def assert_same(one: Database, other: Database) -> None:
    ours, theirs = contents(one), contents(other)
    for table in TABLES:
        assert ours[table] == theirs[table], f"{table} differs"


@given(
    seed=st.integers(0, 2**31),
    holes=st.sets(st.integers(1, BARS - 2), max_size=40),
    stops=st.sets(st.integers(2, BARS - 1), min_size=1, max_size=5),
)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_many_steps_equal_one(postgres_server, tmp_path_factory, seed, holes, stops):
    folder = tmp_path_factory.mktemp("steps")
    frame = walk_bars(seed, holes)
    clock = FixedClock(START)
    with (
        venue_with(frame, folder, clock) as url,
        fresh_database(postgres_server) as stepped,
        fresh_database(postgres_server) as whole,
    ):
        for stop in [*sorted(stops), BARS]:
            clock.at_ms = START + stop * HOUR + 60_000
            bring_up_to_date(stepped, url, folder)
        bring_up_to_date(whole, url, folder)
        assert_same(stepped, whole)
        bars, trades = (whole.rows(f"SELECT count(*) FROM {table}")[0][0] for table in ("market_data", "backtest_trades"))
        assert bars == len(frame) and trades > 0


@pytest.mark.parametrize("bad", [False, True], ids=["restated", "restated into a bad bar"])
@pytest.mark.parametrize("position", [BARS - 5, 400], ids=["within the overlap", "in a window asked for"])
def test_a_restated_bar_changes_what_it_touches_and_nothing_else(postgres_server, tmp_path, position, bad):
    before, after = walk_bars(11, {700, 701}), walk_bars(11, {700, 701})
    row = after.index[position]
    after.loc[row, "close"] = after.loc[row, "high"] * 10 if bad else (after.loc[row, "low"] + after.loc[row, "high"]) / 2
    clock = FixedClock(START + BARS * HOUR + 60_000)
    ts = START + HOUR * (row + 0)
    with fresh_database(postgres_server) as restated, fresh_database(postgres_server) as whole:
        with venue_with(before, tmp_path / "before", clock) as url:
            bring_up_to_date(restated, url, tmp_path)
        with venue_with(after, tmp_path / "after", clock) as url:
            window = Interval(ts - HOUR, ts + HOUR) if position == 400 else None
            bring_up_to_date(restated, url, tmp_path, window)
            bring_up_to_date(whole, url, tmp_path)
        assert_same(restated, whole)
        assert restated.rows("SELECT revision, count(*) FROM raw_ohlcv GROUP BY revision ORDER BY revision") == [
            (0, len(before)),
            (1, 1),
        ]
        quarantined = quality_log.count_quarantined(restated, SERIES)
        assert quarantined == ({"price_order": 1} if bad else {})


def test_history_before_the_first_window_joins_what_is_there(postgres_server, tmp_path):
    frame = walk_bars(5, {300, 301, 302})
    clock = FixedClock(START + BARS * HOUR + 60_000)
    with (
        venue_with(frame, tmp_path, clock) as url,
        fresh_database(postgres_server) as joined,
        fresh_database(postgres_server) as whole,
    ):
        bring_up_to_date(joined, url, tmp_path, Interval(START + 900 * HOUR, START + 1_200 * HOUR))
        bring_up_to_date(joined, url, tmp_path, Interval(START + 100 * HOUR, START + 200 * HOUR))
        bring_up_to_date(joined, url, tmp_path, Interval(0, START + 200 * HOUR))
        bring_up_to_date(joined, url, tmp_path)
        bring_up_to_date(whole, url, tmp_path)
        assert_same(joined, whole)
