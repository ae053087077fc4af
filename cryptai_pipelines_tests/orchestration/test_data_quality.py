"""The quality of stored series: every planted cause of a gap is named, findings are those of the whole series however it was
brought up to date, and an assessment that finds nothing new writes nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cryptai_pipelines.market.bars import WIRE_DTYPES
from cryptai_pipelines.market.intervals import Interval
from cryptai_pipelines.market.page import Listing
from cryptai_pipelines.market.series import Series
from cryptai_pipelines.market.timeframe import Timeframe
from cryptai_pipelines.orchestration.chain import series_findings
from cryptai_pipelines.orchestration.chain.data_quality import assess, read_assessment
from cryptai_pipelines.orchestration.chain.holes import close_holes
from cryptai_pipelines.orchestration.chain.quality_page import render_page
from cryptai_pipelines.quality.market_signs import complete_aggregates
from cryptai_pipelines.quality.outages import Outage
from cryptai_pipelines.quality.series_rules import find
from cryptai_pipelines.quality.series_view import View
from cryptai_pipelines.storage import gap_fills, market_data, outages, quality_log, symbols
from cryptai_pipelines.storage.database import Database
from cryptai_pipelines.storage.gap_fills import Attempt
from cryptai_pipelines.storage.leases import take_series
from cryptai_pipelines_tests.orchestration.stored_bars import hourly, slots, store, without

H1, HOUR = Timeframe.H1, Timeframe.H1.ms
BTC, ETH, SOL = (Series(f"{base}-USDT", H1) for base in ("BTC", "ETH", "SOL"))
ROWS = {series: hourly(1_500, seed) for seed, series in enumerate((BTC, ETH, SOL))}
START = int(ROWS[BTC]["ts"][0])
NOW = START + 3_000 * HOUR


def at(slot: int) -> int:
    return START + slot * HOUR


def gap_details(database: Database, series: Series) -> dict[int, tuple[str | None, int | None]]:
    """Class and size of the gaps by the slot they begin at."""
    found = quality_log.read_findings(database, series, "gap")
    return {(one.period.start_ms - START) // HOUR: (one.details.get("class"), one.missing) for one in found}


@pytest.fixture
def venue(database: Database) -> Database:
    """Three symbols that all miss slots 300..304, and BTC with a gap of every other kind."""
    bad = {name: values.copy() for name, values in ROWS[BTC].items()}
    bad["low"][700:703] = bad["high"][700:703] * 2
    store(database, BTC, without(bad, [*range(300, 305), 500, *range(900, 904)]))
    store(database, ETH, without(ROWS[ETH], range(300, 305)))
    store(database, SOL, without(ROWS[SOL], range(299, 306)))
    with database.transaction() as cursor:
        gap_fills.record_attempt(cursor, BTC, Attempt("binance", Interval(at(900), at(904)), NOW, 0, "the venue is down"))
        gap_fills.record_attempt(cursor, BTC, Attempt("kraken", Interval(at(500), at(501)), NOW, 0, "unknown symbol"))
    return database


def test_every_gap_is_classed_with_its_evidence(venue: Database) -> None:
    told = assess(venue, "binance", [BTC, ETH, SOL], NOW)
    assert gap_details(venue, BTC) == {
        300: ("venue_outage", 5),
        500: ("unknown", 1),
        700: ("refused_bars", 3),
        900: ("fetch_failure", 4),
    }
    assert gap_details(venue, ETH) == {300: ("venue_outage", 5)}
    assert gap_details(venue, SOL) == {299: ("venue_outage", 7)}
    symbols_down = ("BTC-USDT", "ETH-USDT", "SOL-USDT")
    assert told.outages == (Outage(at(300), at(305), symbols_down, 3, ("1h",)),)
    evidence = quality_log.read_findings(venue, BTC, "gap")[3].details["evidence"]
    assert evidence == "4 of 4 bars: binance failed: the venue is down"
    assert told.series[0].gaps == {"venue_outage": 1, "unknown": 1, "refused_bars": 1, "fetch_failure": 1}
    assert told.series[0].missing["fetch_failure"] == 4 and told.oldest_ms == START
    assert told.series[0].quarantined == {"price_order": 3}


def test_completeness_leaves_out_what_nobody_could_have_received(venue: Database) -> None:
    told = assess(venue, "binance", [BTC, SOL], NOW)
    for one, missing, in_outage in ((told.series[0], 13, 5), (told.series[1], 7, 5)):
        assert (one.total.expected, one.total.received) == (1_500, 1_500 - missing)
        assert (one.total.unlisted, one.total.in_outage) == (0, in_outage)
        assert one.total.completeness == (1_500 - missing) / (1_500 - in_outage)
        counts = quality_log.completeness_adjusted(venue, one.series)
        assert counts == (1_500, 1_500 - missing, in_outage)
        assert quality_log.count_bars(venue, one.series) == counts[:2]
    listing = Listing("binance", "SOL-USDT", "SOLUSDT", "SOL", "USDT", "TRADING", listed_at_ms=at(301))
    with venue.transaction() as cursor:
        symbols.upsert_listings(cursor, [listing])
    (sol,) = assess(venue, "binance", [SOL], NOW).series
    assert (sol.total.unlisted, sol.total.in_outage) == (2, 4)


def test_an_assessment_without_news_writes_nothing(venue: Database) -> None:
    assert assess(venue, "binance", [BTC, ETH, SOL], NOW).changed > 0
    before = everything(venue)
    again = assess(venue, "binance", [BTC, ETH, SOL], NOW + HOUR)
    assert again.changed == 0 and everything(venue) == before
    assert read_assessment(venue, "binance", [BTC, ETH, SOL]).series == again.series


def test_several_assessments_at_once_are_as_one(venue: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(assess, venue, "binance", [BTC, ETH, SOL], NOW) for _ in range(4)]:
            future.result()
    before = everything(venue)
    assert assess(venue, "binance", [BTC, ETH, SOL], NOW).changed == 0
    assert everything(venue) == before and gap_details(venue, ETH) == {300: ("venue_outage", 5)}


def everything(database: Database) -> list:
    quality = database.rows("SELECT to_jsonb(q) FROM data_quality AS q ORDER BY symbol, timeframe, kind, period_start")
    return quality + database.rows("SELECT to_jsonb(o) FROM venue_outages AS o ORDER BY venue, outage_start")


def test_what_was_found_out_stays_while_the_bounds_do(venue: Database) -> None:
    assess(venue, "binance", [BTC], NOW)
    before = gap_details(venue, BTC)
    months = [one.details for one in quality_log.read_findings(venue, BTC, "completeness")]
    more = hourly(1_600)
    store(venue, BTC, slots(more, range(1_400, 1_600)))
    assert gap_details(venue, BTC) == before
    assert [one.details for one in quality_log.read_findings(venue, BTC, "completeness")][: len(months)] == months
    store(venue, BTC, slots(ROWS[BTC], range(300, 303)), known_at_ms=NOW)
    assert gap_details(venue, BTC)[303] == (None, 2)
    assess(venue, "binance", [BTC], NOW)
    assert gap_details(venue, BTC)[303] == ("venue_outage", 2)


def test_an_outage_outlives_its_holes_unless_the_venue_itself_mends_them(venue: Database) -> None:
    assess(venue, "binance", [BTC], NOW)
    for series in (BTC, ETH, SOL):
        store(venue, series, slots(ROWS[series], range(299, 306)), source="kraken", origin="secondary", known_at_ms=NOW)
    assert 300 not in gap_details(venue, BTC)
    found = assess(venue, "binance", [BTC, ETH, SOL], NOW).outages
    assert [(one.start_ms, one.end_ms) for one in found] == [(at(300), at(305))]
    for series in (BTC, ETH, SOL):
        store(venue, series, slots(ROWS[series], range(299, 306)), known_at_ms=NOW)
    assert assess(venue, "binance", [BTC, ETH, SOL], NOW).outages == ()


def test_a_declared_outage_explains_and_is_never_withdrawn(database: Database) -> None:
    store(database, BTC, without(ROWS[BTC], range(300, 305)))
    with database.transaction() as cursor:
        outages.declare_outage(cursor, "binance", Outage(at(299), at(306), (), 0, ()), "the venue's status page", NOW)
    told = assess(database, "binance", [BTC], NOW)
    assert gap_details(database, BTC) == {300: ("venue_outage", 5)}
    assert len(told.outages) == 1 and told.series[0].total.in_outage == 5


def test_quiet_bars_are_no_trade_where_the_venue_leaves_them_out(database: Database) -> None:
    quiet = sorted(np.random.default_rng(5).choice(range(10, 1_490), 300, replace=False).tolist())
    store(database, BTC, without(ROWS[BTC], [*quiet, *range(600, 640)]), source="coinbase", primary="coinbase")
    told = assess(database, "coinbase", [BTC], NOW).series[0]
    assert told.gaps["no_trade"] > 150 and told.missing["unknown"] >= 40
    assess(database, "coinbase", [BTC], NOW, omits_empty=False)
    assert {one[0] for one in gap_details(database, BTC).values()} == {"unknown"}


def spoiled(count: int) -> dict[str, np.ndarray]:
    """Sound rows with runs, copies, jumps and wicks in them."""
    rows = hourly(count, 9)
    for first, length in ((100, 8), (395, 12), (800, 4)):
        rows["volume"][first : first + length] = 0
        rows["quote_volume"][first : first + length] = rows["taker_buy_base"][first : first + length] = 0
    rows["open"][450:760] = rows["close"][449:759]
    rows["high"][1_000], rows["low"][1_200] = rows["high"][1_000] * 3, rows["low"][1_200] / 4
    for name in ("open", "high", "low", "close", "volume"):
        rows[name][1_300:1_320] = rows[name][1_250:1_270]
        rows[name][1_420:] *= 1.5 if name != "volume" else 1.0
    rows["quote_volume"][900] *= 50
    prices = [rows[name] for name in ("open", "high", "low", "close")]
    rows["high"], rows["low"] = np.maximum.reduce(prices), np.minimum.reduce(prices)
    return rows


def stored_findings(database: Database, series: Series) -> list[tuple]:
    found = quality_log.read_kinds(database, series, "rule:")
    return [
        (rule, one.period.start_ms, one.period.end_ms, one.details["bars"], one.details["reason"])
        for rule in found
        for one in found[rule]
    ]


@pytest.mark.parametrize("cuts", [[1_500], [3, 396, 450, 700, 701, 1_310, 1_500], [98, 399, 1_421, 1_422, 1_500]], ids=str)
@pytest.mark.parametrize("block", [50_000, 130])
def test_findings_are_those_of_the_whole_series(
    database: Database, monkeypatch: pytest.MonkeyPatch, cuts: list[int], block: int
) -> None:
    monkeypatch.setattr(series_findings, "BARS_PER_BLOCK", block)
    rows = spoiled(1_500)
    for cut in cuts:
        store(database, BTC, slots(rows, range(cut)), known_at_ms=NOW)
        assess(database, "binance", [BTC], NOW)
    frame = market_data.read(database, BTC)
    bars = {"ts": rows["ts"], **{name: frame[name].to_numpy() for name in frame.columns[:9]}}
    whole = find(View(bars, H1, starts_series=True))
    expected = sorted((one.rule, one.start_ms, one.end_ms, one.count, one.reason) for one in whole)
    assert len({one[0] for one in expected}) >= 5
    assert sorted(stored_findings(database, BTC)) == expected


def test_a_finding_goes_when_the_venue_mends_its_bars(database: Database) -> None:
    rows = spoiled(1_500)
    store(database, BTC, rows, known_at_ms=NOW)
    assess(database, "binance", [BTC], NOW)
    assert {one[0] for one in stored_findings(database, BTC)} >= {"volume_unit", "wick", "made_up_opens", "zero_volume_run"}
    store(database, BTC, hourly(1_500, 9), known_at_ms=NOW)
    assess(database, "binance", [BTC], NOW)
    assert {one[0] for one in stored_findings(database, BTC)} <= {"restatement_share"}


def test_witnesses_are_asked(database: Database) -> None:
    """A shorter timeframe, another venue, and the times of receipt."""
    rows = hourly(400)
    day = Series("BTC-USDT", Timeframe.D1)
    days = complete_aggregates(rows, H1, Timeframe.D1)
    days = {**days, "close_ts": days["ts"] * 0, "unused": days["open"] * 0}
    days = {name: days[name].astype(dtype) for name, dtype in WIRE_DTYPES.items()}
    store(database, BTC, rows, known_at_ms=int(rows["ts"][-1]))
    store(database, BTC, slots(rows, range(100, 160)), source="bitfinex", origin="secondary", known_at_ms=NOW)
    store(database, day, days, known_at_ms=NOW)
    assess(database, "binance", [BTC, day], NOW)
    found = {(one[0], (one[1] - START) // HOUR, one[3]) for one in stored_findings(database, BTC)}
    assert found == {("mislabelled_venue", 100, 60), ("future_bar", 399, 1)}
    assert len(days["ts"]) == 16 and stored_findings(database, day) == []
    again = {name: values.copy() for name, values in rows.items()}
    third_day = (again["ts"] >= days["ts"][2]) & (again["ts"] < days["ts"][3])
    again["volume"][third_day] *= 2
    store(database, BTC, again, known_at_ms=NOW)
    assert assess(database, "binance", [day], NOW).changed == 1
    assert [one[:4] for one in stored_findings(database, day)] == [
        ("aggregate_mismatch", days["ts"][2], days["ts"][3], 1),
    ]


def test_filled_bars_are_no_bars_and_no_finding(database: Database) -> None:
    store(database, BTC, without(ROWS[BTC], range(300, 320)))
    with take_series(database, "binance", BTC, "test", 60.0) as lease:
        assert close_holes(database, lease, [], "carry_forward", NOW, run_id="test").filled == 20
    assert len(market_data.read(database, BTC)) == 1_500
    told = assess(database, "binance", [BTC], NOW).series[0]
    assert (told.total.expected, told.total.received) == (1_500, 1_480)
    assert "zero_volume_run" not in told.findings and "flat_run" not in told.findings


def test_a_series_without_bars_is_assessed_as_such(database: Database) -> None:
    told = assess(database, "binance", [BTC], NOW)
    assert told.changed == 0 and told.oldest_ms is None and told.series[0].total.completeness is None
    page = render_page(told)
    assert page.heatmap_png is None and "no bars yet" in page.markdown


def test_the_page_tells_all_and_stays_small(venue: Database) -> None:
    told = assess(venue, "binance", [BTC, ETH, SOL], NOW)
    page = render_page(told, alerts=["BTC-USDT 1h | stale\nsince noon"])
    for part in (
        "venue_outage",
        "price_order",
        "BTC-USDT 1h",
        "2020-09-13",
        "3 of 3 symbols",
        "BTC-USDT 1h \\| stale since noon",
    ):
        assert part in page.markdown
    assert page.facts["gaps"] == 6 and page.facts["outages"] == 1
    json.dumps(page.facts)
    assert page.heatmap_png is not None and page.heatmap_png.startswith(b"\x89PNG") and len(page.heatmap_png) < 100_000
    assert render_page(told).heatmap_png == page.heatmap_png


def test_the_heat_map_of_many_series_and_years_stays_small(venue: Database) -> None:
    from dataclasses import replace

    from cryptai_pipelines.orchestration.chain.data_quality import MonthQuality

    told = assess(venue, "binance", [BTC], NOW)
    edges = np.arange(np.datetime64("2010-01"), np.datetime64("2026-01")).astype("datetime64[ms]").astype("int64")
    random = np.random.default_rng(1)
    many = tuple(
        replace(
            told.series[0],
            series=Series(f"S{number}-USDT", H1),
            months=tuple(MonthQuality(int(ts), 720, int(720 - random.integers(0, 200)), 0, 0) for ts in edges),
        )
        for number in range(300)
    )
    page = render_page(replace(told, series=many))
    assert len(page.heatmap_png) < 100_000 and "240 more" in page.markdown and len(page.markdown) < 20_000
