"""A month of one or two series on a virtual clock, out of one seed: what happens to the venue and to us, and in which order.
What must hold afterwards is asked in the tests."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field
from pathlib import Path

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain.steps import data_steps, holding
from cryptai_pipelines.orchestration.chain.walk import SeriesResult, walk
from cryptai_pipelines.settings import Settings
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines_tests.torture.crashes import CrashingDatabase
from cryptai_pipelines_tests.torture.scripted_venue import (
    ERRORS,
    HOUR,
    Mood,
    Script,
    ScriptedVenue,
    Version,
    history_of,
    is_bad,
    missing_runs,
    spoiled,
    wire_values,
)

BARS = 30 * 24
START = 1_709_164_800_000  # 2024-02-29: the month crosses a leap day and a change of summer time.
END = START + BARS * HOUR
# Further back than the overlap nothing is asked for again, except by the last sync, which asks for all.
SETTINGS = Settings(_env_file=None, home=Path("unused"), grace_seconds=10.0, overlap_bars=24)


def written_script(chance: random.Random, venue: ScriptedVenue) -> Script:
    """A month of bars: some late, some missing for days and then there after all, some never, some restated once or more, some
    of those into nonsense and back."""
    script, price = Script(START), 100.0
    for ts in range(START, END, HOUR):
        closed = round(price * (1 + chance.gauss(0, 0.01)), 2)
        values = wire_values(ts, price, closed, round(chance.uniform(1, 50), 3))
        price = closed
        fate, close = chance.random(), ts + HOUR
        versions = [Version(close, values)]
        if fate < 0.02:
            venue.count("late bar")
            versions = [Version(close + chance.randint(1, 20) * HOUR, values)]
        elif fate < 0.03:
            venue.count("bar missing, later there")
            versions = [Version(close + chance.randint(20, 400) * HOUR, values)]
        elif fate < 0.035:
            venue.count("bar missing for good")
            versions = []
        elif fate < 0.06:
            at = close
            for _ in range(chance.randint(1, 3)):
                venue.count("restatement")
                at += chance.randint(1, 30) * HOUR
                told = wire_values(ts, values[0], closed + chance.randint(1, 9), values[4] + chance.randint(0, 1))
                versions.append(Version(at, spoiled(told) if chance.random() < 0.3 else told))
        elif fate < 0.065:
            venue.count("bar taken back for a time")
            versions += [Version(close + 2 * HOUR, None), Version(close + 30 * HOUR, values)]
        script.versions[ts] = versions
    # What a venue with a fast clock gives out of the hour that is still going on.
    for ts in range(START, END, 5 * HOUR):
        first = script.versions[ts][:1]
        if first and first[0].values is not None:
            script.versions[ts].insert(0, Version(ts + HOUR // 2, wire_values(ts, first[0].values[0], 99.0, 0.5)))
    return script


def mood(chance: random.Random) -> Mood:
    """How the venue behaves during one sync."""
    error = chance.choice(ERRORS) if chance.random() < 0.2 else None
    return Mood(
        skew_ms=chance.choice((0, 0, 0, -120_000, 120_000, 2 * HOUR // 3)),
        error=error,
        error_after_pages=chance.randint(-1, 3),
        page_rows=chance.choice((1_000, 100, 37)),
        short=chance.choice((0.0, 0.3)),
        twice=chance.choice((0.0, 0.3)),
    )


@dataclass
class Month:
    """A month that has been lived through: the store's series by the venue's symbols, and the pages of syncs that completed."""

    venue: ScriptedVenue
    series: list[Series]
    completed: set[str] = field(default_factory=set)
    crashes: int = 0


def live_through(database: CrashingDatabase, seed: int, name: str) -> Month:
    """Let a month pass, with syncs at irregular times, and end it with one sync of all of it that nobody disturbs."""
    chance = random.Random(seed)
    series = [Series(f"{name}{number}-USDT", Timeframe.H1) for number in range(1 if chance.random() < 0.7 else 2)]
    venue = ScriptedVenue({}, random.Random(seed + 1))
    venue.scripts = {one.symbol: written_script(chance, venue) for one in series}
    month, fuse = Month(venue, series), database.fuse
    now = START + chance.randint(1, 200) * HOUR
    while now < END:
        venue.now_ms, venue.mood = now, mood(chance)
        fuse.light(chance.randint(1, 75) if chance.random() < 0.3 else None)
        _sync(database, month, Interval(START, now) if chance.random() < 0.2 else None)
        if fuse.dead:
            month.crashes += 1
            database.close()
        now += round(chance.expovariate(1 / (110 * HOUR))) + chance.randint(0, HOUR)
    venue.now_ms, venue.mood = END + 500 * HOUR, Mood()
    fuse.light(None)
    results = _sync(database, month, Interval(START, END))
    assert [one.error for one in results] == [None] * len(series), results
    return month


def _sync(database: Database, month: Month, window: Interval | None) -> list[SeriesResult]:
    venue, results = month.venue, []
    # Nothing was covered before: the first sync asks for the month, not for everything since 1970.
    for one in month.series:
        before = set(venue.served)
        asked = window or (None if month.completed else Interval(START, venue.now_ms))
        steps = data_steps(database, venue, SETTINGS, "month", asked)
        [result] = walk([one], steps, holding(database, venue.name, SETTINGS, "month"), 1)
        results.append(result)
        if result.error is None:
            month.completed |= set(venue.served) - before
    return results


@dataclass
class Compared:
    """What the store and the model disagree on; all zero when they agree."""

    lost: int = 0
    duplicated: int = 0
    altered: int = 0
    findings: int = 0


def compare(database: Database, month: Month, series: Series) -> Compared:
    """Hold the store against the venue's last word, and the history of each bar against the pages that were received."""
    told, symbol = Compared(), (series.symbol,)
    script = month.venue.scripts[series.symbol]
    now = dict(script.at(month.venue.now_ms, Interval(START, END)))
    urls = [url for (url,) in database.rows("SELECT url FROM fetch_log WHERE symbol = %s ORDER BY id", symbol)]
    mine = {url for url, (about, _) in month.venue.served.items() if about == series.symbol}
    told.lost += len((month.completed & mine) - set(urls))
    told.duplicated += len(urls) - len(set(urls))
    told.altered += len(set(urls) - mine)
    history = history_of(month.venue.served[url][1] for url in urls)
    raw = database.rows(
        "SELECT extract(epoch FROM ts)::bigint * 1000, revision, open, high, low, close, volume,"
        " round(extract(epoch FROM close_ts) * 1000)::bigint, quote_volume, trades, taker_buy_base, taker_buy_quote, unused"
        " FROM raw_ohlcv WHERE symbol = %s ORDER BY ts, revision",
        symbol,
    )
    expected = [(ts, number, *values) for ts, versions in sorted(history.items()) for number, values in enumerate(versions)]
    told.lost += len(set(expected) - set(raw))
    told.altered += len(set(raw) - set(expected))
    told.duplicated += len(raw) - len(set(raw))
    good = {(ts, *values[:5]) for ts, values in now.items() if not is_bad(values)}
    stored = database.rows(
        "SELECT extract(epoch FROM ts)::bigint * 1000, open, high, low, close, volume FROM market_data WHERE symbol = %s",
        symbol,
    )
    told.lost += len(good - set(stored))
    told.altered += len(set(stored) - good)
    told.duplicated += len(stored) - len(set(stored))
    told.findings += _findings(database, series, {ts for ts, *_ in good}, history)
    return told


