"""Every venue as the exchange of a series, over a socket into real tables: its closed bars, and how they came about."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.sources.catalog import EXCHANGES
from cryptai_pipelines.storage.coverage import read_coverage
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.sources.venue_servers import DAY, HOUR, SERVERS, Model, aggregate, make_bars, server_of

FIRST = 1_704_067_200_000  # 2024-01-01, a Monday.
OUTAGE = range(FIRST + 20 * DAY, FIRST + 20 * DAY + 7 * HOUR, HOUR)
END = FIRST + 45 * DAY

CASES = [(name, Timeframe.H1) for name in EXCHANGES] + [("coinbase", Timeframe.H4), ("kucoin", Timeframe.W1)]


@pytest.mark.parametrize(("name", "timeframe"), CASES, ids=lambda value: getattr(value, "code", value))
def test_a_series_of_any_venue_reaches_the_table_in_two_steps(
    name: str, timeframe: Timeframe, postgres_server, tmp_path: Path
) -> None:
    opens = [ts for ts in range(FIRST, END + HOUR, HOUR) if ts not in OUTAGE]
    model = Model(HOUR, make_bars(opens), FIRST)
    server = server_of(name, model)
    with fakes.serving(server) as wire, fresh_database(postgres_server) as database:
        series = Series(SERVERS[name][2], timeframe)
        urls = {"binance_url": wire.url} if name == "binance" else {"venue_urls": f"{name}={wire.url}"}
        chosen = settings_for(wire.url, tmp_path, exchange=name, symbols=series.symbol, timeframes=timeframe.code, **urls)
        for now in (FIRST + 25 * DAY + 20 * 60_000, END + 20 * 60_000):
            model.now_ms = now
            model._made.clear()
            server.date_ms = now
            venue = open_venue(chosen, FixedClock(now))
            for result in walk(
                [series], chain_steps(database, venue, chosen, "test"), holding(database, name, chosen, "test"), 1
            ):
                assert result.error is None, f"{result.failed_at}: {result.error}"
        stored = database.rows(
            "SELECT extract(epoch FROM ts) * 1000, open, high, low, close, volume, origin FROM market_data ORDER BY ts"
        )
        covered = read_coverage(database, name, series).covered
    expected = [bar for bar in aggregate(model.given(HOUR, server.flat), timeframe.ms) if bar.ts + timeframe.ms <= END]
    origin = "rest" if venue.origin(timeframe) == "rest" else "resampled"
    native = [row for row in stored if row[6] != "carried"]
    assert [tuple(map(float, row[:6])) for row in native] == [tuple(map(float, bar[:6])) for bar in expected]
    assert {row[6] for row in native} == {origin}
    assert covered is not None and covered.end_ms == timeframe.floor(END)
