"""An hourly tick of many series, with a long history in the store and with a short one.

A tick is the whole chain for every series, from the venue to performance metrics, with the settings' threads, after the
venue's clock has moved on by one hour: 60 new one-minute bars per series. The venue (a process of its own) and the moments
are the same for both histories; they stand in two databases of one embedded server and tick in turn.

- long / short: `SERIES` series with 1,000,000 bars each against the same series with 10,000 bars each.
- many: 100 series with 10,000 bars each, so 1,000,000 rows in every table, against 100 series with 100 bars each. A tick
  computes the current canonical chunk anew, which 100 bars do not fill: this ratio counts work that is not history's.

The long histories are not fetched 100 times: one series goes through the real chain, the others are copies of its rows in
every table under other symbols, and the venue shows the same bars for all of them. What a copy shares with its original is
the id of its pages' proof. Statistics and visibility are then brought up to date, as autovacuum does within a minute or two.

`run()` gives rows of name, ours_s (long), peer_s (short), ratio, goal.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from psycopg2 import sql

from benchmarks.servers import administer, embedded_server, fresh_database
from benchmarks.venue_process import Venue, random_walk, record, venue_process
from cryptai_pipelines.indicators.chunks import CHUNK_BARS
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import chain_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.orchestration.store import open_venue
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.embedded import EmbeddedServer

GOAL = 1.2
LONG, SHORT, SHORTEST = 1_000_000, 10_000, 100
SERIES, MANY = 4, 100
TICKS, WARM_TICKS = 4, 1
HOUR_MS = 3_600_000
_MINUTE = Timeframe.M1
# The first tick stands in the middle of a canonical chunk: the average of what has to be computed anew.
FIRST_TICK_MS = (3_400 * CHUNK_BARS + CHUNK_BARS // 2) * _MINUTE.ms
_AFTER_CLOSE_MS = 30_000
# What the venue records before the first tick; a tick asks for the overlap only.
_RECORDED = 20_000


class Histories(NamedTuple):
    """Two stores that tick in turn, and how long each tick took."""

    long: list[float]
    short: list[float]


def run() -> list[dict[str, object]]:
    """The rows of the benchmark; the median of `TICKS` ticks of each side."""
    with tempfile.TemporaryDirectory(prefix="cryptai-bench-") as scratch, embedded_server() as server:
        few = compare(server, Path(scratch) / "few", SERIES, LONG, SHORT)
        rows = [_row(f"tick of {SERIES} series, {LONG:,} / {SHORT:,} bars of history each", few, f"<= {GOAL:g}")]
        many = compare(server, Path(scratch) / "many", MANY, SHORT, SHORTEST, rows)
        rows.insert(1, _row(f"tick of {MANY} series, {SHORT:,} / {SHORTEST} bars of history each", many, ""))
    return rows


def _row(name: str, found: Histories, goal: str) -> dict[str, object]:
    ours, peer = statistics.median(found.long), statistics.median(found.short)
    return {"name": name, "ours_s": ours, "peer_s": peer, "ratio": ours / peer, "goal": goal}


def told(name: str, value: float) -> dict[str, object]:
    """A row of a figure that has no peer."""
    return {"name": name, "ours_s": value, "peer_s": math.nan, "ratio": math.nan, "goal": ""}


def compare(
    server: EmbeddedServer, folder: Path, count: int, long: int, short: int, more: list[dict[str, object]] | None = None
) -> Histories:
    """Ticks of `count` series with `long` and with `short` bars of history. `more` is given what else is told of the long
    one: statements per series, and the tick as a Dagster run."""
    series = [Series(f"S{number:03d}-USDT", _MINUTE) for number in range(count)]
    symbols = [one.symbol.replace("-", "") for one in series]
    hours = WARM_TICKS + TICKS + 3
    whole = random_walk(long + hours * 60, _MINUTE, FIRST_TICK_MS - long * _MINUTE.ms)
    record(whole, folder / "whole", symbols[:1], _MINUTE)
    record(whole.iloc[-(min(long, _RECORDED) + hours * 60) :], folder / "recent", symbols, _MINUTE)
    with fresh_database(server, "tick_long") as grown, fresh_database(server, "tick_short") as young:
        seed(grown, folder / "whole", series, long)
        seed(young, folder / "whole", series, short)
        administer(grown.url, "CHECKPOINT")
        with venue_process(folder / "recent", FIRST_TICK_MS + _AFTER_CLOSE_MS) as venue:
            found = _ticks(folder, venue, series, grown, young)
            if more is not None:
                now_ms = FIRST_TICK_MS + (WARM_TICKS + TICKS) * HOUR_MS
                more += _statements(server, folder, venue, series, grown, now_ms)
                more += _as_run(server, folder, venue, series, grown, now_ms + 2 * HOUR_MS)
    return found


def _ticks(folder: Path, venue: Venue, series: Sequence[Series], grown: Database, young: Database) -> Histories:
    found = Histories([], [])
    for number in range(WARM_TICKS + TICKS):
        venue.set_time(FIRST_TICK_MS + (number + 1) * HOUR_MS + _AFTER_CLOSE_MS)
        for database, seconds in ((grown, found.long), (young, found.short)):
            took = tick(database, venue.url, folder, series)
            if number >= WARM_TICKS:
                seconds.append(took)
    return found


def seed(database: Database, folder: Path, series: Sequence[Series], bars: int) -> None:
    """The chain's state after `bars` bars of every series: the first one by the chain itself, the others as its copies."""
    with venue_process(folder, FIRST_TICK_MS + _AFTER_CLOSE_MS) as venue:
        window = Interval(FIRST_TICK_MS - bars * _MINUTE.ms, FIRST_TICK_MS)
        _walk(database, _settings(database, venue.url, folder), series[:1], None, window)
    clone(database, series[0], series[1:])
    administer(database.url, "VACUUM (ANALYZE)")