def _findings(database: Database, series: Series, have: set[int], history: dict) -> int:
    """How many rows of gaps, completeness and quarantine are wrong."""
    rows = database.rows(
        "SELECT kind, extract(epoch FROM period_start)::bigint * 1000, extract(epoch FROM period_end)::bigint * 1000, missing,"
        " expected, received FROM data_quality WHERE symbol = %s ORDER BY kind, period_start",
        (series.symbol,),
    )
    first = min(history)
    gaps = missing_runs(have, Interval(first, END))
    march = 1_709_251_200_000
    months = []
    for start, end in ((first, march), (march, END)):
        expected = (end - start) // HOUR
        received = sum(start <= ts < end for ts in have)
        months.append(("completeness", start, end, expected - received, expected, received))
    counted = [("gap", start, end, missing, missing, 0) for start, end, missing in gaps]
    wrong = len(set(rows) ^ set(months + counted))
    filed = database.rows(
        "SELECT extract(epoch FROM ts)::bigint * 1000, revision, rule FROM quarantine WHERE symbol = %s", (series.symbol,)
    )
    truly_bad = {
        (ts, number, "price_order")
        for ts, versions in history.items()
        for number, values in enumerate(versions)
        if is_bad(values)
    }
    now_bad = {(ts, len(v) - 1, "price_order") for ts, v in history.items() if is_bad(v[-1])}
    return wrong + len(set(filed) - truly_bad) + len(now_bad - set(filed))


# Names of rows, readings of the wall clock, and the name of the series.
_OWN = "'symbol', 'fetch_id', 'detected_at', 'updated_at', 'started_at', 'finished_at', 'lease_until', 'duration_seconds', 'id'"
_HASHED = ("raw_ohlcv", "market_data", "quarantine", "data_quality", "historical_data_range", "data_sync_log", "series_state")


def fingerprint(database: Database, month: Month) -> str:
    """Hash of every row of every table of the month's series, all columns but the wall clock's and the names of rows."""
    lines = []
    for number, series in enumerate(month.series):
        for table in _HASHED:
            rows = database.rows(
                f"SELECT (to_jsonb(t) - ARRAY[{_OWN}])::text FROM {table} AS t WHERE symbol = %s", (series.symbol,)
            )
            lines += sorted(f"{number} {table} {row}".replace(series.symbol, "SERIES") for (row,) in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
