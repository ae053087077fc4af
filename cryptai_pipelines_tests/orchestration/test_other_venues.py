"""Other venues than Binance as the exchange of a series, over a socket into real tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from cryptai_pipelines.market.clock import FixedClock
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.sources.source import BarSource
from cryptai_pipelines.storage.coverage import read_coverage
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests import fakes
from cryptai_pipelines_tests.databases import fresh_database
from cryptai_pipelines_tests.orchestration.conftest import settings_for
from cryptai_pipelines_tests.sources.venue_servers import DAY, HOUR, SERVERS, Model, aggregate, make_bars, server_of

FIRST = 1_704_067_200_000  # 2024-01-01, a Monday.
OUTAGE = range(FIRST + 20 * DAY, FIRST + 20 * DAY + 7 * HOUR, HOUR)
END = FIRST + 45 * DAY

# One venue of each way of being asked (the newest only, windows, from a moment on), and one of each way of resampling.
NATIVE = [("kraken", Timeframe.H1), ("okx", Timeframe.H1), ("bitfinex", Timeframe.H1)]
CASES = [*NATIVE, ("coinbase", Timeframe.H4), ("kucoin", Timeframe.W1)]


def _walk_at(database: Database, chosen: Settings, name: str, series: Series, model: Model, now_ms: int) -> BarSource:
    """Bring the series up to date when it is `now_ms` at the venue and here."""
    model.now_ms = now_ms
    model.forget()
    venue = open_venue(chosen, FixedClock(now_ms))
    for result in walk([series], chain_steps(database, venue, chosen, "test"), holding(database, name, chosen, "test"), 1):
        assert result.error is None, f"{result.failed_at}: {result.error}"
    return venue


@pytest.mark.parametrize(("name", "timeframe"), CASES, ids=lambda value: getattr(value, "code", value))
def test_a_series_of_any_venue_reaches_the_table_in_two_steps(
    name: str, timeframe: Timeframe, postgres_server, tmp_path: Path
) -> None:
    opens = [ts for ts in range(FIRST, END + HOUR, HOUR) if ts not in OUTAGE]
    model = Model(HOUR, make_bars(opens), FIRST)
    server = server_of(name, model)
    with fakes.serving(server) as wire, fresh_database(postgres_server) as database:
        series = Series(SERVERS[name][2], timeframe)
        names = {"exchange": name, "symbols": series.symbol, "timeframes": timeframe.code}
        chosen = settings_for(wire.url, tmp_path, venue_urls=f"{name}={wire.url}", **names)
        for now in (FIRST + 25 * DAY + 20 * 60_000, END + 20 * 60_000):
            server.date_ms = now
            venue = _walk_at(database, chosen, name, series, model, now)
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


def test_bars_that_a_venue_no_longer_keeps_are_a_gap_and_the_series_goes_on(postgres_server, tmp_path: Path) -> None:
    """Kraken keeps 721 bars: after an outage of ours that was longer, the bars between are lost there, and only they."""
    model = Model(HOUR, make_bars(range(FIRST, FIRST + 90 * DAY + HOUR, HOUR)), FIRST)
    server = server_of("kraken", model)
    with fakes.serving(server) as wire, fresh_database(postgres_server) as database:
        series = Series("BTC-USD", Timeframe.H1)
        urls = {"venue_urls": f"kraken={wire.url}", "fill": "none"}
        chosen = settings_for(wire.url, tmp_path, exchange="kraken", symbols=series.symbol, timeframes="1h", **urls)
        for days in (25, 90):
            _walk_at(database, chosen, "kraken", series, model, FIRST + days * DAY + 20 * 60_000)
        stored = {int(row[0]) for row in database.rows("SELECT extract(epoch FROM ts) * 1000 FROM market_data")}
        gaps = database.rows(
            "SELECT extract(epoch FROM period_start) * 1000, missing FROM data_quality WHERE kind = 'gap' AND missing > 0"
        )
        covered = read_coverage(database, "kraken", series).covered
    until, back = FIRST + 25 * DAY, FIRST + 90 * DAY - 720 * HOUR
    assert stored == {*range(FIRST, until, HOUR), *range(back, FIRST + 90 * DAY, HOUR)}
    assert covered == (FIRST, FIRST + 90 * DAY)
    assert [tuple(map(int, gap)) for gap in gaps] == [(until, (back - until) // HOUR)]