def tick(database: Database, venue_url: str, folder: Path, series: Sequence[Series]) -> float:
    """Seconds of one tick; every series must have gained its 60 bars."""
    began = time.perf_counter()
    _walk(database, _settings(database, venue_url, folder), series, 60)
    return time.perf_counter() - began


def _walk(
    database: Database, settings: Settings, series: Sequence[Series], written: int | None, window: Interval | None = None
) -> None:
    """The whole chain for `series`, of which each must reach the end with `written` new rows in every table of bars."""
    source = open_venue(settings)
    steps = chain_steps(database, source, settings, "bench", window)
    results: Iterator[SeriesResult] = walk(
        series, steps, holding(database, source.name, settings, "bench"), settings.fetch_threads
    )
    for result in results:
        assert result.error is None, f"{result.series} failed at {result.failed_at}: {result.error}"
        if written is not None:
            rows = [outcome.written for outcome in result.outcomes[:4]]
            assert rows == [written] * 4, f"{result.series} wrote {rows}"


def _settings(database: Database, venue_url: str, folder: Path) -> Settings:
    home = folder / database.url.partition("?")[0].rpartition("/")[2]
    return Settings(_env_file=None, home=home, database_url=database.url, binance_url=venue_url)


_BY_SYMBOL = (
    "series_sources", "fetch_log", "raw_ohlcv", "market_data", "quarantine", "data_quality", "data_sync_log",
    "historical_data_range", "series_state", "series_changes", "technical_indicators", "market_structure",
    "structure_checkpoints", "signals", "backtest_results",
)  # fmt: skip
_BY_RESULT = ("backtest_trades", "backtest_ambiguous_bars", "backtest_checkpoints", "performance_metrics")


def clone(database: Database, original: Series, copies: Sequence[Series]) -> None:
    """Rows of `original` in every table again under the symbols of `copies`, in key order, committed symbol by symbol."""
    for copy in copies:
        with database.transaction() as cursor:
            for table in _BY_SYMBOL:
                columns = _columns(cursor, table, leave_out=("id",))
                chosen = [sql.Literal(copy.symbol) if name == "symbol" else sql.Identifier(name) for name in columns]
                statement = sql.SQL("INSERT INTO {0} ({1}) SELECT {2} FROM {0} WHERE symbol = {3}{4}").format(
                    sql.Identifier(table), _listed(columns), sql.SQL(", ").join(chosen), sql.Literal(original.symbol),
                    sql.SQL(" ORDER BY ts" if "ts" in columns else ""),
                )  # fmt: skip
                cursor.execute(statement)
            for table in _BY_RESULT:
                columns = _columns(cursor, table, leave_out=("backtest_id",))
                statement = sql.SQL(
                    "INSERT INTO {0} (backtest_id, {1}) SELECT (SELECT id FROM backtest_results WHERE symbol = {3}), {1}"
                    " FROM {0} WHERE backtest_id = (SELECT id FROM backtest_results WHERE symbol = {2})"
                ).format(sql.Identifier(table), _listed(columns), *map(sql.Literal, (original.symbol, copy.symbol)))
                cursor.execute(statement)


