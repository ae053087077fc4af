"""Outages, the details of findings, failed spans and receipts: written again, nothing changes; read, all comes back."""

from __future__ import annotations

import numpy as np

from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Page
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.quality.outages import Outage
from cryptai_pipelines.storage import coverage, fetch_log, gap_fills, outages, quality_log, raw, series_sources
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.gap_fills import Attempt
from cryptai_pipelines.storage.quality_log import Finding
from cryptai_pipelines_tests.storage.bars_examples import HOUR, START, fresh_series, opens, wire_rows

FIRST = Outage(START, START + 4 * HOUR, ("A1-USDT", "B1-USDT"), 3, ("1h",))
SECOND = Outage(START + 9 * HOUR, START + 10 * HOUR, ("A1-USDT", "C1-USDT"), 3, ("1h", "4h"))


def replace(database: Database, found: list[Outage], venue: str = "binance") -> int:
    with database.transaction() as cursor:
        return outages.replace_outages(cursor, venue, found, START + 99 * HOUR)


def test_outages_are_replaced_by_what_is_found(database: Database) -> None:
    assert replace(database, [FIRST, SECOND]) == 2
    assert replace(database, [FIRST, SECOND]) == 0
    assert outages.read_outages(database, "binance") == [FIRST, SECOND]
    assert outages.read_outages(database, "kraken") == []
    longer = FIRST._replace(end_ms=FIRST.end_ms + HOUR)
    assert replace(database, [longer, SECOND]) == 1
    assert outages.read_outages(database, "binance") == [longer, SECOND]


def test_an_outage_goes_only_when_the_venue_has_bars_in_it(database: Database) -> None:
    replace(database, [FIRST, SECOND])
    assert replace(database, []) == 0
    series = Series("A1-USDT", fresh_series().timeframe)
    with database.transaction() as cursor:
        raw.append(cursor, "kraken", series, wire_rows(opens(4)), 1, START)
        raw.append(cursor, "binance", series, wire_rows(opens(1, FIRST.end_ms)), 1, START)
    assert replace(database, []) == 0
    with database.transaction() as cursor:
        raw.append(cursor, "binance", series, wire_rows(opens(1, START + HOUR)), 1, START)
    assert replace(database, []) == 1
    assert outages.read_outages(database, "binance") == [SECOND]


def test_an_outage_that_is_found_with_other_bounds_takes_the_place_of_those_it_overlaps(database: Database) -> None:
    replace(database, [FIRST, SECOND])
    later = FIRST._replace(start_ms=START + HOUR)
    assert replace(database, [later, SECOND]) == 2
    assert outages.read_outages(database, "binance") == [later, SECOND]


def test_where_other_sources_had_bars_is_looked_at(database: Database) -> None:
    """By an attempt at a gap, by a page of a secondary source, or in an outage; with the venue's good bars there."""
    asked, fetched, elsewhere = fresh_series(), fresh_series(), fresh_series()
    gap, untold = Interval(START, START + 6 * HOUR), Interval(START + 9 * HOUR, START + 10 * HOUR)
    for series, venue in ((asked, "binance"), (fetched, "binance"), (elsewhere, "okx")):
        with database.transaction() as cursor:
            coverage.extend_coverage(cursor, venue, series, Interval(START, START + 50 * HOUR), START, START)
            gap_fills.record_attempt(cursor, series, Attempt("binance", gap._replace(end_ms=gap.end_ms + HOUR), START, 3))
            if series != fetched:
                gap_fills.record_attempt(cursor, series, Attempt("kraken", gap, START, 2))
                gap_fills.record_attempt(cursor, series, Attempt("kraken", untold, START, 0))
    with database.transaction() as cursor:
        series_sources.register_source(cursor, fetched, "binance", "rest")
        series_sources.register_source(cursor, fetched, "kraken", "secondary")
        for source in ("binance", "kraken"):
            page = Page(wire_rows(opens(2)), gap, "test://page", "0" * 64, START)
            fetch_log.log_fetches(cursor, 1, source, fetched, [page])
        raw.append(cursor, "binance", asked, wire_rows(opens(2)), 1, START)
        raw.append(cursor, "binance_archive", asked, wire_rows(opens(1, START + 4 * HOUR)), 1, START)
        raw.append(cursor, "kraken", asked, wire_rows(opens(6)), 1, START)
        raw.append(cursor, "binance", asked, wire_rows(opens(1), 5), 2, START)
        bad = {**wire_rows(opens(1), 5), "revision": np.array([1], "int16"), "fetch_id": np.array([2])}
        told = {"rule": np.array(["r"], object), "reason": np.array(["bad"], object)}
        quality_log.quarantine_rows(cursor, "binance", asked, {**bad, **told}, START)
    looked = outages.read_looked(database, "binance")
    assert {series: [(one.span, one.delivered_ms.tolist()) for one in some] for series, some in looked.items()} == {
        asked: [(gap, [START + HOUR, START + 4 * HOUR])],
        fetched: [(gap, [])],
    }
    replace(database, [SECOND])
    found = Interval(SECOND.start_ms, SECOND.end_ms)
    for symbol in SECOND.symbols:
        [one] = outages.read_looked(database, "binance")[Series(symbol, asked.timeframe)]
        assert one.span == found and len(one.delivered_ms) == 0


