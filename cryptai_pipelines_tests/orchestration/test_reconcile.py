"""What the store holds of several sources of a series, held against each other: stored once, by month, and again only where
something changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cryptai_pipelines.market.bars import Columns, take_rows
from cryptai_pipelines.market.clock import format_time, parse_time
from cryptai_pipelines.market.errors import BadInput
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import reconcile as chain
from cryptai_pipelines.orchestration.chain.receive import receive_pages
from cryptai_pipelines.orchestration.chain.reconcile import reconcile
from cryptai_pipelines.quality.reconciliation import Rule
from cryptai_pipelines.storage import coverage, fetch_log, raw, reconciliations, state
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.quality.samples import good_rows, recorded_rows

SERIES = Series("BTC-USDT", Timeframe.H1)
HOUR = Timeframe.H1.ms
NOW = parse_time("2025-01-01")


def store(database: Database, source: str, rows: Columns, origin: str = "rest", covered: Interval | None = None) -> None:
    """Receive `rows` as the chain would: the source known, its bars appended, its coverage and the change on record."""
    with database.transaction() as cursor:
        cursor.execute(
            "INSERT INTO series_sources (symbol, timeframe, source, rank, origin) SELECT %s, %s, %s, count(*), %s"
            " FROM series_sources ON CONFLICT DO NOTHING",
            (SERIES.symbol, SERIES.timeframe.code, source, origin),
        )
        change = raw.append(cursor, source, SERIES, rows, 1, NOW)
        state.record_change(cursor, "raw_ohlcv", SERIES, change)
        ts = rows["ts"]
        settled = covered or Interval(int(ts.min()), int(ts.max()) + HOUR)
        if settled.start_ms < settled.end_ms:
            fetch_log.log_fetch(cursor, None, source, SERIES, Page(rows, settled, f"test://{source}", "0" * 64, NOW))
            coverage.extend_coverage(cursor, source, SERIES, settled, int(ts.min()), int(ts.max()))


def changed(rows: Columns, at: int, column: str, factor: float) -> Columns:
    values = rows[column].copy()
    values[at] *= factor
    return {**rows, column: values}


def stamps(database: Database) -> list[tuple]:
    return database.rows("SELECT month, other_source, reconciled_at, xmin::text FROM reconciliations ORDER BY 2, 1")


def test_the_real_copies_month_by_month(database: Database, real_data: Path, monkeypatch) -> None:
    store(database, "binance", recorded_rows(real_data / "binance" / "BTCUSDT_1h.parquet"))
    archive = recorded_rows(real_data / "binance_vision_2025" / "BTCUSDT_1h.parquet")
    store(database, "binance_archive", archive, "archive")
    spans = []
    read = raw.read_current
    monkeypatch.setattr(
        raw, "read_current", lambda db, source, series, *span: spans.append(span) or read(db, source, series, *span)
    )
    done = reconcile(database, SERIES, "binance_archive", "binance")
    assert max(end - start for start, end in spans) <= 31 * 24 * HOUR
    total = {name: sum(getattr(month, name) for month in done.months) for name in ("compared", "agreeing", "disagreeing")}
    assert total == {"compared": 55_721, "agreeing": 55_706, "disagreeing": 15}
    bars = [bar for month in done.months for bar in month.details["bars"]]
    of = {kind: [bar["at"] for bar in bars if bar["kind"] == kind] for kind in {bar["kind"] for bar in bars}}
    assert len(of["off grid in source"]) == 43
    assert of["only in source"] == ["2020-12-21T14:00:00Z"]
    assert of["price"] == ["2020-12-21T13:00:00Z", "2021-01-11T08:00:00Z", "2021-04-23T01:00:00Z"]
    assert len(of["volume"]) == 12
    believed = {bar["believed"] for bar in bars if bar["kind"] in ("price", "volume")}
    assert believed == {"binance"}
    assert [bar["believed"] for bar in bars if bar["kind"] == "only in source"] == ["binance_archive"]


@pytest.mark.parametrize("venue", ["binance", "binanceusdm"])
def test_an_archive_is_known_as_that_of_its_venue(database: Database, venue: str) -> None:
    rows = good_rows(200)
    store(database, venue, rows)
    store(database, f"{venue}_archive", changed(rows, 100, "close", 1.001), "archive")
    done = reconcile(database, SERIES)
    (bar,) = [bar for month in done.months for bar in month.details["bars"]]
    assert (bar["believed"], bar["rule"]) == (venue, "api over archive")


def test_again_nothing_is_read_and_nothing_written(database: Database, monkeypatch) -> None:
    rows = good_rows(3_000)
    store(database, "binance", rows)
    store(database, "binance_archive", changed(rows, 2_000, "close", 1.001), "archive")
    first = reconcile(database, SERIES)
    assert first.written == len(first.months) == 5
    before = stamps(database)
    monkeypatch.setattr(raw, "read_current", lambda *_: pytest.fail("a settled month was read"))
    again = reconcile(database, SERIES)
    assert again.written == 0 and again.months == first.months and stamps(database) == before


def test_a_restated_bar_renews_its_month_only(database: Database) -> None:
    rows = good_rows(3_000)
    store(database, "binance", rows)
    store(database, "binance_archive", changed(rows, 1_500, "close", 1.001), "archive")
    before = {month.month_ms: month for month in reconcile(database, SERIES).months}
    store(database, "binance", take_rows(changed(rows, 1_500, "close", 1.001), np.array([1_500])))
    after = reconcile(database, SERIES)
    renewed = [month for month in after.months if month != before[month.month_ms]]
    assert after.written == 1 and len(renewed) == 1
    assert (before[renewed[0].month_ms].disagreeing, renewed[0].disagreeing) == (1, 0)
    assert renewed[0].believed == "both" and renewed[0].details["verdict"] == "agree"


def test_another_rule_renews_all_months(database: Database) -> None:
    rows = good_rows(1_500)
    store(database, "binance", rows)
    store(database, "binance_archive", changed(rows, 100, "close", 1.001), "archive")
    assert sum(month.details["kinds"].get("price", 0) for month in reconcile(database, SERIES).months) == 1
    lenient = reconcile(database, SERIES, "binance", "binance_archive", Rule(price_tolerance=0.01))
    assert lenient.written == len(lenient.months)
    assert [month.details["kinds"] for month in lenient.months if month.disagreeing] == [{"last digit": 1}]


def test_what_a_source_settles_later_counts_as_lacking_then(database: Database) -> None:
    rows = good_rows(200)
    store(database, "binance", take_rows(rows, np.arange(100)))
    store(database, "binance_archive", rows, "archive")
    [month] = reconcile(database, SERIES).months
    assert (month.compared, month.only_other) == (100, 0)
    with database.transaction() as cursor:
        coverage.extend_coverage(cursor, "binance", SERIES, Interval(int(rows["ts"][100]), int(rows["ts"][150])))
    [month] = reconcile(database, SERIES).months
    assert (month.compared, month.only_other, month.believed) == (100, 50, "binance_archive")


def test_three_sources_are_compared_in_pairs_and_vote(database: Database) -> None:
    rows = good_rows(300)
    venue = {**rows, **{name: rows[name] * 1.001 for name in ("open", "high", "low", "close")}, "volume": rows["volume"] * 3}
    store(database, "binance", changed(rows, 50, "high", 1.2))
    store(database, "binance_archive", changed(rows, 60, "low", 0.999), "archive")
    store(database, "kraken", venue, "secondary")
    done = reconcile(database, SERIES)
    assert [(month.source, month.other) for month in done.months] == [
        ("binance", "binance_archive"),
        ("binance", "kraken"),
        ("binance_archive", "kraken"),
    ]
    same, with_venue, archive_with_venue = (month.details["bars"] for month in done.months)
    # 20 % away from the third source, the API is alone; 0.1 % away the archive is within what venues differ by.
    assert [(bar["kind"], bar["believed"], bar["rule"]) for bar in same] == [
        ("price", "binance_archive", "majority"),
        ("price", "binance", "api over archive"),
    ]
    assert [(bar["at"], bar["believed"], bar["rule"]) for bar in with_venue] == [
        (format_time(int(rows["ts"][50])), "kraken", "majority")
    ]
    assert archive_with_venue == []


def test_a_venue_under_another_name_is_suspicious(database: Database) -> None:
    rows = good_rows(100)
    store(database, "binance", rows)
    store(database, "kraken", rows, "secondary")
    [month] = reconcile(database, SERIES).months
    assert month.details["suspicious"] and "mislabelled" in month.details["verdict"]


def test_bars_of_a_source_that_settles_nothing_are_compared_all_the_same(database: Database) -> None:
    rows = good_rows(100)
    store(database, "binance", rows)
    part = take_rows(rows, np.array([10, 11, 40]))
    store(database, "kraken", part, "secondary", covered=Interval(0, 0))
    [month] = reconcile(database, SERIES).months
    assert (month.compared, month.agreeing, month.only_source, month.only_other) == (3, 3, 0, 0)


def test_a_month_that_differs_in_every_bar_keeps_the_count_and_some_bars(database: Database, monkeypatch) -> None:
    monkeypatch.setattr(chain, "MOST_BARS", 7)
    rows = good_rows(100)
    store(database, "binance", rows)
    store(database, "binance_archive", {**rows, "close": rows["close"] * 1.01}, "archive")
    [month] = reconcile(database, SERIES).months
    assert (month.disagreeing, month.details["bars_found"], len(month.details["bars"])) == (100, 100, 7)


def test_a_result_of_older_bars_never_replaces_one_of_newer(database: Database) -> None:
    rows = good_rows(100)
    store(database, "binance", rows)
    store(database, "binance_archive", rows, "archive")
    [month] = reconcile(database, SERIES).months
    late = reconciliations.ReconciledMonth(
        SERIES, month.source, month.other, month.month_ms, 1, 0, 0, 0, 1, "neither", month.raw_revision - 1, {}
    )
    with database.transaction() as cursor:
        assert reconciliations.upsert(cursor, [late]) == 0
    assert reconciliations.read(database, SERIES) == [month]


def test_nothing_to_compare(database: Database) -> None:
    assert reconcile(database, SERIES).months == ()
    rows = good_rows(50)
    store(database, "binance", take_rows(rows, np.arange(20)))
    assert reconcile(database, SERIES).months == ()
    with pytest.raises(BadInput, match="no bars of source 'kraken'; in this store: binance"):
        reconcile(database, SERIES, "binance", "kraken")
    with pytest.raises(BadInput, match="two different sources"):
        reconcile(database, SERIES, "binance", "binance")
    store(database, "binance_archive", take_rows(rows, np.arange(30, 50)), "archive")
    assert reconcile(database, SERIES).months == ()


def test_a_number_that_is_none_is_null(database: Database) -> None:
    rows = good_rows(50)
    store(database, "binance", rows)
    store(database, "binance_archive", changed(rows, 5, "volume", np.nan), "archive")
    [month] = reconcile(database, SERIES).months
    [bar] = month.details["bars"]
    assert bar["other"]["volume"] is None and bar["difference"]["volume"] is None
    assert pd.Series(bar["difference"]).drop("volume").eq(0).all()


def test_what_lies_between_two_files_is_not_lacking(database: Database) -> None:
    """Two files of one source are a month apart: nobody said that the month between them has no bars."""
    rows = good_rows(90 * 24)
    first = take_rows(rows, np.arange(24 * 24))
    last = take_rows(rows, np.arange(60 * 24, 90 * 24))
    asked = [Interval(int(part["ts"][0]), int(part["ts"][-1]) + HOUR) for part in (first, last)]
    with take_series(database, "binance", SERIES, "test", 60.0) as lease:
        whole = Interval(int(rows["ts"][0]), int(rows["ts"][-1]) + HOUR)
        receive_pages(database, lease, "binance", "rest", [Page(rows, whole, "x", "0" * 64, NOW)], run_id="test")
        for part, span in zip((first, last), asked, strict=True):
            receive_pages(database, lease, "file:x", "csv", [Page(part, span, "x", "0" * 64, NOW)], run_id="test")
    found = reconcile(database, SERIES)
    assert sum(month.compared for month in found.months) == 54 * 24
    assert sum(month.only_source for month in found.months) == 0
