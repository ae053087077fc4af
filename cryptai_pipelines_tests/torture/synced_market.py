"""A simulated market whose bars are known, synced by the real chain into a real database, and held against each other.

Used by the suites that spoil the wire and by those that break calls; what is broken, and how, is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cryptai_pipelines.market.clock import FixedClock, closed_until
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import parse_timeframe
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.replay.simulated import LISTED_MS, SimulatedVenue, open_simulated
from cryptai_pipelines.replay.venue import UNIT, Window
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.ccxt_binance import open_binance
from cryptai_pipelines.sources.retry import RetryPolicy
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.fakes import FakeTime

COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")
_COUNTS = {"trades"}
_MANY = 1_000_000
Bars = dict[int, tuple[float, ...]]
"""Values of `COLUMNS` by open time in epoch milliseconds."""


@dataclass
class Market:
    """A simulated venue, the clock it stands at, and the series that are synced from it."""

    venue: SimulatedVenue
    clock: FixedClock
    series: list[Series]
    settings: Settings


def open_market(
    seed: int, symbols: int, timeframes: Sequence[str], age_ms: int, home: Path, url: str = "http://127.0.0.1:1"
) -> Market:
    """A market that is `age_ms` old; every symbol on every timeframe."""
    clock = FixedClock(LISTED_MS + age_ms)
    venue = open_simulated(seed, symbols, clock)
    slugs = [f"{each.base}-{each.quote}" for each in venue.instruments.values()]
    series = [Series(slug, parse_timeframe(code)) for slug in slugs for code in timeframes]
    return Market(venue, clock, series, Settings(_env_file=None, binance_url=url, home=home))


def patient_source(url: str, fake_time: FakeTime, timeout_s: float, tries: int = 5) -> BarSource:
    """The real client, its pauses taking no time; `timeout_s` of one call is real."""
    retry = RetryPolicy(total_s=100.0, tries=tries, first_pause_s=0.001)
    return open_binance(url, timeout_s, FixedClock(LISTED_MS), retry=retry, timer=fake_time.timer())


def sync(
    database: Database,
    source: BarSource,
    market: Market,
    run_id: str,
    series: Sequence[Series] | None = None,
    window: Interval | None = None,
) -> list[SeriesResult]:
    """The data steps for `series` (default: all), one after the other."""
    chosen = market.series if series is None else series
    steps = data_steps(database, source, market.settings, run_id, window)
    return list(walk(chosen, steps, holding(database, source.name, market.settings, run_id), 1))


def model_bars(market: Market, series: Series) -> Bars:
    """The closed bars of a series, straight from the venue's own columns."""
    now = market.clock.now_ms()
    until = closed_until(now, series.timeframe, round(market.settings.grace_seconds * 1000))
    window = Window(LISTED_MS, until - 1, _MANY)
    columns = market.venue.bars(series.symbol.replace("-", ""), series.timeframe, window, now)
    values = [
        columns[name].tolist() if name in _COUNTS else [value / UNIT for value in columns[name].tolist()] for name in COLUMNS
    ]
    return dict(zip(columns["ts"].tolist(), zip(*values, strict=True), strict=True))


def validated_bars(database: Database, series: Series) -> Bars:
    """What `market_data` holds of a series."""
    return _bars(database, f"SELECT {_TS}, {', '.join(COLUMNS)} FROM market_data WHERE symbol = %s AND timeframe = %s", series)


def raw_bars(database: Database, series: Series) -> Bars:
    """The newest revision of every bar in `raw_ohlcv`, but for those that are in quarantine with a reason."""
    sql = f"""SELECT DISTINCT ON (ts) {_TS}, {", ".join(COLUMNS)} FROM raw_ohlcv AS raw WHERE symbol = %s AND timeframe = %s
        AND NOT EXISTS (SELECT FROM quarantine AS bad WHERE (bad.source, bad.symbol, bad.timeframe, bad.ts, bad.revision)
            = (raw.source, raw.symbol, raw.timeframe, raw.ts, raw.revision))
        ORDER BY ts, revision DESC"""
    return _bars(database, sql, series)


_TS = "(extract(epoch FROM ts) * 1000)::bigint"


def _bars(database: Database, sql: str, series: Series) -> Bars:
    return {row[0]: row[1:] for row in database.rows(sql, (series.symbol, series.timeframe.code))}


def gap_opens(database: Database, series: Series) -> set[int]:
    """Every open time that lies in a gap row of the series."""
    return {ts for gap in gaps(database, series) for ts in range(gap.start_ms, gap.end_ms, series.timeframe.ms)}


def gaps(database: Database, series: Series) -> list[Interval]:
    """The gap rows of the series."""
    sql = """SELECT (extract(epoch FROM period_start) * 1000)::bigint, (extract(epoch FROM period_end) * 1000)::bigint
        FROM data_quality WHERE kind = 'gap' AND symbol = %s AND timeframe = %s ORDER BY 1"""
    return [Interval(*row) for row in database.rows(sql, (series.symbol, series.timeframe.code))]


class Difference(NamedTuple):
    """How a table differs from the model, in bars. Its key holds a bar once, so a duplicate is one at another time."""

    lost: int
    duplicated: int
    altered: int


def difference(stored: Bars, model: Bars) -> Difference:
    """Bars of the model that are absent, bars that the model does not have, and bars of which a value is another one."""
    altered = sum(
        not np.array_equal(np.array(stored[ts], dtype="float64"), np.array(model[ts], dtype="float64"))
        for ts in stored.keys() & model.keys()
    )
    return Difference(len(model.keys() - stored.keys()), len(stored.keys() - model.keys()), altered)