def _columns(cursor: object, table: str, leave_out: Sequence[str]) -> list[str]:
    cursor.execute(
        "SELECT column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
        " AND is_generated = 'NEVER' AND column_name <> ALL(%s) ORDER BY ordinal_position",
        (table, list(leave_out)),
    )
    return [name for (name,) in cursor.fetchall()]


def _listed(names: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _statements(
    server: EmbeddedServer, folder: Path, venue: Venue, series: Sequence[Series], database: Database, now_ms: int
) -> list[dict[str, object]]:
    """What a tick and a tick without news cost in statements per series, counted in the server's own log."""
    venue.set_time(now_ms + HOUR_MS + _AFTER_CLOSE_MS)
    rows = []
    for what, news in (("60 new bars", 60), ("no new bar", 0)):
        with logged(server) as log:
            before = log.stat().st_size
            began = time.perf_counter()
            _walk(database, _settings(database, venue.url, folder), series, news)
            seconds = time.perf_counter() - began
            with open(log, "rb") as lines:
                lines.seek(before)
                text = lines.read()
        count = text.count(b"LOG:  statement: ") + text.count(b"LOG:  execute ")
        opened = text.count(b"connection authorized")
        name = f"  statements per series, {what} (all in {seconds:.2f} s; connections opened: {opened})"
        rows.append(told(name, count / len(series)))
    return rows


@contextmanager
def logged(server: EmbeddedServer) -> Iterator[Path]:
    """The server's log while it logs every statement and every connection."""
    url = server.url("postgres")
    settings = ("log_statement", "log_connections")
    for statement in (*(f"ALTER SYSTEM SET {name} = 'all'" for name in settings), "SELECT pg_reload_conf()"):
        administer(url, statement)
    # Every backend takes up the new settings before its next statement, but is told of them by a signal.
    time.sleep(1)
    try:
        yield server.data / "server.log"
    finally:
        for statement in (*(f"ALTER SYSTEM RESET {name}" for name in settings), "SELECT pg_reload_conf()"):
            administer(url, statement)
        time.sleep(1)


def _as_run(
    server: EmbeddedServer, folder: Path, venue: Venue, series: Sequence[Series], database: Database, now_ms: int
) -> list[dict[str, object]]:
    """The same tick as one Dagster run, in a fresh process and on an instance whose records are in Postgres."""
    venue.set_time(now_ms + _AFTER_CLOSE_MS)
    here, there = get_context("spawn").Pipe()
    arguments = (_settings(database, venue.url, folder), server.url("dagster"), [one.symbol for one in series], there)
    process = get_context("spawn").Process(target=_run_in_dagster, args=arguments)
    process.start()
    there.close()
    try:
        seconds = here.recv()
    finally:
        process.join()
    return [told(f"  the same as one Dagster run of {len(series)} series ({kind})", took) for kind, took in seconds.items()]


def _run_in_dagster(settings: Settings, dagster_url: str, symbols: Sequence[str], pipe: Connection) -> None:
    import dagster as dg

    home = settings.home.resolve() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "DAGSTER_HOME": str(home), "CRYPTAI_DAGSTER_URL": dagster_url, "CRYPTAI_HOME": str(settings.home.resolve()),
        "CRYPTAI_DATABASE_URL": settings.database_url.get_secret_value(), "CRYPTAI_BINANCE_URL": settings.binance_url,
        "CRYPTAI_TIMEFRAMES": _MINUTE.code, "CRYPTAI_SYMBOLS": ",".join(symbols),
    }  # fmt: skip
    import shutil

    import cryptai_pipelines.orchestration as room
    from cryptai_pipelines.definitions import build_defs
    from cryptai_pipelines.orchestration.jobs import CHAIN_JOB
    from cryptai_pipelines.orchestration.partitions import add_symbols, rectangle_tags

    shutil.copyfile(Path(room.__file__).parent / "dagster.yaml", home / "dagster.yaml")
    began = time.perf_counter()
    job = build_defs().resolve_job_def(CHAIN_JOB.name)
    seconds = {}
    with dg.DagsterInstance.get() as instance:
        add_symbols(instance, symbols)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        for kind in ("with 120 new bars, from loading the definitions on", "without news, warm"):
            result = job.execute_in_process(instance=instance, tags=rectangle_tags(symbols, [_MINUTE]), run_config=quiet)
            assert result.success
            seconds[kind] = time.perf_counter() - began
            began = time.perf_counter()
    pipe.send(seconds)


if __name__ == "__main__":
    for line in run():
        print(line)