def test_a_declared_outage_is_not_what_is_found(database: Database) -> None:
    with database.transaction() as cursor:
        outages.declare_outage(cursor, "binance", FIRST, "a person", START)
    assert replace(database, [FIRST._replace(end_ms=FIRST.end_ms + HOUR), SECOND]) == 1
    assert outages.read_outages(database, "binance") == [FIRST, SECOND]


def test_a_declaration_takes_nothing_from_what_is_known(database: Database) -> None:
    replace(database, [FIRST])
    with database.transaction() as cursor:
        assert not outages.declare_outage(
            cursor, "binance", Outage(FIRST.start_ms, FIRST.end_ms + 1, (), 0, ()), "a person", START
        )
        assert outages.withdraw_outage(cursor, "binance", FIRST.start_ms) == 0
        assert outages.declare_outage(cursor, "binance", SECOND, "a person", START)
        assert not outages.declare_outage(cursor, "binance", SECOND, "another person", START)
    known = outages.read_known_outages(database, "binance")
    assert [(one.outage, one.declared_by) for one in known] == [(FIRST, None), (SECOND, "a person")]
    with database.transaction() as cursor:
        assert outages.withdraw_outage(cursor, "binance", SECOND.start_ms) == 1


def test_details_stay_while_as_many_bars_are_missing(database: Database) -> None:
    series, within = fresh_series(), Interval(START, START + 100 * HOUR)
    month, gap = Interval(START, START + 50 * HOUR), Interval(START + HOUR, START + 3 * HOUR)

    def replaced(kind: str, finding: Finding) -> int:
        with database.transaction() as cursor:
            return quality_log.replace_findings(cursor, series, kind, within, [finding])

    def described(kind: str, period: Interval, **details: object) -> int:
        with database.transaction() as cursor:
            return quality_log.describe_findings(cursor, series, kind, {period: details})

    replaced("completeness", Finding(month, "warning", 50, 48, 2))
    replaced("gap", Finding(gap, "warning", 2, 0, 2))
    assert described("completeness", month, unlisted=1, in_outage=1) == 1
    assert described("completeness", month, unlisted=1, in_outage=1) == 0
    assert described("gap", gap, **{"class": "unknown"}) == 1
    assert described("gap", Interval(gap.start_ms, gap.end_ms + HOUR), **{"class": "no_trade"}) == 0
    assert quality_log.completeness_adjusted(database, series) == (50, 48, 2)
    grown = Interval(month.start_ms, month.end_ms + HOUR)
    assert replaced("completeness", Finding(grown, "warning", 51, 49, 2)) == 1
    assert quality_log.completeness_adjusted(database, series) == (51, 49, 2)
    assert replaced("completeness", Finding(grown, "warning", 51, 50, 1)) == 1
    assert quality_log.completeness_adjusted(database, series) == (51, 50, 0)
    assert replaced("gap", Finding(gap, "warning", 2, 0, 2)) == 0
    assert quality_log.read_findings(database, series, "gap")[0].details == {"class": "unknown"}
    assert replaced("gap", Finding(gap, "warning", 2, 0, 2, {"class": "no_trade"})) == 1
    assert list(quality_log.read_kinds(database, series, "g")) == ["ap"]
    assert list(quality_log.read_kinds(database, series, "_")) == []


