"""Fail at the first call, at the second, and so on until a run is clean: HTTP calls one by one, SQL statements one by one.

After each failure no half batch is visible, and running again gives the bars of the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest

from cryptai_pipelines.market.series import Series
from cryptai_pipelines.orchestration.chain import raw_ohlcv, validated_bars
from cryptai_pipelines.replay.faults import FAULTS, Fault
from cryptai_pipelines.replay.rate_limit import Limits
from cryptai_pipelines.replay.server import running
from cryptai_pipelines.storage.coverage import read_coverage
from cryptai_pipelines.storage.database import Database, DatabaseUnavailable
from cryptai_pipelines_tests.fakes import FakeTime
from cryptai_pipelines_tests.torture import synced_market
from cryptai_pipelines_tests.torture.synced_market import Market, difference, model_bars, open_market, patient_source, sync
from cryptai_pipelines_tests.torture.tally import Tally, size, tallied

MINUTE_MS = 60_000
PAGE = 1_000
BARS = 2_300
TOP_UP_BARS = 1_200


@dataclass
class Nth:
    """Counts calls; the `at`-th one fails."""

    at: int = 0
    seen: int = 0

    def aim(self, at: int) -> None:
        self.at, self.seen = at, 0

    def strikes(self) -> bool:
        self.seen += 1
        return self.seen == self.at


class BreakingDatabase(Database):
    """The real database, whose server ends the connection just before a chosen statement; bulk reads are refused."""

    def __init__(self, url: str, nth: Nth) -> None:
        super().__init__(url)
        self._nth = nth

    def _connect(self) -> psycopg2.extensions.connection:
        nth, url, connection = self._nth, self.url, super()._connect()

        class BreakingCursor(psycopg2.extensions.cursor):
            def execute(self, *arguments: Any) -> None:
                if nth.strikes():
                    end_backend(url, connection.info.backend_pid)
                super().execute(*arguments)

            def copy_expert(self, *arguments: Any, **options: Any) -> None:
                if nth.strikes():
                    end_backend(url, connection.info.backend_pid)
                super().copy_expert(*arguments, **options)

        connection.cursor_factory = BreakingCursor
        return connection

    def _read(self, *arguments: Any) -> Any:
        if self._nth.strikes():
            raise DatabaseUnavailable("the server went away")
        return super()._read(*arguments)


def end_backend(url: str, pid: int) -> None:
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    connection.close()


@pytest.fixture
def world(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Market, str, Nth]]:
    """A market of many symbols, one page a commit, and a venue that resets the connection at the n-th request."""
    monkeypatch.setattr(raw_ohlcv, "PAGES_PER_COMMIT", 1)
    monkeypatch.setattr(validated_bars, "BARS_PER_COMMIT", PAGE)
    market, nth = open_market(5, 400, ("1m",), BARS * MINUTE_MS, tmp_path), Nth()

    def plan(path: str, query: str, number: int) -> Fault | None:
        return FAULTS["reset_in_body"] if nth.strikes() else None

    with running(market.venue, limits=Limits(weight_per_minute=10**9), faults=plan) as url:
        yield market, url, nth


def check_no_half_batch(database: Database, market: Market, series: Series) -> None:
    """Raw bars are those of coverage, validated bars a beginning of them, and no gap is told."""
    model = model_bars(market, series)
    opens = sorted(model)
    covered = read_coverage(database, "binance", series).covered
    raw, validated = synced_market.raw_bars(database, series), synced_market.validated_bars(database, series)
    assert raw == {ts: model[ts] for ts in opens[: len(raw)]}
    # Coverage ends before the bar in whose time a page ends.
    settled = sum(covered is not None and ts < covered.end_ms for ts in opens)
    assert len(raw) - settled in ((0, 1) if raw else (0,))
    assert validated == {ts: model[ts] for ts in opens[: len(validated)]}
    assert validated.keys() <= raw.keys()
    assert synced_market.gaps(database, series) == []


def check_whole(database: Database, market: Market, series: Series, tally: Tally, what: str) -> None:
    model = model_bars(market, series)
    for stored in (synced_market.raw_bars(database, series), synced_market.validated_bars(database, series)):
        found = difference(stored, model)
        tally.add(what, 0, **found._asdict())
        assert found == (0, 0, 0)


def fail_at_every_call(
    world: tuple[Market, str, Nth], broken: Database, sound: Database, nth: Nth, step: int, what: str
) -> int:
    """A first sync and a top-up, each failing at call 1, 1 + `step`, ... of a symbol of its own; the number of failures."""
    market, url, of_http = world
    source, calm = patient_source(url, FakeTime(), 20.0, tries=1), patient_source(url, FakeTime(), 20.0, tries=1)
    fresh, struck = iter(market.series), 0
    started = market.clock.at_ms
    with tallied(what) as tally:
        for top_up, kind in ((False, "in a first sync"), (True, "in a top-up")):
            for at in itertools.count(1, step):
                series = next(fresh)
                market.clock.at_ms = started
                if top_up:
                    nth.aim(0)
                    assert sync(sound, calm, market, "before", [series])[0].error is None
                    market.clock.at_ms = started + TOP_UP_BARS * MINUTE_MS
                nth.aim(at)
                [result] = sync(broken, source, market, "broken", [series])
                if nth.seen < at:
                    assert result.error is None
                    break
                nth.aim(0)
                struck += 1
                tally.add(kind, unrecovered=result.error is not None)
                check_no_half_batch(sound, market, series)
                [again] = sync(sound, calm, market, "again", [series])
                assert again.error is None
                check_whole(sound, market, series, tally, kind)
    of_http.aim(0)
    return struck


def test_a_failure_of_any_http_call_is_mended_by_running_again(world: tuple, database_per_module: Database) -> None:
    database = database_per_module
    assert fail_at_every_call(world, database, database, world[2], 1, "fail at the n-th HTTP call") >= 8
    [(running_rows,)] = database.rows("SELECT count(*) FROM data_sync_log WHERE status IN ('PENDING', 'RUNNING')")
    assert running_rows == 0


def test_a_failure_of_any_statement_is_mended_by_running_again(world: tuple, database: Database) -> None:
    nth = Nth()
    broken = BreakingDatabase(database.url, nth)
    try:
        assert fail_at_every_call(world, broken, database, nth, size(2, 1), "fail at the n-th SQL statement") > 30
    finally:
        broken.close()
    [(running_rows,)] = database.rows("SELECT count(*) FROM data_sync_log WHERE status IN ('PENDING', 'RUNNING')")
    assert running_rows == 0