def test_failed_spans_are_the_primary_s_and_its_archive_s(database: Database) -> None:
    series, gap = fresh_series(), Interval(START, START + HOUR)
    other = Interval(START + 5 * HOUR, START + 6 * HOUR)
    with database.transaction() as cursor:
        gap_fills.record_attempt(cursor, series, Attempt("binance", gap, START, 0, "it hangs"))
        gap_fills.record_attempt(cursor, series, Attempt("binance", other, START, 0))
        gap_fills.record_attempt(cursor, series, Attempt("kraken", other, START, 0, "unknown symbol"))
        for path, status in (("a.zip", "quarantined"), ("b.zip", "loaded")):
            cursor.execute(
                "INSERT INTO archive_files (source, path, symbol, timeframe, period_start, period_end, status, first_tried_at,"
                " last_tried_at) VALUES ('binance_archive', %s, %s, '1h', to_timestamp(0), to_timestamp(9), %s, now(), now())",
                (path, series.symbol, status),
            )
    assert quality_log.read_failed_spans(database, "binance") == {
        series: [
            (Interval(0, 9_000), "a.zip is quarantined: its checksum does not match"),
            (gap, "binance failed: it hangs"),
        ]
    }


def test_gaps_of_a_venue_with_what_is_covered(database: Database) -> None:
    series, without_gaps, elsewhere = fresh_series(), fresh_series(), fresh_series()
    covered = Interval(START, START + 50 * HOUR)
    gap = Interval(START + 3 * HOUR, START + 4 * HOUR)
    with database.transaction() as cursor:
        for one, venue in ((series, "binance"), (without_gaps, "binance"), (elsewhere, "kraken")):
            coverage.extend_coverage(cursor, venue, one, covered, START + HOUR, START + 40 * HOUR)
        for one in (series, elsewhere):
            quality_log.replace_findings(cursor, one, "gap", covered, [Finding(gap, "warning", 1, 0, 1)])
    gaps, spans = quality_log.read_venue_gaps(database, "binance")
    assert gaps == {series: [gap]}
    assert spans == dict.fromkeys((series, without_gaps), Interval(START + HOUR, covered.end_ms))


def test_receipts_tell_the_first_and_the_last_of_each_bar(database: Database) -> None:
    series, first = fresh_series(), wire_rows(opens(5))
    second, third = (wire_rows(opens(2), seed) for seed in (2, 3))
    with database.transaction() as cursor:
        raw.append(cursor, "binance", series, first, 1, START + 10 * HOUR)
        raw.append(cursor, "binance", series, second, 2, START + 20 * HOUR)
        raw.append(cursor, "binance", series, third, 3, START + 30 * HOUR)
        raw.append(cursor, "kraken", series, third, 3, START + 30 * HOUR)
    told = raw.read_receipts(database, "binance", series, START, START + 4 * HOUR)
    assert told["ts"].tolist() == opens(4).tolist() and told["ts"].dtype == told["known_at"].dtype == np.int64
    assert told["revisions"].tolist() == [2, 2, 0, 0]
    assert set(told["known_at"].tolist()) == {START + 10 * HOUR}
    for name in ("high", "low", "volume"):
        assert told[f"first_{name}"].tolist() == first[name][:4].tolist()
        assert told[name].tolist() == [*third[name], *first[name][2:4]]
    empty = raw.read_receipts(database, "binance", series, 0, 1)
    assert all(len(values) == 0 for values in empty.values())
